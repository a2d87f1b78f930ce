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

bool SharedReadings::allow(uint64_t mapped_now, uint64_t present, uint64_t now_ns) const {
  uint64_t expected = know(mapped_now) ? cost_ns : cost_of_reading(mapped_now, present);
  if (spent_ns < kAtOnce && expected <= kAtOnce - spent_ns) return true;
  return since_ns && now_ns > since_ns && (now_ns - since_ns) / kShare >= std::max(cost_ns, expected);
}

void SharedReadings::add(uint64_t mapped_now, uint64_t present, uint64_t now_ns) {
  uint64_t cost = cost_of_reading(mapped_now, present);
  *this = {now_ns, mapped_now, cost, spent_ns + cost};
}

} // namespace castaway
