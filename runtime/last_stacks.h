// The stacks that each thread recorded last, and their numbers: most are one of a few again. Where every stack is
// recorded that is most of the time saved, and where few are, most accesses to memory that nothing else has used.
//
// HOOK context. A thread has a slot here, to which this_thread points, and needs no atomic operation for it: a slot is
// given to a thread pointer for good. Who comes with the same thread pointer later is a thread in the same place, and
// the one before it has ended; so slots are used again as the stacks of ended threads are. When all are given away,
// threads share some more slots, each one's for the time of one recording.
//
// Not in thread-local storage, which is taken from stacks. Not on the stack while a stack is unwound, where it would
// leave words that look like pointers.
#pragma once

#include "runtime/unwind.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace castaway {

struct alignas(128) LastRecorded { // threads must not write to each other's lines
  static constexpr size_t kStacks = FrameRoom::kColumns - 1;

  // Also against this very thread, under a signal.
  std::atomic<bool> busy;
  bool shared;
  uint32_t latest;  // index of the stack that came last
  uint32_t next;    // and of the one that the next new stack takes the place of
  uintptr_t thread; // whose the stacks are
  struct Key {
    uintptr_t sp; // where record_own_stack()'s caller had its stack pointer: tells most of them apart
    uint32_t at;  // the caller's frame
    uint32_t id;  // of the stack (call_stacks.h), 0 where it is not kept
  } keys[kStacks];
  LastStack stacks[kStacks];
  FrameRoom *room; // the last column is for the call

  void forget() {
    for (LastStack &stack : stacks) stack.count = 0;
  }
};

namespace last_stacks {

inline constexpr size_t kOwned = 256, kShared = 16;

// The slot of the thread with this thread pointer: its own, which nobody uses at the moment, or a shared one. Without
// memory for it, one that is always in use.
LastRecorded &claim(uintptr_t thread);

// Before and after a slot is used, by the thread `thread`. False: it is being used, by another thread or in the frames
// below a signal handler's.
[[gnu::always_inline]] inline bool enter(LastRecorded &slot, uintptr_t thread) {
  if (__builtin_expect(slot.shared, 0)) {
    if (slot.busy.exchange(true, std::memory_order_acquire)) return false;
    if (slot.thread != thread) slot.thread = thread, slot.forget();
    return true;
  }
  if (slot.busy.load(std::memory_order_relaxed)) return false;
  slot.busy.store(true, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return true;
}
[[gnu::always_inline]] inline void leave(LastRecorded &slot) { slot.busy.store(false, std::memory_order_release); }

// In the child of a fork: `own` is the calling thread's slot, or null, and stays as it is.
void forget_others(const LastRecorded *own);

} // namespace last_stacks
} // namespace castaway
