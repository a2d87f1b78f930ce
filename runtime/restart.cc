// System calls that the kernel never restarts, made to go on unseen; see restart.h.
// Source of the list: signal(7), "Interruption of system calls and library functions by signal handlers".
#include "runtime/restart.h"

#include "runtime/memory.h"
#include "runtime/thread_signals.h"
#include "runtime/waits.h"

#include <sys/socket.h>

namespace castaway {

namespace {

// remainder: a timespec, and the next argument is where the kernel leaves what remains of it, unless null.
enum class Timeout : uint8_t { none, milliseconds, relative_timespec, remainder, receive_option };

struct Rule {
  int call;
  Timeout timeout;
  int argument; // which one holds the timeout
};

constexpr Rule kRules[] = {
#ifdef SYS_epoll_wait
    {SYS_epoll_wait, Timeout::milliseconds, 3},
#endif
    {SYS_epoll_pwait, Timeout::milliseconds, 3},
    {SYS_epoll_pwait2, Timeout::relative_timespec, 3},
    {SYS_rt_sigtimedwait, Timeout::relative_timespec, 2},
    {SYS_semop, Timeout::none, 0},
    {SYS_semtimedop, Timeout::relative_timespec, 3},
    {SYS_msgrcv, Timeout::none, 0},
    {SYS_msgsnd, Timeout::none, 0},
    {SYS_read, Timeout::receive_option, 0},
    {SYS_readv, Timeout::receive_option, 0},
    {SYS_recvfrom, Timeout::receive_option, 0},
    {SYS_recvmsg, Timeout::receive_option, 0},
    {SYS_accept, Timeout::receive_option, 0},
    {SYS_accept4, Timeout::receive_option, 0},
    {SYS_recvmmsg, Timeout::receive_option, 0},
    {SYS_connect, Timeout::none, 0},
    {SYS_write, Timeout::none, 0},
    {SYS_sendto, Timeout::none, 0},
    {SYS_sendmsg, Timeout::none, 0},
    {SYS_io_getevents, Timeout::relative_timespec, 4},
    {SYS_io_uring_enter, Timeout::none, 0},
};

constexpr long kNoHandler = -514, kRestartBlock = -516;

struct HandlerRule {
  Rule rule;
  long result; // ERESTARTNOHAND or ERESTART_RESTARTBLOCK: without a handler the kernel goes on by itself
};

// Those that end in EINTR after a handler only. ppoll and select leave what remains in their own timeout.
constexpr HandlerRule kHandlerRules[] = {
#ifdef SYS_poll
    {{SYS_poll, Timeout::milliseconds, 2}, kRestartBlock},
#endif
#ifdef SYS_select
    {{SYS_select, Timeout::none, 0}, kNoHandler},
#endif
#ifdef SYS_pause
    {{SYS_pause, Timeout::none, 0}, kNoHandler},
#endif
    {{SYS_ppoll, Timeout::none, 0}, kNoHandler},
    {{SYS_pselect6, Timeout::none, 0}, kNoHandler},
    {{SYS_rt_sigsuspend, Timeout::none, 0}, kNoHandler},
    {{SYS_nanosleep, Timeout::remainder, 0}, kRestartBlock},
    {{SYS_clock_nanosleep, Timeout::remainder, 2}, kRestartBlock},
    {{SYS_futex, Timeout::relative_timespec, 3}, kRestartBlock},
};

// A timed call that was made to go on: what it looked like when it did, and when it is to end.
struct TimedCall {
  int tid;
  int call;
  uintptr_t stack_pointer;
  uint64_t sleeps; // voluntary context switches of the thread at its next stop, where it is still in this call
  uint64_t deadline_ns;
  timespec rest; // the timeout that the thread's call points at, where it is a timespec
};

constexpr size_t kTimedCalls = size_t{1} << 16; // untouched ones cost nothing
TimedCall *timed_calls;

// In this stop: signals to the process that a thread was found to handle, and those that main does not take; and until
// when threads are waited for.
uint64_t taken, main_blocks, patience_ends_ns;

// One place per tid; a colliding thread takes it over, and the loser's wait may be prolonged once more.
TimedCall *place_of(int tid) {
  if (!timed_calls) timed_calls = static_cast<TimedCall *>(own_memory(kTimedCalls * sizeof(TimedCall)));
  return timed_calls ? &timed_calls[static_cast<unsigned>(tid) % kTimedCalls] : nullptr;
}

const Rule *rule_of(long call) {
  for (const Rule &rule : kRules)
    if (rule.call == call) return &rule;
  return nullptr;
}

const HandlerRule *handler_rule_of(long call) {
  for (const HandlerRule &rule : kHandlerRules)
    if (rule.rule.call == call) return &rule;
  return nullptr;
}

// SO_RCVTIMEO of a descriptor of the target, in nanoseconds; 0 = none or no socket.
uint64_t receive_timeout(int fd, int pid) {
  long process = sys::call(SYS_pidfd_open, pid, 0);
  if (process < 0) return 0;
  long copy = sys::call(SYS_pidfd_getfd, process, fd, 0);
  sys::close(static_cast<int>(process));
  if (copy < 0) return 0;
  timeval limit{};
  uint32_t size = sizeof limit;
  long result = sys::call(SYS_getsockopt, copy, SOL_SOCKET, SO_RCVTIMEO, &limit, &size);
  sys::close(static_cast<int>(copy));
  if (result < 0) return 0;
  return static_cast<uint64_t>(limit.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(limit.tv_usec) * 1000;
}

// The call's own timeout; UINT64_MAX = none.
uint64_t timeout_of(const StoppedThread &thread, const Rule &rule, int pid) {
  uint64_t value = arch::call_argument(thread.registers, rule.argument);
  if (rule.timeout == Timeout::milliseconds) {
    int32_t ms = static_cast<int32_t>(value);
    return ms < 0 ? UINT64_MAX : static_cast<uint64_t>(ms) * 1'000'000;
  }
  if (rule.timeout == Timeout::relative_timespec || rule.timeout == Timeout::remainder) {
    timespec limit;
    if (value == 0 || !sys::read_own_memory(pid, value, &limit, sizeof limit)) return UINT64_MAX;
    if (limit.tv_sec > kFarTimeout || limit.tv_sec < 0) return UINT64_MAX;
    return static_cast<uint64_t>(limit.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(limit.tv_nsec);
  }
  if (rule.timeout == Timeout::receive_option) {
    uint64_t limit = receive_timeout(static_cast<int>(value), pid);
    return limit == 0 ? UINT64_MAX : limit;
  }
  return UINT64_MAX;
}

// The kernel looks at the lower half of a timeout in milliseconds only: the upper one says that it is ours.
uint64_t tag_of(int tid) { return uint64_t{0x57000000u | (static_cast<unsigned>(tid) & 0xffffff)} << 32; }

void set_timeout(StoppedThread &thread, const Rule &rule, TimedCall &timed, uint64_t rest_ns) {
  if (rule.timeout == Timeout::milliseconds)
    arch::set_call_argument(thread.registers, rule.argument, tag_of(thread.tid) | (rest_ns + 999'999) / 1'000'000);
  if (rule.timeout == Timeout::relative_timespec || rule.timeout == Timeout::remainder) {
    timed.rest = sys::to_timespec(rest_ns);
    arch::set_call_argument(thread.registers, rule.argument, reinterpret_cast<uintptr_t>(&timed.rest));
  }
}

// Whether this is still the call of the last stop. Its timeout is then what it was made to be; where the call has none
// among its arguments, nothing but that stop must have made the thread run.
bool same_call(const TimedCall &timed, const StoppedThread &thread, const Rule &rule, uint64_t sleeps) {
  if (timed.tid != thread.tid || timed.call != arch::call_number(thread.registers) ||
      timed.stack_pointer != arch::stack_pointer(thread.registers))
    return false;
  uint64_t value = arch::call_argument(thread.registers, rule.argument);
  if (rule.timeout == Timeout::milliseconds) return value >> 32 == tag_of(thread.tid) >> 32;
  if (rule.timeout == Timeout::receive_option) return sleeps == timed.sleeps;
  return value == reinterpret_cast<uintptr_t>(&timed.rest);
}

// How often a stopped thread has slept. One that has just been stopped by a signal is on its way to sleep, for which it
// may have to wait for a processor: counted too early, its call would be taken for another one at the next stop.
uint64_t sleeps_of(int tid, const Proc &proc) {
  constexpr uint64_t kStep = 50'000;
  while (thread_stat(proc, tid).state == 'R' && sys::now_ns() < patience_ends_ns) sys::sleep_ns(kStep);
  return signals_of(proc, tid).sleeps;
}

// False when the call's time is over: it then ends as the kernel would have ended it. `sleeps`: how often the thread
// has slept.
bool shorten(StoppedThread &thread, const Rule &rule, uint64_t sleeps, const Proc &proc) {
  constexpr uint64_t kStopAndCall = 2; // being stopped in a call and made to call again
  TimedCall *timed = place_of(thread.tid);
  if (!timed) return true;
  uint64_t now = sys::now_ns();
  if (!same_call(*timed, thread, rule, sleeps)) {
    uint64_t timeout = timeout_of(thread, rule, proc.pid());
    if (timeout == UINT64_MAX) return timed->tid = 0, true;
    *timed = {thread.tid,
              static_cast<int>(arch::call_number(thread.registers)),
              arch::stack_pointer(thread.registers),
              0,
              now + timeout,
              {}};
  }
  timed->sleeps = sleeps + kStopAndCall;
  if (rule.timeout == Timeout::receive_option) {
    bool over = now >= timed->deadline_ns;
    if (over) timed->tid = 0; // the thread's next call is another one
    return !over;
  }
  set_timeout(thread, rule, *timed, now < timed->deadline_ns ? timed->deadline_ns - now : 0);
  return true;
}

// A futex wait with a timeout beyond any use: the kernel would go on with restart_syscall, which does not say what it
// waits for. Making the call again says it, and starts a timeout that nobody lives to see.
void keep_far_wait(StoppedThread &thread, int pid) {
  arch::ThreadRegisters &registers = thread.registers;
  if (arch::call_number(registers) != SYS_futex || arch::call_result(registers) != kRestartBlock) return;
  timespec limit;
  uint64_t at = arch::call_argument(registers, 3);
  if (at == 0 || !sys::read_own_memory(pid, at, &limit, sizeof limit)) return;
  thread.calls_again = is_far(static_cast<int>(arch::call_argument(registers, 1)), limit);
}

// Whether the call has a timeout that starts anew when the call is made again.
bool starts_anew(const StoppedThread &thread, const Rule &rule) {
  constexpr uint64_t kAbsolute = 1; // TIMER_ABSTIME
  if (rule.call == SYS_clock_nanosleep) return !(arch::call_argument(thread.registers, 1) & kAbsolute);
  if (rule.call == SYS_futex)
    return (static_cast<int>(arch::call_argument(thread.registers, 1)) & FUTEX_CMD_MASK) == FUTEX_WAIT;
  return rule.timeout != Timeout::none;
}

// A call that would go on by itself but for the handler that has run.
void go_on_after_handler(StoppedThread &thread, const Proc &proc) {
  const HandlerRule *found = handler_rule_of(arch::call_number(thread.registers));
  if (!found || !restarts(arch::call_result(thread.registers)) ||
      arch::call_result(thread.registers) != found->result || thread.calls_again)
    return;
  thread.calls_again = true;
  const Rule &rule = found->rule;
  if (!starts_anew(thread, rule)) return;
  uint64_t rest = rule.timeout == Timeout::remainder ? arch::call_argument(thread.registers, rule.argument + 1) : 0;
  if (rest != 0)
    arch::set_call_argument(thread.registers, rule.argument, rest);
  else
    shorten(thread, rule, 0, proc);
}

} // namespace

long result_without_handler(long call) {
  const HandlerRule *rule = handler_rule_of(call);
  return rule ? rule->result : -EINTR;
}

void begin_unseen() {
  constexpr uint64_t kPatience = 100'000'000;
  taken = 0, main_blocks = ~uint64_t{0}, patience_ends_ns = sys::now_ns() + kPatience;
}

void make_unseen(StoppedThread &thread, const Proc &proc, StopWay way) {
  if (thread.interrupted_by_signal || thread.calls_again || thread.registers_changed) return;
  keep_far_wait(thread, proc.pid());
  if (way == StopWay::signal) go_on_after_handler(thread, proc);
  const Rule *rule = rule_of(arch::call_number(thread.registers));
  if (!rule || arch::call_result(thread.registers) != -EINTR) return;
  uint64_t sleeps = rule->timeout == Timeout::receive_option ? sleeps_of(thread.tid, proc) : 0;
  if (shorten(thread, *rule, sleeps, proc)) {
    make_again(thread, way);
    thread.was_interrupted = true;
  } else {
    arch::set_call_result(thread.registers, -EAGAIN);
    thread.registers_changed = true;
  }
}

void make_again(StoppedThread &thread, StopWay way) {
  if (arch::kGoesByResult && way == StopWay::ptrace)
    arch::set_call_result(thread.registers, kNoHandler);
  else
    arch::call_again(thread.registers, arch::call_number(thread.registers));
  thread.registers_changed = true;
}

void note_main_goes_on(const ThreadSignals &signals) { main_blocks = signals.blocked; }

bool keep_interruption(StoppedThread &thread, const Proc &proc) {
  if (arch::kGoesByResult || !thread.was_interrupted) return false;
  ThreadSignals signals = signals_of(proc, thread.tid);
  uint64_t due = signals.due();
  // Of what was sent to the process main gets what it does not block, and another signal the first of those who take
  // it.
  due &= signals.own | (main_blocks & ~taken);
  taken |= due & signals.shared;
  if (due == 0) return false;
  arch::step_over_call(thread.registers);
  arch::set_call_result(thread.registers, -EINTR);
  return true;
}

} // namespace castaway
