// Which allocation stacks are recorded; see sampling.h.
#include "runtime/sampling.h"

#include <algorithm>

namespace castaway::sampling {

namespace {

constexpr uint32_t own_cost(size_t index) { return static_cast<uint32_t>((index + 1) * HeapMap::kGranule); }

// Of dense sizes, one allocation in 64 is recorded at first.
constexpr uint64_t kFirstShare = 64;

// A dense size may be recorded 1024 times in a second. That takes 0.1 ms where the code is in the caches, 0.5 % of what
// 100 MB of blocks of 64 bytes take; where each burst of allocations finds it cold, some 2 us more per burst.
constexpr uint32_t kMostInSpan = 256;
constexpr uint64_t kSpan = 250'000'000;

// By class; written without order: a count may be lost.
struct Span {
  uint64_t began_ns;
  uint32_t count;
};
Span spans[kClasses];

void set_cost(size_t index, uint64_t cost) {
  uint64_t most = UINT32_MAX;
  __atomic_store_n(&hot.costs[index], static_cast<uint32_t>(std::clamp<uint64_t>(cost, own_cost(index), most)),
                   __ATOMIC_RELAXED);
}

} // namespace

[[gnu::hot]] uint32_t count_recorded(size_t size, uint64_t every, uint64_t now_ns) {
  uint64_t each = cost(size);
  auto weight = static_cast<uint32_t>(std::clamp<uint64_t>(each ? every / each : every, 1, UINT32_MAX));
  size_t index = class_of(size);
  if (index >= kClasses || each == own_cost(index)) return weight;
  Span &span = spans[index];
  if (now_ns - span.began_ns > kSpan) span = {now_ns, 0};
  if (++span.count < kMostInSpan) return weight;
  set_cost(index, each / 2);
  span = {now_ns, 0};
  return weight;
}

void densify(const Classes &classes, uint64_t every) {
  for (size_t i = 0; i < kClasses; ++i)
    if (classes.has(i)) set_cost(i, std::max<uint64_t>(every / kFirstShare, uint64_t{2} * cost_of_class(i)));
}

} // namespace castaway::sampling
