// What /proc tells of a thread's signals; see thread_signals.h.
#include "runtime/thread_signals.h"

#include <csignal>

namespace castaway {

namespace {

// Those whose default action is to do nothing.
constexpr uint64_t kIgnoredByDefault =
    sys::signal_bit(SIGCHLD) | sys::signal_bit(SIGURG) | sys::signal_bit(SIGWINCH) | sys::signal_bit(SIGCONT);

} // namespace

uint64_t ThreadSignals::dropped() const { return known ? (ignored | kIgnoredByDefault) & ~handled : 0; }

ThreadSignals signals_of(const Proc &proc, int tid) {
  char buffer[4096];
  Text<64> path;
  std::string_view text = proc.read((path << "task/" << tid << "/status").view(), buffer, sizeof buffer);
  auto mask = [&](const char *key) {
    std::string_view value = line_value(text, key);
    uint64_t bits = 0;
    take_number(value, bits, 16);
    return bits;
  };
  ThreadSignals signals;
  std::string_view switches = line_value(text, "voluntary_ctxt_switches:");
  signals.known = take_number(switches, signals.sleeps);
  if (!signals.known) return signals; // the thread is gone
  signals.own = mask("SigPnd:");
  signals.shared = mask("ShdPnd:");
  signals.blocked = mask("SigBlk:");
  signals.handled = mask("SigCgt:");
  signals.ignored = mask("SigIgn:");
  return signals;
}

bool await_main_took_signals(const Proc &proc) {
  constexpr uint64_t kLimit = 100'000'000, kStep = 20'000;
  uint64_t deadline = sys::now_ns() + kLimit;
  for (;; sys::sleep_ns(kStep)) {
    ThreadSignals main = signals_of(proc, proc.pid());
    if ((main.shared & main.due()) == 0) return true;
    if (sys::now_ns() >= deadline) return false;
  }
}

} // namespace castaway
