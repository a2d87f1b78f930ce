// Which allocation stacks are recorded; see sampling.h.
#include "runtime/sampling.h"

#include <algorithm>

namespace castaway::sampling {

namespace {

// The largest size of a class; what small ones cost that are not dense.
constexpr uint64_t largest_of(size_t index) {
  if (index < kSmallClasses) return (index + 1) * HeapMap::kGranule;
  size_t quarter = index - kSmallClasses + kFirstQuarter;
  return uint64_t{5 + quarter % 4} << (quarter / 4 - 2);
}

// Of dense sizes one allocation in 64 is recorded at first, or eight times as many as before if that is more.
constexpr uint64_t kFirstShare = 64, kFirstFactor = 8;

// What allocations of large classes cost at least, whatever their size: 0 where the class is not dense.
uint32_t large_costs[kLargeClasses];

// A dense size may be recorded 192 times in a second, and is recorded three quarters as often where that is exceeded.
// Each takes 0.3 us if the code and the entries have to be fetched from the second cache.
constexpr uint32_t kMostInSpan = 48;
constexpr uint64_t kSpan = 250'000'000;

// By class; written without order: a count may be lost.
struct Span {
  uint64_t began_ns;
  uint32_t count;
};
Span spans[kClasses];

uint32_t &cost_word(size_t index) {
  return index < kSmallClasses ? hot.costs[index] : large_costs[index - kSmallClasses];
}

// No more than is due to the size: not dense any more.
void set_cost(size_t index, uint64_t cost) {
  if (cost <= largest_of(index)) cost = index < kSmallClasses ? largest_of(index) : 0;
  uint64_t most = UINT32_MAX;
  __atomic_store_n(&cost_word(index), static_cast<uint32_t>(std::min(cost, most)), __ATOMIC_RELAXED);
}

// Returns `weight`, so that nothing of it has to be kept meanwhile.
[[gnu::noinline, gnu::hot]] uint32_t count_dense(size_t index, uint64_t each, uint64_t now_ns, uint32_t weight) {
  Span &span = spans[index];
  if (now_ns - span.began_ns > kSpan) span = {now_ns, 0};
  if (++span.count < kMostInSpan) return weight;
  set_cost(index, each - each / 4);
  span = {now_ns, 0};
  return weight;
}

} // namespace

[[gnu::hot]] uint64_t cost_of_large(size_t size) {
  size_t index = class_of(size);
  if (index >= kClasses) return size;
  return std::max<uint64_t>(size, __atomic_load_n(&cost_word(index), __ATOMIC_RELAXED));
}

[[gnu::hot]] uint32_t count_recorded(size_t size, uint64_t every, uint64_t now_ns) {
  uint64_t each = cost(size);
  auto weight = static_cast<uint32_t>(std::clamp<uint64_t>(each ? every / each : every, 1, UINT32_MAX));
  return each == plain_cost(size) ? weight : count_dense(class_of(size), each, now_ns, weight);
}

void densify(const Classes &classes, uint64_t every) {
  for (size_t i = 0; i < kClasses; ++i) {
    if (!classes.has(i)) continue;
    if (i >= kSmallClasses) __atomic_store_n(&hot.large_are_dense, 1, __ATOMIC_RELAXED);
    uint64_t now = __atomic_load_n(&cost_word(i), __ATOMIC_RELAXED), own = largest_of(i);
    set_cost(i, now > own ? 2 * now : std::max(every / kFirstShare, kFirstFactor * own));
  }
}

} // namespace castaway::sampling
