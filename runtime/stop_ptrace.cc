// Holding threads with ptrace; see stop_ptrace.h.
#include "runtime/stop_ptrace.h"

#include "runtime/restart.h"
#include "runtime/seen_calls.h"
#include "runtime/thread_signals.h"

#include <csignal>
#include <linux/ptrace.h>
#include <sys/uio.h>

namespace castaway {

namespace {

constexpr int kWaitAll = 0x40000000; // __WALL: tasks whose exit signal is not SIGCHLD too
constexpr int kWaitNoHang = 1;
constexpr int kEventStop = 128; // PTRACE_EVENT_STOP

long ptrace(long request, int tid, long address = 0, long data = 0) {
  return sys::call(SYS_ptrace, request, tid, address, data);
}

long move_registers(long request, StoppedThread &thread, const arch::RegisterSet &set) {
  iovec area{reinterpret_cast<char *>(&thread.registers) + set.offset, set.size};
  return ptrace(request, thread.tid, set.note, reinterpret_cast<long>(&area));
}

void write_registers(StoppedThread &thread) { move_registers(PTRACE_SETREGSET, thread, arch::kRegisterSets[0]); }

// Whether any of these signals to the process is pending, as far as a stopped thread of it can tell: in a microsecond,
// where /proc takes 30.
bool may_be_pending(int tid, uint64_t signals) {
  constexpr int kAtOnce = 16;
  siginfo_t infos[kAtOnce];
  ptrace_peeksiginfo_args args{0, 1, kAtOnce}; // PTRACE_PEEKSIGINFO_SHARED
  long got = ptrace(PTRACE_PEEKSIGINFO, tid, reinterpret_cast<long>(&args), reinterpret_cast<long>(infos));
  if (got < 0 || got == kAtOnce) return got != -ESRCH;
  uint64_t pending = 0;
  for (long i = 0; i < got; ++i) pending |= sys::signal_bit(infos[i].si_signo);
  return (pending & signals) != 0;
}

} // namespace

long PtraceStopper::seize(size_t, StoppedThread &thread) {
  // While it still sleeps: later only the registers tell. Older sights may be of another call in the same place.
  if constexpr (!arch::kShowsCalls)
    if (SeenCall *seen = last_seen(thread.tid)) *seen = see_call(proc_, thread.tid);
  long result = ptrace(PTRACE_SEIZE, thread.tid);
  if (result != -EPERM) return result;
  return thread_stat(proc_, thread.tid).is_gone() ? -ESRCH : result; // one that has exited, main's for instance
}

long PtraceStopper::interrupt(size_t, StoppedThread &thread) {
  ptrace(PTRACE_INTERRUPT, thread.tid);
  return 0; // where it is gone, waiting for it says so
}

// Asks for each thread by its tid: asking for any makes the kernel look through all of them each time.
bool PtraceStopper::has_stopped(size_t, StoppedThread &thread, bool) {
  int status = 0;
  long result = sys::call(SYS_wait4, thread.tid, &status, kWaitNoHang | kWaitAll, nullptr);
  if (result == 0) return false;
  if (result < 0 || (status & 0xff) != 0x7f) return thread.gone = true; // it is no longer there
  // Either the trap that PTRACE_INTERRUPT asked for (or a job-control stop), or a signal on its way to the thread.
  // Of a traced thread the kernel queues ignored signals too, and wakes one for them: they must interrupt nothing.
  bool trap = (status >> 16) == kEventStop;
  thread.signal = trap ? 0 : (status >> 8) & 0xff;
  thread.interrupted_by_signal = !trap && !(signals_of(proc_, thread.tid).dropped() & sys::signal_bit(thread.signal));
  for (const arch::RegisterSet &set : arch::kRegisterSets)
    if (move_registers(PTRACE_GETREGSET, thread, set) < 0) thread.gone = true;
  if constexpr (!arch::kShowsCalls)
    if (const SeenCall *seen = last_seen(thread.tid)) show_call(thread.registers, *seen, proc_.pid());
  return true;
}

bool PtraceStopper::is_on_its_way(const StoppedThread &thread) const {
  return thread_stat(proc_, thread.tid).looks_for_signals();
}

// SIGCHLD is blocked in the tracer.
void PtraceStopper::await_event() {
  uint64_t set = sys::signal_bit(SIGCHLD);
  timespec limit = sys::to_timespec(1'000'000);
  sys::call(SYS_rt_sigtimedwait, &set, nullptr, &limit, sizeof set);
}

size_t PtraceStopper::fetch_vectors(size_t, const StoppedThread &thread, void *to, size_t size) {
  for (int note : arch::kVectorSets) {
    iovec area{to, size};
    if (ptrace(PTRACE_GETREGSET, thread.tid, note, reinterpret_cast<long>(&area)) >= 0) return area.iov_len;
  }
  return 0;
}

bool PtraceStopper::run_on(size_t, StoppedThread &thread) {
  if (ptrace(PTRACE_CONT, thread.tid, 0, thread.signal) < 0) return false;
  thread.signal = 0;
  return true;
}

void PtraceStopper::let_go(size_t, StoppedThread &thread) {
  if (thread.registers_changed) write_registers(thread);
  if (thread.tid != proc_.pid()) {
    ready_[ready_count_++] = &thread;
    if (ready_count_ == kTogether) flush();
    return;
  }
  ThreadSignals signals = signals_of(proc_, thread.tid);
  detach(thread);
  note_main_goes_on(signals);
  main_takes_ = signals.handled & ~signals.blocked;
  if (main_takes_ != 0) await_main_settled();
}

// A signal that comes before main has run is somebody else's. It will mostly sleep again at once.
void PtraceStopper::await_main_settled() const {
  constexpr uint64_t kLimit = 150'000, kStep = 10'000;
  uint64_t deadline = sys::now_ns() + kLimit;
  do sys::sleep_ns(kStep);
  while (thread_stat(proc_, proc_.pid()).state != 'S' && sys::now_ns() < deadline);
}

// A thread that goes on looks for signals first, those to the process too. One that comes now is main's, but whoever
// looks before main does takes it. So there must be none when threads are let go, and all must have looked soon after.
void PtraceStopper::flush() {
  for (size_t i = 0; i < ready_count_; ++i) {
    leave_signals_to_main(ready_[i]->tid);
    detach(*ready_[i]);
  }
  ready_count_ = 0;
}

void PtraceStopper::leave_signals_to_main(int tid) {
  if (main_takes_ == 0 || !may_be_pending(tid, main_takes_)) return;
  if (!await_main_took_signals(proc_)) main_takes_ = 0; // it has been waited for enough
}

void PtraceStopper::copy_sequences_page(const StoppedThread &thread) const {
  constexpr uintptr_t kPage = 4096;
  ptrace_rseq_configuration area{};
  long got = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, thread.tid, sizeof area, reinterpret_cast<long>(&area));
  uintptr_t from_stack = area.rseq_abi_pointer - arch::stack_pointer(thread.registers) + kPage;
  if (got <= 0 || area.rseq_abi_pointer == 0 || from_stack < 2 * kPage) return;
  auto at = static_cast<long>(area.rseq_abi_pointer);
  long word; // PTRACE_PEEKDATA, the system call, writes it
  if (ptrace(PTRACE_PEEKDATA, thread.tid, at, reinterpret_cast<long>(&word)) == 0)
    ptrace(PTRACE_POKEDATA, thread.tid, at, word);
}

void PtraceStopper::detach(StoppedThread &thread) const {
  if (keep_interruption(thread, proc_)) write_registers(thread);
  ptrace(PTRACE_DETACH, thread.tid, 0, thread.signal);
}

} // namespace castaway
