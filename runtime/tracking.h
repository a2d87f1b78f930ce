// What the allocation hooks keep up to date, and whether they do.
//
// HOOK context. The heap map knows every block from the first allocation on; `tracking` is false where profiling is
// off, from the start or because something made the map incomplete.
#pragma once

#include "runtime/hot.h"
#include "runtime/real.h"
#include "runtime/sampling.h"
#include "runtime/side_table.h"
#include "runtime/thread_state.h"
#include "scanner/heap_map.h"

namespace castaway {

extern HeapMap heap_map [[gnu::visibility("hidden")]];

enum class Trouble : int { none, map_full, misaligned, side_table_full };

struct Tracking {
  bool on;                      // see stop_tracking()
  bool starting;                // libraries are being initialised, before our own start: every stack is recorded
  std::atomic<Trouble> trouble; // set once, ends profiling
  uint64_t sample_bytes;
  std::atomic<uint64_t> refuted_blocks; // reported as leaked, and freed or reallocated afterwards
  uintptr_t main_thread_pointer;
  uintptr_t main_stack_end;
  size_t default_stack_size;
};
extern Tracking tracking [[gnu::visibility("hidden")]];

// Whether the process may have the address space that the runtime reserves, little of which it ever uses. Where that is
// limited the program would find its memory gone, so nothing is reserved and nothing is profiled.
bool has_address_space();

// The real functions are known, and with them the loader.
void start_tracking();
// Profiling is off from here on.
void stop_tracking();

// Before the first insertion.
void prepare_map();

// Something cannot be noted: profiling ends at the next safepoint, with the reason.
void give_up(Trouble trouble);

// What the calling thread allocates is no leak; they nest. Every allocation then comes through note_rarely().
void disable_here();
void enable_here();

// For what note_plain() or note_large() has refused, having taken its cost off; returns `block`, so that nothing of it
// has to be kept meanwhile.
void *note_rarely(void *block, size_t size, const void *caller);
// The same for what only note_plain() has refused, or none of them was to see: takes off what a large block costs.
void *note_slowly(void *block, size_t size, const void *caller);

[[gnu::always_inline]] inline bool is_slow_caller(const void *caller) {
  uintptr_t from_begin = reinterpret_cast<uintptr_t>(caller) - hot.slow_callers_begin;
  return __builtin_expect(from_begin < hot.slow_callers_length, 0);
}

// The usual case of note_block(): a small block, not empty, of which nothing is recorded. False where it is not the
// usual case, and only the cost of a small one is taken off.
[[gnu::always_inline]] inline bool note_plain(void *block, size_t size) {
  size_t index = sampling::small_class_of(size);
  bool plain =
      index < sampling::kSmallClasses && (this_thread.sampler.until_sample -= sampling::cost_of_class(index)) >= 0;
  return __builtin_expect(plain && heap_map.insert_small(reinterpret_cast<uintptr_t>(block), size), 1);
}

// The same for a large block, or an empty one, of which `cost` is taken off.
[[gnu::always_inline]] inline bool note_large(void *block, size_t size, uint64_t cost) {
  bool plain = (this_thread.sampler.until_sample -= static_cast<int64_t>(cost)) >= 0;
  return __builtin_expect(plain && heap_map.insert_present(reinterpret_cast<uintptr_t>(block), size), 1);
}

// A block of `size` bytes that the allocator has just handed out. `caller` is the hook's return address.
[[gnu::always_inline]] inline void note_block(void *block, size_t size, const void *caller) {
  if (is_slow_caller(caller) || !note_plain(block, size)) note_slowly(block, size, caller);
}

// A block that was reported as leaked has been freed or reallocated.
inline void count_refuted() { tracking.refuted_blocks.fetch_add(1, std::memory_order_relaxed); }

// After a flagged block has gone from the map.
void forget_flagged(uintptr_t begin);

// Removes a block from the map, before the allocator can hand its memory to somebody else.
[[gnu::always_inline]] inline Block forget_block(void *block) {
  uintptr_t begin = reinterpret_cast<uintptr_t>(block);
  Block known = heap_map.erase(begin);
  if (__builtin_expect(known.flagged, 0)) forget_flagged(begin);
  return known;
}

// The caller's call stack if this allocation is one of those that are recorded.
RecordedStack sample_stack(size_t size);

// The number of the caller's call stack, innermost frame first; 0 if none can be recorded. Keeps errno.
uint32_t record_own_stack();
// In the child of a fork.
void reset_last_stacks();

// The part of the calling thread's stack above `sp` that is known to be mapped.
Range own_stack(uintptr_t sp);

} // namespace castaway
