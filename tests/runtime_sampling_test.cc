// What allocations cost in the countdown to the next recorded stack, and what a recorded one stands for.
#include "runtime/sampling.h"

#include <gtest/gtest.h>
#include <vector>

namespace castaway {
namespace {

constexpr uint64_t kEvery = 524'288, kSecond = 1'000'000'000;

// The costs are one table for the process: each test has sizes of its own.
sampling::Classes only(size_t size) {
  sampling::Classes classes;
  classes.add(sampling::class_of(size));
  return classes;
}

TEST(Sampling, CostsAreSizesInGranules) {
  EXPECT_EQ(sampling::cost(1), 16u);
  EXPECT_EQ(sampling::cost(16), 16u);
  EXPECT_EQ(sampling::cost(17), 32u);
  EXPECT_EQ(sampling::cost(HeapMap::kSmallBytes), HeapMap::kSmallBytes);
  EXPECT_EQ(sampling::cost(HeapMap::kSmallBytes + 1), HeapMap::kSmallBytes + 1);
  EXPECT_EQ(sampling::cost(size_t{1} << 40), uint64_t{1} << 40);
  EXPECT_EQ(sampling::cost(0), 0u);
}

TEST(Sampling, LargeSizesAreFourClassesADoubling) {
  const size_t of_4k = sampling::class_of(4096);
  EXPECT_EQ(sampling::class_of(3585), of_4k);
  EXPECT_EQ(sampling::class_of(4097), of_4k + 1);
  EXPECT_EQ(sampling::class_of(5120), of_4k + 1);
  EXPECT_EQ(sampling::class_of(5121), of_4k + 2);
  EXPECT_EQ(sampling::class_of(8192), of_4k + 4);
  EXPECT_EQ(sampling::class_of(size_t{64} << 20), sampling::kClasses - 1);
  EXPECT_GE(sampling::class_of((size_t{64} << 20) + 1), sampling::kClasses);
  EXPECT_GE(sampling::class_of(SIZE_MAX), sampling::kClasses);
  EXPECT_GE(sampling::class_of(0), sampling::kClasses);
}

TEST(Sampling, ARecordedOneStandsForAsManyAsItIsUnlikely) {
  EXPECT_EQ(sampling::count_recorded(128, kEvery, 0), kEvery / 128);
  EXPECT_EQ(sampling::count_recorded(113, kEvery, 0), kEvery / 128);
  EXPECT_EQ(sampling::count_recorded(1 << 30, kEvery, 0), 1u);
  EXPECT_EQ(sampling::count_recorded(0, kEvery, 0), kEvery);
}

TEST(Sampling, DenseSizesCostMoreEachTime) {
  sampling::densify(only(200), kEvery);
  EXPECT_EQ(sampling::cost(200), kEvery / 64);
  EXPECT_EQ(sampling::cost(193), kEvery / 64);
  EXPECT_EQ(sampling::cost(209), 224u);
  EXPECT_EQ(sampling::count_recorded(200, kEvery, 0), 64u);
  sampling::densify(only(200), kEvery);
  EXPECT_EQ(sampling::cost(200), kEvery / 32);
  for (int i = 0; i < 40; ++i) sampling::densify(only(200), uint64_t{1} << 40);
  EXPECT_EQ(sampling::cost(200), UINT32_MAX);
}

TEST(Sampling, DenseLargeSizesCostSeveralTimesTheirOwn) {
  sampling::densify(only(10'000), kEvery);
  EXPECT_EQ(sampling::cost(10'000), 8 * 10'240u);
  EXPECT_EQ(sampling::cost(8'193), 8 * 10'240u);
  EXPECT_EQ(sampling::cost(8'192), 8'192u);
  EXPECT_EQ(sampling::cost(10'241), 10'241u);
  EXPECT_EQ(sampling::count_recorded(10'000, kEvery, 0), kEvery / (8 * 10'240));
  EXPECT_EQ(sampling::count_recorded(10'241, kEvery, 0), kEvery / 10'241);
  sampling::densify(only(10'000), kEvery);
  EXPECT_EQ(sampling::cost(10'000), 16 * 10'240u);
  for (int i = 0; i < 100'000; ++i) sampling::count_recorded(10'000, kEvery, kSecond);
  EXPECT_EQ(sampling::cost(10'000), 10'000u) << "never less than their own";
  EXPECT_EQ(sampling::cost(9'000), 9'000u);
}

// How many a thread records in each of so many seconds in which it allocates so many bytes, with the mean as distance.
std::vector<int> recorded(sampling::Pace &pace, uint64_t bytes_per_second, int seconds) {
  std::vector<int> counts(static_cast<size_t>(seconds));
  double second = 0; // since the first
  if (pace.mean == 0) pace.mean = kEvery;
  while (true) {
    second += static_cast<double>(pace.mean) / static_cast<double>(bytes_per_second);
    if (second >= seconds) return counts;
    ++counts[static_cast<size_t>(second)];
    pace.mean = pace.go_on(kEvery, pace.last_ns + kSecond * pace.mean / bytes_per_second);
  }
}

TEST(Sampling, AThreadThatAllocatesLittleHasOneRecordedPerMean) {
  sampling::Pace pace;
  for (int count : recorded(pace, 30'000'000, 60)) EXPECT_NEAR(count, 57, 1);
  EXPECT_EQ(pace.mean, kEvery);
}

TEST(Sampling, AThreadThatAllocatesMuchHasNoMoreForLong) {
  sampling::Pace pace;
  const std::vector<int> counts = recorded(pace, 1'000'000'000, 90);
  EXPECT_NEAR(counts[0], 1907, 2);
  for (int second = 60; second < 90; ++second) EXPECT_NEAR(counts[static_cast<size_t>(second)], 60, 20) << second;
  EXPECT_GE(pace.mean, 16 * kEvery);
  recorded(pace, 1'000'000, 100); // and then little
  EXPECT_EQ(pace.mean, kEvery);
}

TEST(Sampling, AThreadThatAllocatesWhatItCanHasSome) {
  sampling::Pace pace;
  EXPECT_NEAR(recorded(pace, 10'000'000'000, 60).back(), 298, 2);
}

TEST(Sampling, ABurstIsRecordedAsAny) {
  sampling::Pace pace;
  for (int i = 0; i < 2048; ++i) EXPECT_EQ(pace.go_on(kEvery, 0), kEvery);
  EXPECT_EQ(pace.go_on(kEvery, 0), 2 * kEvery);
}

TEST(Sampling, WhatIsRecordedTooOftenIsLessDense) {
  sampling::densify(only(400), kEvery);
  for (int i = 0; i < 255; ++i) sampling::count_recorded(400, kEvery, kSecond);
  EXPECT_EQ(sampling::cost(400), kEvery / 64);
  sampling::count_recorded(400, kEvery, kSecond);
  EXPECT_EQ(sampling::cost(400), kEvery / 128);
  for (int i = 0; i < 100'000; ++i) sampling::count_recorded(400, kEvery, kSecond);
  EXPECT_EQ(sampling::cost(400), 400u) << "never less than any size";
}

TEST(Sampling, WhatIsRecordedNowAndThenStaysDense) {
  sampling::densify(only(600), kEvery);
  for (uint64_t i = 0; i < 100'000; ++i) sampling::count_recorded(600, kEvery, i * kSecond / 1000);
  EXPECT_EQ(sampling::cost(600), kEvery / 64);
}

} // namespace
} // namespace castaway
