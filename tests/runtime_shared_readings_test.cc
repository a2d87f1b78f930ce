// How often shared memory may be read: at once while that is little, else for a thousandth of the time.
#include "runtime/shared_readings.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

constexpr uint64_t kMillisecond = 1'000'000, kSecond = 1000 * kMillisecond, kStart = 500 * kSecond;
constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

// Of a process whose safepoints come every `interval`, how many of `count` may read all of that memory.
int readings(uint64_t interval, uint64_t bytes, int count) {
  SharedReadings so_far{};
  int made = 0;
  for (int i = 0; i < count; ++i) {
    uint64_t now = kStart + static_cast<uint64_t>(i) * interval;
    so_far.begin(now);
    if (!so_far.allow(cost_of_reading(bytes, bytes), now)) continue;
    so_far.add(bytes, bytes, now);
    ++made;
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
  EXPECT_EQ(readings(60 * kSecond, 144 * kMiB, 100), 100);
  EXPECT_EQ(readings(kSecond / 2, kMiB, 1000), 1000);
  EXPECT_EQ(readings(kSecond / 10, 0, 1000), 1000);
}

TEST(SharedReadings, TakeAThousandthOfALongTime) {
  const uint64_t hours = 10 * 3600 * kSecond;
  for (uint64_t interval : {kSecond, 10 * kSecond, 60 * kSecond}) {
    for (uint64_t bytes : {kGiB, 8 * kGiB}) {
      int made = readings(interval, bytes, static_cast<int>(hours / interval));
      auto most = static_cast<int>(hours / 1000 / cost_of_reading(bytes, bytes));
      EXPECT_LE(made, most);
      EXPECT_GE(made, most - 1 - most / 5); // the next safepoint after the time has come
    }
  }
}

TEST(SharedReadings, TheFirstMayComeAtOnceWhileTheyTakeATwentiethOfASecond) {
  EXPECT_EQ(readings(kSecond / 10, 60 * kMiB, 100), 2);  // 21 ms each
  EXPECT_EQ(readings(kSecond / 10, 145 * kMiB, 100), 1); // 50 ms
  EXPECT_EQ(readings(kSecond / 10, 150 * kMiB, 100), 0); // 51 ms
  EXPECT_EQ(readings(kSecond / 10, 29 * kMiB, 50), 5);   // 10 ms
}

TEST(SharedReadings, WhatTheLastOneTookAndWhatTheNextWillBothCount) {
  const uint64_t much = cost_of_reading(kGiB, kGiB);
  SharedReadings after{};
  after.add(kGiB, kGiB, kStart);
  EXPECT_TRUE(after.know(kGiB));
  EXPECT_FALSE(after.know(2 * kGiB));
  EXPECT_EQ(after.cost_ns, much);
  EXPECT_FALSE(after.allow(1, kStart + 999 * much)) << "to make up for the last one";
  EXPECT_TRUE(after.allow(1, kStart + 1001 * much));
  EXPECT_FALSE(after.allow(2 * much, kStart + 1999 * much)) << "the next one takes longer";
  EXPECT_TRUE(after.allow(2 * much, kStart + 2001 * much));
  SharedReadings none{};
  none.begin(kStart);
  EXPECT_FALSE(none.allow(much, kStart + 999 * much));
  EXPECT_TRUE(none.allow(much, kStart + 1001 * much));
}

TEST(SharedReadings, ATimeThatRunsBackIsNone) {
  SharedReadings after{};
  after.add(kGiB, kGiB, kStart);
  EXPECT_FALSE(after.allow(after.cost_ns, kStart - 1));
}

TEST(SharedReadings, CountFromTheFirstSafepoint) {
  SharedReadings so_far{};
  so_far.begin(kStart);
  so_far.begin(kStart + kSecond);
  EXPECT_EQ(so_far.since_ns, kStart);
  so_far.add(kGiB, 0, kStart + 2 * kSecond);
  so_far.begin(kStart + 3 * kSecond);
  EXPECT_EQ(so_far.since_ns, kStart + 2 * kSecond);
  so_far.add(kGiB, kGiB, kStart + 4 * kSecond);
  EXPECT_EQ(so_far.spent_ns, cost_of_reading(kGiB, 0) + cost_of_reading(kGiB, kGiB));
}

// How many readings of `cost` a family makes in `seconds` that tries one each millisecond.
int readings_of_family(FamilyReadings &family, uint64_t cost, uint64_t processors, uint64_t seconds) {
  int made = 0;
  for (uint64_t now = kStart; now < kStart + seconds * kSecond; now += kMillisecond)
    made += family.take(cost, now, processors);
  return made;
}

TEST(FamilyReadings, TakeAFortiethOfASecondAndThenAThousandthOfAllProcessors) {
  FamilyReadings family;
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(family.take(10 * kMillisecond, kStart, 1));
  EXPECT_FALSE(family.take(10 * kMillisecond, kStart, 1));
  EXPECT_FALSE(family.take(10 * kMillisecond, kStart + 4999 * kMillisecond, 1));
  EXPECT_TRUE(family.take(10 * kMillisecond, kStart + 5000 * kMillisecond, 1));
  FamilyReadings long_one, on_many;
  EXPECT_EQ(readings_of_family(long_one, 10 * kMillisecond, 1, 1000), 2 + 100);
  EXPECT_NEAR(readings_of_family(on_many, 10 * kMillisecond, 16, 100), 2 + 160, 1);
}

TEST(FamilyReadings, ThatAreLongAreMadeUpFor) {
  FamilyReadings family;
  EXPECT_TRUE(family.take(3 * kSecond, kStart, 1));
  EXPECT_FALSE(family.take(kMillisecond, kStart + 2975 * kSecond, 1));
  EXPECT_TRUE(family.take(kMillisecond, kStart + 2976 * kSecond, 1));
  EXPECT_FALSE(family.take(3 * kSecond, kStart + 3000 * kSecond, 1));
  EXPECT_TRUE(family.take(3 * kSecond, kStart + 3002 * kSecond, 1));
}

} // namespace
} // namespace castaway
