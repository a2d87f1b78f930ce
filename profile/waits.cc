#include "profile/waits.h"

#include <array>
#include <sys/syscall.h>

namespace castaway {
namespace {

struct NamedWait {
  std::string_view start; // of the function's name, leading underscores apart
  WaitKind wait;
};

// Looked for from the leaf upwards: the innermost match tells what the thread is in (a condition variable that takes
// its mutex back is a wait for the mutex).
constexpr std::array<NamedWait, 27> kNamedWaits = {{
    {"pthread_mutex_", WaitKind::mutex},
    {"pthread_cond_", WaitKind::cond},
    {"pthread_rwlock_", WaitKind::rwlock},
    {"pthread_barrier_wait", WaitKind::barrier},
    {"pthread_once", WaitKind::once},
    {"pthread_join", WaitKind::join},
    {"pthread_clockjoin", WaitKind::join},
    {"pthread_timedjoin", WaitKind::join},
    {"cnd_wait", WaitKind::cond},
    {"mtx_lock", WaitKind::mutex},
    {"thrd_join", WaitKind::join},
    {"call_once", WaitKind::once},
    {"sem_wait", WaitKind::sem},
    {"new_sem_wait", WaitKind::sem},
    {"cxa_guard_acquire", WaitKind::once},
    {"std::call_once", WaitKind::once},
    {"std::once_flag", WaitKind::once},
    {"std::thread::join", WaitKind::join},
    {"std::jthread::join", WaitKind::join},
    {"std::condition_variable", WaitKind::cond},
    {"std::counting_semaphore", WaitKind::sem},
    {"std::__atomic_semaphore", WaitKind::sem},
    {"std::__platform_semaphore", WaitKind::sem},
    {"std::latch::", WaitKind::barrier},
    {"std::barrier", WaitKind::barrier},
    {"std::__tree_barrier", WaitKind::barrier},
    {"absl::Mutex::", WaitKind::mutex},
}};

constexpr std::array<std::string_view, 9> kWaitLabels = {"",        "mutex", "cond", "rwlock", "sem",
                                                         "barrier", "join",  "once", "futex"};
constexpr std::array<std::string_view, 9> kWaitWords = {
    "", "mutex lock", "cond wait", "rwlock lock", "sem wait", "barrier wait", "join", "once", "futex wait"};
constexpr std::array<std::string_view, 5> kReasonLabels = {"", "unreachable", "deadlock", "abandoned", "behind"};

struct NamedCall {
  int64_t number;
  std::string_view name;
};

#if defined(__x86_64__)
constexpr auto kOwnMachine = Machine::x86_64;
#else
constexpr auto kOwnMachine = Machine::aarch64;
#endif

// Calls that threads spend their time in.
constexpr NamedCall kNamedCalls[] = {
    {SYS_futex, "futex, with timeout"},
    {SYS_read, "read"},
    {SYS_readv, "readv"},
    {SYS_write, "write"},
    {SYS_writev, "writev"},
    {SYS_epoll_pwait, "epoll_wait"},
    {SYS_epoll_pwait2, "epoll_wait"},
    {SYS_ppoll, "poll"},
    {SYS_pselect6, "select"},
    {SYS_accept, "accept"},
    {SYS_accept4, "accept"},
    {SYS_connect, "connect"},
    {SYS_recvfrom, "recv"},
    {SYS_recvmsg, "recvmsg"},
    {SYS_recvmmsg, "recvmmsg"},
    {SYS_sendto, "send"},
    {SYS_sendmsg, "sendmsg"},
    {SYS_nanosleep, "nanosleep"},
    {SYS_clock_nanosleep, "nanosleep"},
    {SYS_restart_syscall, "sleep or poll"}, // gone on with after a safepoint's stop: which is not to be seen
    {SYS_wait4, "wait"},
    {SYS_waitid, "wait"},
    {SYS_rt_sigtimedwait, "sigwait"},
    {SYS_rt_sigsuspend, "sigsuspend"},
    {SYS_io_getevents, "io_getevents"},
    {SYS_io_uring_enter, "io_uring_enter"},
    {SYS_flock, "flock"},
    {SYS_fsync, "fsync"},
    {SYS_semop, "semop"},
    {SYS_msgrcv, "msgrcv"},
    {SYS_sched_yield, "sched_yield"},
#if defined(__x86_64__)
    {SYS_epoll_wait, "epoll_wait"},
    {SYS_poll, "poll"},
    {SYS_select, "select"},
    {SYS_pause, "pause"},
#endif
};

std::string call_name(int64_t number, Machine machine) {
  if (machine == kOwnMachine)
    for (const auto &call : kNamedCalls)
      if (call.number == number) return std::string(call.name);
  return "system call " + std::to_string(number);
}

} // namespace

WaitKind refine_wait(WaitKind seen, std::span<const std::string_view> functions) {
  if (seen != WaitKind::futex) return seen;
  for (const auto function : functions) {
    const auto start = function.find_first_not_of('_');
    const auto name = start == std::string_view::npos ? function : function.substr(start);
    for (const auto &named : kNamedWaits)
      if (name.starts_with(named.start)) return named.wait;
  }
  return seen;
}

std::string_view wait_label(WaitKind wait) { return kWaitLabels[static_cast<size_t>(wait)]; }

std::string_view reason_label(Reason reason) { return kReasonLabels[static_cast<size_t>(reason)]; }

std::string_view wait_words(std::string_view label) {
  for (size_t i = 0; i < kWaitLabels.size(); i++)
    if (kWaitLabels[i] == label) return kWaitWords[i];
  return label;
}

std::string thread_state(const ThreadRecord &thread, WaitKind wait, Machine machine) {
  if ((thread.flags & kThreadWaiter) != 0 && wait != WaitKind::none) return std::string(wait_words(wait_label(wait)));
  if (thread.system_call >= 0) return call_name(thread.system_call, machine);
  return "running";
}

} // namespace castaway
