// Signals of the program's that come while its threads are held; see pending_signals.h.
#include "runtime/pending_signals.h"

#include "runtime/arch_signal.h"
#include "runtime/stop_handler.h"
#include "runtime/sys.h"

namespace castaway {

namespace {

constexpr int kLastSignal = 64;

bool has_handler(int number, unsigned long &flags) {
  KernelAction action{};
  if (sys::call(SYS_rt_sigaction, number, nullptr, &action, sizeof action.mask) != 0) return false;
  flags = action.flags;
  return reinterpret_cast<uintptr_t>(action.handler) > 1 && !is_stop_handler(action); // neither SIG_DFL nor SIG_IGN
}

bool has_any_handler(uint64_t signals) {
  unsigned long flags;
  for (int number = 1; signals != 0 && number <= kLastSignal; ++number)
    if ((signals & sys::signal_bit(number)) && has_handler(number, flags)) return true;
  return false;
}

// Of this thread and of the process; all are blocked here.
uint64_t pending_signals() {
  uint64_t pending = 0;
  return sys::call(SYS_rt_sigpending, &pending, sizeof pending) == 0 ? pending : 0;
}

// Takes the signal from where all threads could get it, and sends it to this one again, as it is.
bool claim(int number) {
  siginfo_t info{};
  uint64_t set = sys::signal_bit(number);
  timespec now{};
  if (sys::call(SYS_rt_sigtimedwait, &set, &info, &now, sizeof set) != number) return false;
  int process = sys::process_id(), thread = sys::thread_id();
  if (sys::call(SYS_rt_tgsigqueueinfo, process, thread, number, &info) < 0) // too many are queued
    sys::call(SYS_tgkill, process, thread, number);
  return true;
}

} // namespace

void leave_to_main(uint64_t blocked, uint64_t main_takes) {
  constexpr uint64_t kStep = 50'000;
  constexpr int kSteps = 1000;
  for (int i = 0; i < kSteps && has_any_handler(pending_signals() & ~blocked & main_takes); ++i) sys::sleep_ns(kStep);
}

Interruption next_signal(uint64_t blocked, uint64_t main_takes) {
  uint64_t pending = pending_signals() & ~blocked;
  for (int number = 1; pending != 0 && number <= kLastSignal; ++number) {
    unsigned long flags = 0;
    if (!(pending & sys::signal_bit(number)) || !has_handler(number, flags)) continue;
    if (!(main_takes & sys::signal_bit(number)) && !claim(number)) continue;
    return (flags & SA_RESTART) ? Interruption::restarts_calls : Interruption::ends_calls;
  }
  return Interruption::none;
}

// Those that the kernel makes again whatever the handler (ERESTARTNOINTR).
bool may_be_interrupted(const ucontext_t &context) {
  constexpr int kRequeuePi = 11, kLockPi2 = 13;
  long call = arch::number_of_call_ahead(context);
  if (call == SYS_clone || call == SYS_clone3) return false;
#ifdef SYS_fork
  if (call == SYS_fork || call == SYS_vfork) return false;
#endif
  if (call != SYS_futex) return true;
  int command = static_cast<int>(arch::second_argument(context)) & FUTEX_CMD_MASK;
  return command != FUTEX_LOCK_PI && command != kLockPi2 && command != kRequeuePi;
}

} // namespace castaway
