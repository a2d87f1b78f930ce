// Whether shared memory may be read; see shared_readings.h.
#include "runtime/shared_readings.h"

#include "runtime/memory.h"

#include <algorithm>

namespace castaway {

namespace {

constexpr uint64_t kShare = 1000;        // of a process' time, and of its family's processors, one part
constexpr uint64_t kAtOnce = 50'000'000; // nanoseconds of each process, however short its life
constexpr uint64_t kFamilyAtOnce = kAtOnce / 2;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kNsPerMappedPage = 76;    // mincore(2)
constexpr uint64_t kNsPerPresentPage = 1260; // its page table entry made, read, and unmade

// How long a family of which all have so many processors has to live for a reading that takes that.
uint64_t family_time(uint64_t cost_ns, uint64_t processors) {
  return cost_ns * kShare / std::max<uint64_t>(processors, 1);
}

FamilyReadings *family;

} // namespace

uint64_t cost_of_reading(uint64_t mapped, uint64_t present) {
  return mapped / kPage * kNsPerMappedPage + std::min(mapped, present) / kPage * kNsPerPresentPage;
}

bool SharedReadings::allow(uint64_t expected_ns, uint64_t now_ns) const {
  if (spent_ns < kAtOnce && expected_ns <= kAtOnce - spent_ns) return true;
  return since_ns && now_ns > since_ns && (now_ns - since_ns) / kShare >= std::max(cost_ns, expected_ns);
}

void SharedReadings::add(uint64_t mapped_now, uint64_t present, uint64_t now_ns) {
  uint64_t cost = cost_of_reading(mapped_now, present);
  *this = {now_ns, mapped_now, cost, spent_ns + cost};
}

bool FamilyReadings::take(uint64_t cost_ns, uint64_t now_ns, uint64_t processors) {
  uint64_t time = family_time(cost_ns, processors), most = family_time(kFamilyAtOnce, processors);
  uint64_t full = full_ns_.load(std::memory_order_relaxed);
  for (;;) {
    // One that takes more than a full bucket may have it, and is made up for.
    if (full > now_ns && full - now_ns + time > most) return false;
    if (full_ns_.compare_exchange_weak(full, std::max(full, now_ns) + time, std::memory_order_relaxed)) return true;
  }
}

FamilyReadings *family_readings() { return family; }

void begin_family() { family = static_cast<FamilyReadings *>(own_shared_memory(sizeof(FamilyReadings))); }

} // namespace castaway
