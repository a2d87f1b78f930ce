// Whether calls may be made at all; see call_probe.h.
#include "runtime/call_probe.h"

#include "runtime/huge_pages.h"
#include "runtime/stop_handler.h"

#include <csignal>
#include <linux/ptrace.h>
#include <sys/prctl.h>

namespace castaway {

namespace {

constexpr int kWaitAll = 0x40000000; // __WALL
constexpr int kDenied = 1;

bool can_call_ptrace() {
  constexpr int kNobody = 0;
  return sys::call(SYS_ptrace, PTRACE_SEIZE, kNobody, 0, 0) == -ESRCH;
}

// What a thread does in our handler, and when it leaves it (stop_handler.cc, pending_signals.cc).
bool can_call_as_handler() {
  constexpr int kNoSignal = 0;
  uint64_t set = 0;
  uint32_t word = 0;
  timespec now{};
  int process = sys::process_id(), thread = sys::thread_id();
  siginfo_t info{};
  info.si_code = kStopCode;
  sys::futex_wake(&word);
  return sys::futex_wait(&word, 1, 1) == -EAGAIN && sys::call(SYS_nanosleep, &now, nullptr) == 0 &&
         sys::call(SYS_rt_sigpending, &set, sizeof set) == 0 &&
         sys::call(SYS_rt_sigaction, SIGCHLD, nullptr, nullptr, sizeof set) == 0 &&
         sys::call(SYS_rt_sigtimedwait, &set, nullptr, &now, sizeof set) == -EAGAIN &&
         sys::call(SYS_rt_tgsigqueueinfo, process, thread, kNoSignal, &info) == 0;
}

bool can_call(Calls calls) {
  return calls == Calls::ptrace   ? can_call_ptrace()
         : calls == Calls::signal ? can_call_as_handler()
                                  : HugePages::can_call();
}

[[noreturn]] void try_calls(Calls calls) {
  sys::call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0); // its end leaves no core file
  sys::exit_group(can_call(calls) ? 0 : kDenied);
}

// In memory of its own, so that its end has nothing to do with the target's.
long try_it(Calls calls) {
  int status = 0;
  long child = sys::call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) try_calls(calls);
  if (child < 0) return child;
  while (sys::call(SYS_wait4, child, &status, kWaitAll, nullptr) == -EINTR) {
  }
  return status == 0 ? 0 : -EPERM;
}

// How many filters this task has; 0 where there is none.
uint64_t filters(int proc_root) {
  char buffer[4096];
  std::string_view status = Proc(proc_root, sys::process_id()).read("status", buffer, sizeof buffer);
  std::string_view mode = line_value(status, "Seccomp:"), count = line_value(status, "Seccomp_filters:");
  uint64_t number = 0;
  if (!take_number(mode, number) || number == 0) return 0;
  return take_number(count, number) && number > 0 ? number : 1; // Linux before 5.10 does not count
}

} // namespace

long probe_calls(Calls calls, int proc_root) {
  struct Answer {
    uint64_t filters;
    long result;
  };
  static Answer answers[3];
  Answer &answer = answers[static_cast<size_t>(calls)];
  uint64_t now = filters(proc_root);
  if (now == 0) return 0;
  if (now != answer.filters) answer = {now, try_it(calls)};
  return answer.result;
}

} // namespace castaway
