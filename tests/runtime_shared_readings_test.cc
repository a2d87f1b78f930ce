// How often shared memory may be read: at once while that is little, else for a thousandth of the time.
#include "runtime/shared_readings.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

constexpr uint64_t kMillisecond = 1'000'000, kSecond = 1000 * kMillisecond, kStart = 500 * kSecond;
constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

// Of a process whose safepoints come every `interval`, how many of `count` may read; each takes `cost`.
int readings(uint64_t interval, uint64_t cost, int count) {
  SharedReadings so_far{};
  int made = 0;
  for (int i = 0; i < count; ++i) {
    uint64_t now = kStart + static_cast<uint64_t>(i) * interval;
    bool may = may_read_shared(so_far, now, cost);
    so_far = after_safepoint(so_far, now, may ? cost : 0);
    made += may;
  }
  return made;
}

TEST(SharedReadings, CostWhatWasMeasured) {
  double gibibyte = static_cast<double>(cost_of_reading(kGiB, kGiB)) / kSecond;
  EXPECT_NEAR(gibibyte, 0.35, 0.005); // docs/design.md
  EXPECT_EQ(cost_of_reading(kGiB, 10 * kGiB), cost_of_reading(kGiB, kGiB)) << "no more is there than is mapped";
  EXPECT_LT(cost_of_reading(kGiB, 0), 20 * kMillisecond);
  EXPECT_EQ(cost_of_reading(0, 0), 0u);
}

TEST(SharedReadings, AreMadeEachTimeWhereTheyAreShort) {
  uint64_t of_a_small_server = cost_of_reading(144 * kMiB, 32 * kMiB);
  EXPECT_EQ(readings(60 * kSecond, of_a_small_server, 100), 100);
  EXPECT_EQ(readings(kSecond / 10, cost_of_reading(kMiB, kMiB), 100), 100);
}

TEST(SharedReadings, TakeAThousandthOfALongTime) {
  const uint64_t hour = 3600 * kSecond;
  for (uint64_t interval : {kSecond, 10 * kSecond, 60 * kSecond}) {
    for (uint64_t cost : {200 * kMillisecond, 3 * kSecond}) {
      auto count = static_cast<int>(10 * hour / interval);
      int made = readings(interval, cost, count);
      auto most = static_cast<int>(10 * hour / 1000 / cost);
      EXPECT_LE(made, most);
      EXPECT_GE(made, most - 1 - most / 5); // the next safepoint after the time has come
    }
  }
}

TEST(SharedReadings, TheFirstMayComeAtOnceWhileTheyTakeATenthOfASecond) {
  EXPECT_EQ(readings(kSecond / 10, 40 * kMillisecond, 100), 2);
  EXPECT_EQ(readings(kSecond / 10, 100 * kMillisecond, 100), 1);
  EXPECT_EQ(readings(kSecond / 10, 101 * kMillisecond, 100), 0);
  EXPECT_EQ(readings(kSecond / 10, 10 * kMillisecond, 50), 10);
}

TEST(SharedReadings, TheLastOneTellsWhatTheNextTakes) {
  SharedReadings after{kStart, 2 * kSecond, 2 * kSecond};
  EXPECT_FALSE(may_read_shared(after, kStart + 1999 * kSecond, 1));
  EXPECT_TRUE(may_read_shared(after, kStart + 2000 * kSecond, 100 * kSecond));
  SharedReadings none{kStart, 0, 0};
  EXPECT_FALSE(may_read_shared(none, kStart + 1999 * kSecond, 2 * kSecond));
  EXPECT_TRUE(may_read_shared(none, kStart + 2000 * kSecond, 2 * kSecond));
}

TEST(SharedReadings, ATimeThatRunsBackIsNone) {
  EXPECT_FALSE(may_read_shared({kStart, kSecond, kSecond}, kStart - 1, 1));
}

TEST(SharedReadings, CountFromTheFirstSafepoint) {
  SharedReadings first = after_safepoint({}, kStart, 0);
  EXPECT_EQ(first.since_ns, kStart);
  SharedReadings second = after_safepoint(first, kStart + kSecond, 0);
  EXPECT_EQ(second.since_ns, kStart);
  SharedReadings third = after_safepoint(second, kStart + 2 * kSecond, 7);
  EXPECT_EQ(third.since_ns, kStart + 2 * kSecond);
  EXPECT_EQ(third.cost_ns, 7u);
  EXPECT_EQ(after_safepoint(third, kStart + 3 * kSecond, 8).spent_ns, 15u);
}

} // namespace
} // namespace castaway
