// Holding threads with a signal; see stop_signal.h. Context: the agent.
#include "runtime/stop_signal.h"

#include "runtime/arch_signal.h"
#include "runtime/libc_facts.h"
#include "runtime/memory.h"
#include "runtime/restart.h"
#include "runtime/thread_signals.h"

#include <sys/auxv.h>

namespace castaway {

namespace {

constexpr int kSetXid = 33; // __SIGRTMIN + 1 of glibc
constexpr int kLeast = 34, kMost = 64;

int stop_signal;     // that the handler is, or was last, installed for
int unreachable_tid; // which blocked it last time
bool installed;
KernelAction previous; // what is put back
// Signals that the handler does not block. One that is ignored and blocked waits, and then wakes a thread that is not
// held, whose call comes back for nothing.
uint64_t open_signals;

bool is_free(const KernelAction &action) { return reinterpret_cast<uintptr_t>(action.handler) == 0; }
bool is_of_libc(const KernelAction &action) {
  return libc_facts.code.contains(reinterpret_cast<uintptr_t>(action.handler));
}

long set_action(int number, const KernelAction *action, KernelAction *old) {
  return sys::call(SYS_rt_sigaction, number, action, old, sizeof(uint64_t));
}

// Swaps it in, so that nothing that was installed in the same moment is lost.
bool install_for(int number, bool (*may_replace)(const KernelAction &)) {
  KernelAction mine = stop_action(open_signals), old{};
  if (set_action(number, nullptr, &old) != 0) return false;
  if (!is_stop_handler(old) && !may_replace(old)) return false;
  if (set_action(number, &mine, &old) != 0) return false;
  if (!is_stop_handler(old)) {
    if (!may_replace(old)) return set_action(number, &old, nullptr), false;
    previous = old;
    set_next_action(old);
  }
  stop_signal = number;
  return installed = true;
}

// All that the handler blocks.
bool is_whole(uint64_t mask) {
  return (mask | open_signals | sys::signal_bit(SIGKILL) | sys::signal_bit(SIGSTOP)) == ~uint64_t{0};
}

StopSlot *slot_at(size_t place) { return &stop_board.slots[place]; }

} // namespace

bool SignalStopper::install() {
  if (install_for(kSetXid, [](const KernelAction &old) { return is_free(old) || is_of_libc(old); })) return true;
  for (int number = kMost; number >= kLeast; --number)
    if (install_for(number, is_free)) return true;
  return false;
}

StopFailure SignalStopper::begin() {
  if (!stop_board.slots) stop_board.slots = static_cast<StopSlot *>(own_memory(kMostThreads * sizeof(StopSlot)));
  if (!stop_board.slots) return StopFailure::no_memory;
  stop_board.reads_thread_pointer = arch::reads_thread_pointer(getauxval(AT_HWCAP2));
  // The next number, never 0: that is what unused slots have.
  uint32_t stop = (stop_board.stop.load(std::memory_order_relaxed) + 1) & 0xffffff;
  stop_board.stop.store(stop ? stop : 1, std::memory_order_relaxed);
  open_signals = signals_of(proc_, proc_.pid()).dropped();
  return install() ? StopFailure::none : StopFailure::no_signal;
}

bool SignalStopper::blocks_signal(int tid) const {
  return signals_of(proc_, tid).blocked & sys::signal_bit(stop_signal);
}

// Nothing that the thread could notice: what it sleeps in is read, in case its call cannot be told later.
long SignalStopper::seize(size_t place, StoppedThread &thread) {
  constexpr uint64_t kIoWorker = 0x10; // PF_IO_WORKER: io_uring's, which runs no code of the program's
  if (thread.tid == unreachable_tid && blocks_signal(thread.tid)) return -EBUSY;
  StopSlot &slot = *slot_at(place);
  slot.seen = see_call(proc_, thread.tid);
  if (SeenCall *last = last_seen(thread.tid); last && slot.seen.number >= 0) *last = slot.seen;
  // One that sleeps in a call is a thread. A leader that has exited stays in the list.
  if (slot.seen.number < 0) {
    ThreadStat stat = thread_stat(proc_, thread.tid);
    if (stat.is_gone() || (stat.flags & kIoWorker)) return -ESRCH;
  }
  slot.is_main = thread.tid == proc_.pid();
  if (slot.is_main) main_ = &slot;
  return 0;
}

long SignalStopper::interrupt(size_t place, StoppedThread &thread) {
  StopSlot &slot = *slot_at(place);
  uint32_t stop = stop_board.stop.load(std::memory_order_relaxed);
  slot.stands_before_call = slot.changed = false;
  slot.hold.store(1, std::memory_order_relaxed);
  slot.state.store(kSlotSent, std::memory_order_relaxed);
  slot.stop.store(stop, std::memory_order_release);
  siginfo_t info{};
  info.si_signo = stop_signal;
  info.si_code = kStopCode;
  info.si_pid = proc_.pid();
  info.si_value.sival_ptr = reinterpret_cast<void *>(stop_ticket(stop, place));
  return sys::call(SYS_rt_tgsigqueueinfo, proc_.pid(), thread.tid, stop_signal, &info);
}

bool SignalStopper::has_stopped(size_t place, StoppedThread &thread, bool insist) {
  StopSlot &slot = *slot_at(place);
  if (slot.state.load(std::memory_order_acquire) == kSlotArrived) {
    thread.registers = slot.registers;
    thread.frame = slot.frame;
    read_call(thread, slot);
    return true;
  }
  if (!insist) return false;
  if (thread_stat(proc_, thread.tid).is_gone()) return thread.gone = true;
  if (unreachable_tid != thread.tid && blocks_signal(thread.tid)) unreachable_tid = thread.tid;
  return false;
}

bool SignalStopper::is_on_its_way(const StoppedThread &thread) const {
  return thread_stat(proc_, thread.tid).looks_for_signals() && !blocks_signal(thread.tid);
}

void SignalStopper::await_event() {
  constexpr uint64_t kMillisecond = 1'000'000;
  uint32_t seen = stop_board.arrivals.load(std::memory_order_acquire);
  if (stop_board.awaited.exchange(1, std::memory_order_acq_rel) == 1) // it was already announced: look first
    sys::futex_wait(&stop_board.arrivals, seen, kMillisecond);
}

// Shows an interrupted call as ptrace would have shown it.
void SignalStopper::read_call(StoppedThread &thread, StopSlot &slot) const {
  constexpr long kRestartSys = -512;
  arch::ThreadRegisters &registers = thread.registers;
  uint8_t code[arch::kCallSize];
  if (arch::is_before_call(registers) &&
      sys::read_own_memory(proc_.pid(), arch::program_counter(registers), code, sizeof code) &&
      arch::is_call_instruction(code)) {
    arch::show_call_ahead(registers, arch::number_of_call_ahead(registers), kRestartSys);
    // A call that may not have been made yet must not come back with EINTR.
    slot.stands_before_call = arch::kShowsCalls || is_same(slot.seen, registers, 6);
  } else if (arch::is_behind_interrupted_call(registers)) {
    long number = call_number(thread, slot.seen);
    if (number < 0 || !recall_first_argument(registers, number, slot.seen)) return;
    arch::set_call_number(registers, number);
    arch::set_call_result(registers, result_without_handler(number));
  }
}

long SignalStopper::call_number(const StoppedThread &thread, const SeenCall &seen) const {
  constexpr size_t kBefore = arch::kCodeBefore;
  const arch::ThreadRegisters &registers = thread.registers;
  uint8_t code[kBefore + arch::kCallSize];
  uintptr_t at = arch::program_counter(registers) - sizeof code;
  if (!sys::read_own_memory(proc_.pid(), at, code, sizeof code) || !arch::is_call_instruction(code + kBefore))
    return -1;
  bool generic = arch::is_generic_call(code);
  if (long number = generic ? -1 : arch::call_number_in(code, registers); number >= 0) return number;
  if (is_same(seen, registers, 6)) return seen.number;
  // It began the call after that: at an earlier stop it may have been seen in the like, with another timeout.
  constexpr int kObjectAndOperation = 2;
  if (const SeenCall *last = last_seen(thread.tid); last && is_same(*last, registers, kObjectAndOperation))
    return last->number;
  uintptr_t caller;
  if (!generic || !sys::read_own_memory(proc_.pid(), arch::return_address_at(registers), &caller, sizeof caller) ||
      !sys::read_own_memory(proc_.pid(), caller - kBefore, code, kBefore))
    return -1;
  return arch::generic_number_in(code);
}

size_t SignalStopper::fetch_vectors(size_t place, const StoppedThread &, void *to, size_t size) {
  const StopSlot &slot = *slot_at(place);
  size_t bytes = slot.vector_bytes < size ? slot.vector_bytes : size;
  std::memcpy(to, slot.vectors, bytes);
  return bytes;
}

bool SignalStopper::run_on(size_t place, StoppedThread &) {
  constexpr uint64_t kLimit = 100'000'000;
  StopSlot &slot = *slot_at(place);
  slot.hold.store(0, std::memory_order_release);
  sys::futex_wake(&slot.hold);
  await_left(place, sys::now_ns() + kLimit);
  return slot.state.load(std::memory_order_acquire) == kSlotLeft;
}

void SignalStopper::let_go(size_t place, StoppedThread &thread) {
  StopSlot &slot = *slot_at(place);
  slot.changed = thread.registers_changed;
  if (slot.changed) slot.registers = thread.registers;
  slot.hold.store(0, std::memory_order_release);
  sys::futex_wake(&slot.hold);
  if (slot.is_main) await_open(place);
}

// Signals that come meanwhile are main's before they are anybody else's, so it goes first, until it takes them again.
void SignalStopper::await_open(size_t place) {
  constexpr uint64_t kLimit = 1'000'000'000, kStep = 20'000;
  uint64_t deadline = sys::now_ns() + kLimit;
  await_left(place, deadline);
  if (is_whole(slot_at(place)->blocked)) return; // it never takes any
  for (ThreadSignals main = signals_of(proc_, proc_.pid()); main.known && is_whole(main.blocked);
       main = signals_of(proc_, proc_.pid())) {
    if (sys::now_ns() >= deadline) return;
    sys::sleep_ns(kStep);
  }
}

void SignalStopper::await_left(size_t place, uint64_t deadline_ns) {
  while (slot_at(place)->state.load(std::memory_order_acquire) != kSlotLeft && sys::now_ns() < deadline_ns)
    await_event();
}

// With all threads held, nobody can change the action between the look and the change.
void SignalStopper::before_resume(bool complete) {
  bool main_is_here = main_ && main_->state.load(std::memory_order_acquire) == kSlotArrived;
  stop_board.main_takes.store(main_is_here ? ~main_->blocked : 0, std::memory_order_release);
  if (!complete || !installed) return;
  set_action(stop_signal, &previous, nullptr);
  installed = false;
}

// A handler that has not left uses its slot. One that takes longer than this finds the slot another stop's.
void SignalStopper::after_resume(std::span<StoppedThread> threads) {
  constexpr uint64_t kLimit = 2'000'000'000;
  uint64_t deadline = sys::now_ns() + kLimit;
  for (size_t i = 0; i < threads.size(); ++i) {
    StopSlot &slot = *slot_at(i);
    if (!threads[i].gone && !threads[i].pending) await_left(i, deadline);
    slot.stop.store(0, std::memory_order_release);
    slot.hold.store(0, std::memory_order_release);
    if (threads[i].pending) sys::futex_wake(&slot.hold); // it may have come this moment
  }
}

int stop_signal_number() { return stop_signal; }

void forget_stop_signal() {
  unreachable_tid = 0;
  if (!installed) return;
  KernelAction now{};
  if (set_action(stop_signal, nullptr, &now) == 0 && is_stop_handler(now)) set_action(stop_signal, &previous, nullptr);
  installed = false;
}

} // namespace castaway
