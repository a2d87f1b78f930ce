// What each malloc and free reads, but for the heap map: beside each other, in the first line or two of the cache.
//
// What they run, as far as a sample of a known stack, is marked gnu::hot, so that the linker puts it on two pages, with
// all that is run where nothing is recorded on the first of them (runtime/CMakeLists.txt): in a program that does much
// else between two calls none of it is in the TLB. (Hooks' share of PostgreSQL's time, by perf: 1.07 % where it was on
// eight pages, 0.98 % on two, each +- 0.04.)
//
// HOOK context; words are written one by one, in any order, while others read them.
#pragma once

#include "scanner/heap_map.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

struct Hot {
  // Calls from here take the slow path: the loader's, and all of them before our start and where profiling is off. As
  // begin and length, for one comparison.
  uintptr_t slow_callers_begin;
  size_t slow_callers_length;
  // Of real.h; null until they are known.
  void *(*malloc)(size_t);
  void (*free)(void *);
  // Sampling (sampling.h): 1 where a class of large sizes is dense or was, and 0 else; and what an allocation takes off
  // the distance to the next recorded one, by class of small sizes.
  uint32_t large_are_dense;
  uint32_t costs[HeapMap::kSmallGranules];
};
extern Hot hot [[gnu::visibility("hidden")]];

} // namespace castaway
