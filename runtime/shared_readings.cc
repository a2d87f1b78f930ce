// Whether shared memory may be read; see shared_readings.h.
#include "runtime/shared_readings.h"

#include <algorithm>

namespace castaway {

namespace {

constexpr uint64_t kShare = 1000;         // of the time, one part
constexpr uint64_t kAtOnce = 100'000'000; // nanoseconds of each process, however short its life
constexpr uint64_t kPage = 4096;
constexpr uint64_t kNsPerMappedPage = 76;    // mincore(2)
constexpr uint64_t kNsPerPresentPage = 1260; // its page table entry made, read, and unmade

} // namespace

uint64_t cost_of_reading(uint64_t mapped, uint64_t present) {
  return mapped / kPage * kNsPerMappedPage + std::min(mapped, present) / kPage * kNsPerPresentPage;
}

bool may_read_shared(const SharedReadings &before, uint64_t now_ns, uint64_t expected_ns) {
  uint64_t cost = before.cost_ns ? before.cost_ns : expected_ns;
  if (before.spent_ns < kAtOnce && cost <= kAtOnce - before.spent_ns) return true;
  return before.since_ns && now_ns > before.since_ns && (now_ns - before.since_ns) / kShare >= cost;
}

SharedReadings after_safepoint(const SharedReadings &before, uint64_t now_ns, uint64_t cost_ns) {
  if (cost_ns == 0) return {before.since_ns ? before.since_ns : now_ns, before.cost_ns, before.spent_ns};
  return {now_ns, cost_ns, before.spent_ns + cost_ns};
}

} // namespace castaway
