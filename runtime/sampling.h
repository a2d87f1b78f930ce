// Which allocation stacks are recorded: a Poisson process over what allocations cost, which is their bytes, but more
// for sizes of which too little is known.
//
// Totals of leaked memory are exact, by size; whose it is, is what recorded stacks say. Where blocks of a size are
// leaked and none of them has a stack, that size becomes dense: from then on each of its allocations costs several
// times as much. So a slow leak is attributed soon, beside whatever traffic of other sizes. Traffic of the same size
// would make that dear; a dense size that is recorded too often becomes less dense at once.
//
// A thread that goes on allocating a lot has fewer recorded than its bytes would have, but for dense sizes. In a
// program that does much else between two of them each finds all that it needs out of the cache, and takes 2 us: of
// what hooks took of a busy PostgreSQL server that was a third.
//
// What is recorded with a different probability than another block of its size has to weigh accordingly: weight().
//
// Context: HOOK, thread-safe, but a Sampler is one thread's; densify() in the agent.
#pragma once

#include "runtime/hot.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace castaway::sampling {

// Sizes up to HeapMap::kSmallBytes are in classes by granules; class 0 is 1 to 16 bytes. Larger ones, up to 64 MiB,
// have four classes per doubling. Still larger ones, and empty ones, are in none: they cost what they are.
inline constexpr size_t kSmallClasses = HeapMap::kSmallGranules, kLargeClasses = 64,
                        kClasses = kSmallClasses + kLargeClasses;
inline size_t small_class_of(size_t size) { return (size - 1) >> HeapMap::kGranuleBits; }
// Of sizes from 8 on: the quarter of a doubling in which it lies, counted on without end.
inline size_t quarter_of(size_t size) {
  auto top = static_cast<size_t>(63 - __builtin_clzll(size - 1));
  return top * 4 + (((size - 1) >> (top - 2)) & 3);
}
inline constexpr size_t kFirstQuarter = 10 * 4; // of 1025 to 1280 bytes
inline size_t class_of(size_t size) {
  if (small_class_of(size) < kSmallClasses || size == 0) return small_class_of(size);
  return std::min(kSmallClasses + quarter_of(size) - kFirstQuarter, kClasses);
}

// A set of classes.
struct Classes {
  uint64_t words[(kClasses + 63) / 64] = {};
  void add(size_t index) { words[index / 64] |= uint64_t{1} << (index % 64); }
  bool has(size_t index) const { return (words[index / 64] >> (index % 64) & 1) != 0; }
};

// What an allocation takes off the distance to the next recorded one, in bytes. Read and written without order, each
// class by itself.
[[gnu::always_inline]] inline uint32_t cost_of_class(size_t small) {
  return __atomic_load_n(&hot.costs[small], __ATOMIC_RELAXED);
}
// Whether there are large sizes that cost more than they are.
[[gnu::always_inline]] inline bool large_are_dense() {
  return __builtin_expect(__atomic_load_n(&hot.large_are_dense, __ATOMIC_RELAXED), 0);
}
// Of a size that is not small.
uint64_t cost_of_large(size_t size);
inline uint64_t cost(size_t size) {
  if (small_class_of(size) < kSmallClasses) return cost_of_class(small_class_of(size));
  return large_are_dense() ? cost_of_large(size) : size;
}

// Of how many allocations of a dense size one is recorded; 0 where the size is not dense.
uint32_t share_of(size_t size);

// How many of the allocations that are due to be recorded a thread passes over, because it has too many of them. All
// zero at first.
struct Pace {
  // One that is due is recorded with a probability of 1 / 2^this, 5 at most: so that for long a thread has no more of
  // them than 8 MB in a second would have, if it does not allocate more than 32 times as much; but all that the first
  // GiB would have.
  uint64_t halvings = 0;
  uint64_t lately = 0, last_ns = 0; // bytes that those stand for that were recorded, and when the last one was

  // One per `every` bytes is due, and one was recorded.
  void go_on(uint64_t every, uint64_t now_ns) {
    constexpr uint64_t kBurst = uint64_t{1} << 30, kHalves = uint64_t{1} << 27, kMost = 5;
    constexpr int kNsPerByte = 7; // its logarithm
    lately -= std::min(lately, (now_ns - last_ns) >> kNsPerByte);
    last_ns = now_ns;
    halvings = lately < kBurst ? 0 : std::min(1 + (lately - kBurst) / kHalves, kMost);
    lately += every;
  }
};

// A thread's countdown to the next allocation that is due to be recorded, and what becomes of it.
struct Sampler {
  int64_t until_sample = -1; // cost that is left until one is due; below 0 one is, and the first comes to draw
  uint64_t random = 0;       // 0 until seeded
  Pace pace;

  // Draws the distance to the next one; of `every` bytes on average.
  void draw(uint64_t every);
  // Whether an allocation that is due is recorded; draws the next distance.
  bool takes(size_t size, uint64_t every);
  // How many allocations like it one stands for that takes() let pass. `now_ns`: CLOCK_MONOTONIC.
  uint32_t weight(size_t size, uint64_t every, uint64_t now_ns);
};

// One of a dense size is being recorded: whether that is too often is seen here.
void count_dense(size_t size, uint64_t every, uint64_t now_ns);

// Makes these classes dense, or denser. `every` must be that of all samplers.
void densify(const Classes &classes, uint64_t every);

} // namespace castaway::sampling
