// The signal handler that holds a thread; see stop_handler.h.
#include "runtime/stop_handler.h"

#include "runtime/arch_signal.h"
#include "runtime/memory.h"
#include "runtime/pending_signals.h"
#include "runtime/stop.h"
#include "runtime/sys.h"

extern "C" [[gnu::visibility("hidden")]] void castaway_signal_return();

namespace castaway {

constinit StopBoard stop_board{};

namespace {

constinit KernelAction next_action{};

bool is_ticket(const siginfo_t &info, uint64_t &ticket) {
  ticket = reinterpret_cast<uint64_t>(info.si_value.sival_ptr);
  return info.si_code == kStopCode && ticket >> 48 == 0xca57;
}

// The slot that the signal is for; null where that stop is over.
StopSlot *slot_of(uint64_t ticket) {
  size_t place = ticket & 0xffffff;
  if (!stop_board.slots || place >= kMostThreads) return nullptr;
  StopSlot &slot = stop_board.slots[place];
  return slot.stop.load(std::memory_order_acquire) == (ticket >> 24 & 0xffffff) ? &slot : nullptr;
}

// Tells the stopper, if it waits.
void announce() {
  stop_board.arrivals.fetch_add(1, std::memory_order_release);
  if (stop_board.awaited.exchange(0, std::memory_order_acq_rel)) sys::futex_wake(&stop_board.arrivals);
}

bool is_same_stop(const StopSlot &slot, uint64_t ticket) {
  return slot.stop.load(std::memory_order_acquire) == (ticket >> 24 & 0xffffff);
}

void fill(StopSlot &slot, const ucontext_t &context) {
  constexpr uintptr_t kBelow = 256; // of the handler's own, in use while it waits
  arch::read_context(context, slot.registers);
  arch::set_thread_pointer(slot.registers, arch::own_thread_pointer(stop_board.reads_thread_pointer));
  slot.vector_bytes = arch::vector_area(context, slot.vectors);
  uintptr_t top = reinterpret_cast<uintptr_t>(slot.vectors) + slot.vector_bytes;
  uintptr_t end = reinterpret_cast<uintptr_t>(&context + 1);
  slot.frame = {arch::own_stack_pointer() - kBelow, top > end ? top : end};
  __builtin_memcpy(&slot.blocked, &context.uc_sigmask, sizeof slot.blocked);
}

// Waits until it is let go. False where nobody will look at the slot any more.
bool wait_in(StopSlot &slot, uint64_t ticket) {
  constexpr uint64_t kStep = 1'000'000'000;
  while (slot.hold.load(std::memory_order_acquire) == 1 && is_same_stop(slot, ticket))
    sys::futex_wait(&slot.hold, 1, kStep);
  return is_same_stop(slot, ticket);
}

// Goes on as the stopper has decided, but where a signal of the program's is on its way, whose handler will run first:
// then its call comes back as it would have without us.
void go_on(StopSlot &slot, ucontext_t &context) {
  bool in_call = slot.stands_before_call || slot.changed;
  uint64_t main_takes = stop_board.main_takes.load(std::memory_order_acquire);
  if (!slot.is_main) leave_to_main(slot.blocked, main_takes);
  Interruption next = in_call ? next_signal(slot.blocked, main_takes) : Interruption::none;
  if (slot.changed && next == Interruption::none) arch::write_context(slot.registers, context);
  if (slot.stands_before_call && next == Interruption::ends_calls && may_be_interrupted(context))
    arch::interrupt_call(context);
}

void hand_on(int number, siginfo_t *info, void *context) {
  if (reinterpret_cast<uintptr_t>(next_action.handler) > 1) next_action.handler(number, info, context);
}

void on_stop_signal(int number, siginfo_t *info, void *place) {
  uint64_t ticket;
  if (!is_ticket(*info, ticket)) return hand_on(number, info, place);
  auto &context = *static_cast<ucontext_t *>(place);
  StopSlot *slot = slot_of(ticket);
  if (!slot) return;
  fill(*slot, context);
  slot->state.store(kSlotArrived, std::memory_order_release);
  announce();
  if (!wait_in(*slot, ticket)) return;
  go_on(*slot, context);
  slot->state.store(kSlotLeft, std::memory_order_release);
  announce();
}

} // namespace

KernelAction stop_action(uint64_t open) {
  constexpr unsigned long kRestorer = 0x04000000; // SA_RESTORER
  // A handler of the program's that ran inside ours would make the thread live.
  return {on_stop_signal, SA_SIGINFO | SA_RESTART | SA_ONSTACK | kRestorer, castaway_signal_return, ~open};
}
void set_next_action(const KernelAction &action) { next_action = action; }
bool is_stop_handler(const KernelAction &action) { return action.handler == on_stop_signal; }

} // namespace castaway
