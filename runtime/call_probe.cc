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

// In a process of its own: its exit status, 0 where that was the end of it. It ends without a signal, as where SIGCHLD
// is ignored the kernel takes those away that end with that one.
template <typename Call> int try_apart(Call call) {
  int status = -1;
  long child = sys::call(SYS_clone, 0, 0, 0, 0, 0);
  if (child == 0) {
    sys::call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0); // its end leaves no core file
    sys::exit_group(call());
  }
  while (child > 0 && sys::call(SYS_wait4, child, &status, kWaitAll, nullptr) == -EINTR) {
  }
  return child > 0 && (status & 0x7f) == 0 ? status >> 8 & 0xff : 0;
}

// The first copy has memory of its own, so that its end has nothing to do with the target's; the second is a copy of
// that one, for the program need not wait while its memory is copied twice.
CallAnswers try_them(StopWay way) {
  enum { kStop = 1, kHugePages = 2, kActions = 4 };
  int answer = try_apart([&]() -> int {
    if (!(way == StopWay::ptrace ? can_call_ptrace() : can_call_as_handler())) return 0;
    return kStop | try_apart([]() -> int { return HugePages::can_call() ? kHugePages : 0; }) |
           try_apart([]() -> int { return keep_ended_children() ? kActions : 0; });
  });
  return {answer & kStop ? 0 : -EPERM, (answer & kHugePages) != 0, (answer & kActions) != 0};
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

bool keep_ended_children() {
  KernelAction usual{};
  return sys::call(SYS_rt_sigaction, SIGCHLD, &usual, nullptr, sizeof usual.mask) == 0;
}

CallAnswers probe_calls(StopWay way, int proc_root) {
  struct Known {
    uint64_t filters;
    CallAnswers answers;
  };
  static Known known[2];
  Known &own = known[way == StopWay::ptrace ? 0 : 1];
  uint64_t now = filters(proc_root);
  if (now == 0) return {0, true, true};
  if (now != own.filters) own = {now, try_them(way)};
  return own.answers;
}

} // namespace castaway
