// The runtime's own memory: regions from mmap, remembered so that they are never taken for roots of the target.
//
// Any context but SNAPSHOT, where what is needed later is mapped freely. Thread-safe. Regions are never given back:
// they are reserved address space, and pages come when touched.
//
// Also in a program that locks its memory (mlockall(2)), for which the kernel brings all pages at once of what is
// accessible: own memory is unlocked, what is mapped later before it becomes accessible; and most of what is large and
// seldom used up is made accessible as it grows (GrowingMemory).
#pragma once

#include "scanner/image.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace castaway {

// Zeroed memory of at least `size` bytes, page-aligned; null when the kernel has none or the list of regions is full.
void *own_memory(size_t size);
// The same, shared with all processes that this one forks later, and they fork.
void *own_shared_memory(size_t size);
// All zero again, without pages where possible. For those who know that nobody uses it meanwhile.
void clear_own_memory(void *at, size_t size);

// The program is about to lock all memory that it will map.
void expect_locking();
// It has locked all that is mapped.
void unlock_own_memory();

// Address space of at most `most` bytes that becomes memory from its beginning on, a MiB at a time (mprotect(2), which
// allocators call as well). Also in the child of a fork that another thread's growth was in the middle of.
class GrowingMemory {
public:
  explicit constexpr GrowingMemory(size_t most) : most_(most) {}

  // The beginning, with at least `size` bytes that can be used and were zero at first; null when `size` is more than
  // the most, or the kernel has none. It stays where it is.
  [[gnu::always_inline]] inline void *grow(size_t size) {
    return __builtin_expect(size <= usable_.load(std::memory_order_acquire), 1) ? begin() : grow_slowly(size);
  }
  // For those who know that grow() has made usable what they look at.
  void *begin() const { return begin_.load(std::memory_order_acquire); }
  // As clear_own_memory(), of all that can be used.
  void clear();

private:
  void *grow_slowly(size_t size);

  const size_t most_;
  std::atomic<void *> begin_{nullptr};
  std::atomic<size_t> usable_{0}; // bytes
};

// All regions handed out so far, and the library's own segments. Writes at most `most`, returns how many.
size_t own_ranges(Range *out, size_t most);

inline constexpr size_t kOwnRegions = 4096;

// The address range of this library's segments, its .bss included.
Range own_module();

} // namespace castaway
