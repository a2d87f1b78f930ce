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

// A dense size may be recorded 192 times in a second, and is recorded three quarters as often where that is exceeded,
// though never more rarely than one in kLastShare. Each takes 0.3 us if the code and the entries have to be fetched
// from the second cache.
constexpr uint32_t kMostInSpan = 48;
constexpr uint64_t kSpan = 250'000'000, kLastShare = 1 << 24;

// By class; written without order: a count may be lost.
struct Span {
  uint64_t began_ns;
  uint32_t count;
};
Span spans[kClasses];
uint32_t shares[kClasses];

// What allocations of large classes cost at least, whatever their size: 0 where the class is not dense.
uint32_t large_costs[kLargeClasses];

uint32_t share_of_class(size_t index) {
  return index < kClasses ? __atomic_load_n(&shares[index], __ATOMIC_RELAXED) : 0;
}

// The cost makes as many due, or more where the size's own bytes do: then takes() passes some over.
void set_share(size_t index, uint64_t share, uint64_t every) {
  uint64_t plain = index < kSmallClasses ? largest_of(index) : 0;
  uint64_t cost = share == 1 ? UINT32_MAX : std::max(every / share, plain);
  uint32_t &word = index < kSmallClasses ? hot.costs[index] : large_costs[index - kSmallClasses];
  __atomic_store_n(&word, static_cast<uint32_t>(std::min<uint64_t>(cost, UINT32_MAX)), __ATOMIC_RELAXED);
  __atomic_store_n(&shares[index], static_cast<uint32_t>(share), __ATOMIC_RELAXED);
}

uint64_t next_random(uint64_t &state) {
  return state ^= state << 13, state ^= state >> 7, state ^= state << 17; // xorshift64, Marsaglia 2003
}

// -ln(u) for a uniform random u of (0, 1], to about 1e-4: enough for a sampling distance.
double exponential(uint64_t &state) {
  uint64_t bits = (next_random(state) >> 11) | 1; // 53 random bits
  int exponent = 63 - __builtin_clzll(bits);
  double m = static_cast<double>(bits) / static_cast<double>(uint64_t{1} << exponent); // [1, 2)
  // log2 of the mantissa by the series of atanh: log2(m) = 2/ln2 * (z + z^3/3 + z^5/5 + ...), z = (m-1)/(m+1)
  double z = (m - 1) / (m + 1), z2 = z * z;
  double ln = 2 * z * (1 + z2 * (1.0 / 3 + z2 * (1.0 / 5 + z2 / 7)));
  return (53 - exponent) * 0.6931471805599453 - ln;
}

} // namespace

[[gnu::hot]] uint64_t cost_of_large(size_t size) {
  size_t index = class_of(size);
  if (index >= kClasses) return size;
  return std::max<uint64_t>(size, __atomic_load_n(&large_costs[index - kSmallClasses], __ATOMIC_RELAXED));
}

uint32_t share_of(size_t size) { return share_of_class(class_of(size)); }

[[gnu::hot]] void Sampler::draw(uint64_t every) {
  until_sample = static_cast<int64_t>(exponential(random) * static_cast<double>(every)) + 1;
}

[[gnu::hot]] bool Sampler::takes(size_t size, uint64_t every) {
  draw(every);
  uint64_t share = share_of(size);
  if (share == 0) return (random & ((uint64_t{1} << pace.halvings) - 1)) == 0; // bits that draw() does not use
  uint64_t due = every / cost(size);                                           // of so many one
  return share <= due || (next_random(random) >> 32) * share >> 32 < due;
}

[[gnu::hot]] uint32_t Sampler::weight(size_t size, uint64_t every, uint64_t now_ns) {
  if (uint32_t share = share_of(size)) return count_dense(size, every, now_ns), share;
  uint64_t each = cost(size), of = every << pace.halvings;
  pace.go_on(every, now_ns);
  return static_cast<uint32_t>(std::clamp<uint64_t>(each ? of / each : of, 1, UINT32_MAX));
}

[[gnu::hot]] void count_dense(size_t size, uint64_t every, uint64_t now_ns) {
  size_t index = class_of(size);
  Span &span = spans[index];
  if (now_ns - span.began_ns > kSpan) span = {now_ns, 0};
  if (++span.count < kMostInSpan) return;
  span = {now_ns, 0};
  if (uint64_t share = share_of_class(index))
    set_share(index, std::min(share + std::max<uint64_t>(share / 3, 1), kLastShare), every);
}

void densify(const Classes &classes, uint64_t every) {
  for (size_t i = 0; i < kClasses; ++i) {
    if (!classes.has(i)) continue;
    uint64_t share = share_of_class(i), plain = every / largest_of(i);
    set_share(i, std::max<uint64_t>(share ? share / 2 : std::min(kFirstShare, plain / kFirstFactor), 1), every);
    if (i >= kSmallClasses) __atomic_store_n(&hot.large_are_dense, 1, __ATOMIC_RELAXED);
  }
}

} // namespace castaway::sampling
