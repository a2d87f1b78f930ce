// Which allocation stacks are recorded: a Poisson process over what allocations cost, which is their bytes, but more
// for sizes of which too little is known.
//
// Totals of leaked memory are exact, by size; whose it is, is what recorded stacks say. Where blocks of a size are
// leaked and none of them has a stack, that size becomes dense: from then on each of its allocations costs as much as a
// few KiB. So a slow leak of small blocks is attributed soon, beside whatever traffic of other sizes. Traffic of the
// same size would make that dear; a dense size that is recorded too often becomes less dense at once.
//
// What is recorded with a different probability than another block of its size has to weigh accordingly: weight().
//
// Context: cost() and weight() HOOK, thread-safe; densify() in the agent.
#pragma once

#include "runtime/hot.h"

#include <cstddef>
#include <cstdint>

namespace castaway::sampling {

// Sizes up to HeapMap::kSmallBytes, in steps of a granule; class 0 is 1 to 16 bytes. Larger ones, and empty ones, are
// in none: they cost what they are.
inline constexpr size_t kClasses = HeapMap::kSmallGranules;
inline size_t class_of(size_t size) { return (size - 1) >> HeapMap::kGranuleBits; }

// A set of classes.
struct Classes {
  uint64_t words[(kClasses + 63) / 64] = {};
  void add(size_t index) { words[index / 64] |= uint64_t{1} << (index % 64); }
  bool has(size_t index) const { return (words[index / 64] >> (index % 64) & 1) != 0; }
};

// What an allocation takes off the distance to the next recorded one, in bytes. Read and written without order, each
// class by itself.
[[gnu::always_inline]] inline uint32_t cost_of_class(size_t index) {
  return __atomic_load_n(&hot.costs[index], __ATOMIC_RELAXED);
}
inline uint64_t cost(size_t size) { return class_of(size) < kClasses ? cost_of_class(class_of(size)) : size; }

// An allocation of `size` bytes is being recorded, where one per `every` bytes is on average: how many allocations like
// it one that is recorded stands for. `now_ns`: CLOCK_MONOTONIC.
uint32_t count_recorded(size_t size, uint64_t every, uint64_t now_ns);

// Makes these classes dense, or denser.
void densify(const Classes &classes, uint64_t every);

} // namespace castaway::sampling
