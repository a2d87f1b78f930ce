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

// What one of this size stands for.
uint32_t weight(size_t size) { return sampling::Sampler{}.weight(size, kEvery, 0); }

TEST(Sampling, ARecordedOneStandsForAsManyAsItIsUnlikely) {
  EXPECT_EQ(weight(128), kEvery / 128);
  EXPECT_EQ(weight(113), kEvery / 128);
  EXPECT_EQ(weight(1 << 30), 1u);
  EXPECT_EQ(weight(0), kEvery);
}

TEST(Sampling, DenseSizesCostMoreEachTime) {
  sampling::densify(only(200), kEvery);
  EXPECT_EQ(sampling::cost(200), kEvery / 64);
  EXPECT_EQ(sampling::cost(193), kEvery / 64);
  EXPECT_EQ(sampling::cost(209), 224u);
  EXPECT_EQ(weight(200), 64u);
  sampling::densify(only(200), kEvery);
  EXPECT_EQ(sampling::cost(200), kEvery / 32);
  for (int i = 0; i < 40; ++i) sampling::densify(only(200), kEvery);
  EXPECT_EQ(sampling::cost(200), UINT32_MAX) << "each one";
  EXPECT_EQ(weight(200), 1u);
}

TEST(Sampling, DenseLargeSizesCostSeveralTimesTheirOwn) {
  sampling::densify(only(10'000), kEvery);
  const uint64_t share = kEvery / 10'240 / 8;
  EXPECT_EQ(sampling::cost(10'000), kEvery / share);
  EXPECT_EQ(sampling::cost(8'193), kEvery / share);
  EXPECT_EQ(sampling::cost(8'192), 8'192u);
  EXPECT_EQ(sampling::cost(10'241), 10'241u);
  EXPECT_EQ(weight(10'000), share);
  EXPECT_EQ(weight(10'241), kEvery / 10'241);
  sampling::densify(only(10'000), kEvery);
  EXPECT_EQ(sampling::cost(10'000), kEvery / (share / 2));
  for (int i = 0; i < 100'000; ++i) sampling::count_dense(10'000, kEvery, kSecond);
  EXPECT_EQ(sampling::cost(10'000), 10'000u) << "never less than their own";
  EXPECT_EQ(sampling::cost(9'000), 9'000u);
}

// How many a thread has recorded in each of so many seconds in which it allocates so many bytes, if the pace decides.
std::vector<double> recorded(sampling::Pace &pace, double bytes_per_second, int seconds) {
  std::vector<double> counts(static_cast<size_t>(seconds));
  const uint64_t begin_ns = pace.last_ns;
  double second = 0, share = 0; // of those that are due, so many are to be recorded
  while (true) {
    second += static_cast<double>(kEvery) / bytes_per_second;
    if (second >= seconds) return counts;
    share += 1.0 / static_cast<double>(uint64_t{1} << pace.halvings);
    if (share < 1) continue;
    share -= 1;
    ++counts[static_cast<size_t>(second)];
    pace.go_on(kEvery, begin_ns + static_cast<uint64_t>(second * kSecond));
  }
}

TEST(Pace, OfAThreadThatAllocatesLittleIsOnePerMean) {
  sampling::Pace pace;
  for (double count : recorded(pace, 7.5e6, 300)) EXPECT_NEAR(count, 14, 1);
  EXPECT_EQ(pace.halvings, 0u);
}

TEST(Pace, OfAThreadThatAllocatesMuchIsNoMoreForLong) {
  sampling::Pace pace;
  const std::vector<double> counts = recorded(pace, 200e6, 90);
  EXPECT_NEAR(counts[0], 381, 2);
  for (int second = 60; second < 90; ++second) EXPECT_NEAR(counts[static_cast<size_t>(second)], 15, 10) << second;
  EXPECT_NEAR(recorded(pace, 2e6, 150).back(), 4, 1) << "as soon as it allocates little";
}

TEST(Pace, OfAThreadThatAllocatesWhatItCanIsAThirtySecondth) {
  sampling::Pace pace;
  EXPECT_NEAR(recorded(pace, 10e9, 60).back(), 10e9 / kEvery / 32, 2);
}

TEST(Pace, OfABurstIsAsOfAny) {
  sampling::Pace pace;
  for (int i = 0; i < 2048; ++i, pace.go_on(kEvery, 0)) EXPECT_EQ(pace.halvings, 0u);
  pace.go_on(kEvery, 0);
  EXPECT_EQ(pace.halvings, 1u);
}

TEST(Pace, OfLargeDistancesIsNoSlower) {
  sampling::Pace pace;
  constexpr uint64_t kLarge = uint64_t{4} << 30;
  for (uint64_t i = 1; i < 10; ++i) {
    pace.go_on(kLarge, i * 600 * kSecond);
    EXPECT_EQ(pace.halvings, 0u);
  }
}

TEST(Sampling, WhatIsRecordedTooOftenIsLessDense) {
  sampling::densify(only(400), kEvery);
  for (int i = 0; i < 47; ++i) sampling::count_dense(400, kEvery, kSecond);
  EXPECT_EQ(sampling::share_of(400), 64u);
  sampling::count_dense(400, kEvery, kSecond);
  EXPECT_EQ(sampling::share_of(400), 85u);
  EXPECT_EQ(sampling::cost(400), kEvery / 85);
  for (int i = 0; i < 100'000; ++i) sampling::count_dense(400, kEvery, kSecond);
  EXPECT_EQ(sampling::share_of(400), 1u << 24) << "and dense still";
  EXPECT_EQ(sampling::cost(400), 400u) << "never less than any size";
}

TEST(Sampling, WhatIsRecordedNowAndThenStaysDense) {
  sampling::densify(only(600), kEvery);
  for (uint64_t i = 0; i < 100'000; ++i) sampling::count_dense(600, kEvery, i * kSecond / 180);
  EXPECT_EQ(sampling::share_of(600), 64u);
}

TEST(Sampling, SizesThatAreNotLookedForAreNotDense) {
  sampling::densify(only(800), kEvery);
  sampling::densify(only(20'000), kEvery);
  EXPECT_EQ(sampling::share_of(800), 64u);
  EXPECT_EQ(sampling::share_of(20'000), 3u);
  EXPECT_EQ(sampling::share_of(817), 0u);
  EXPECT_EQ(sampling::share_of(30'000), 0u);
  EXPECT_EQ(sampling::share_of(0), 0u);
  EXPECT_EQ(sampling::share_of(SIZE_MAX), 0u);
}

// ---- a thread's sampler

// Allocations of a thread whose sampler is seeded.
class Allocations {
public:
  explicit Allocations(uint64_t apart_ns = 1'000'000) : apart_ns_(apart_ns) {
    sampler.random = 0x9e3779b97f4a7c15;
    sampler.draw(kEvery);
  }

  // What the stack of one stands for, 0 if it has none recorded.
  uint32_t allocate(size_t size) {
    now_ns_ += apart_ns_;
    sampler.until_sample -= static_cast<int64_t>(sampling::cost(size));
    if (sampler.until_sample >= 0 || !sampler.takes(size, kEvery)) return 0;
    return sampler.weight(size, kEvery, now_ns_);
  }

  sampling::Sampler sampler;

private:
  uint64_t apart_ns_, now_ns_ = 0;
};

TEST(Sampler, TheWeightsOfWhatIsRecordedAddUpToWhatWasAllocated) {
  Allocations thread(25);
  double recorded = 0;
  for (int i = 0; i < 4'000'000; ++i) recorded += thread.allocate(1000);
  EXPECT_NEAR(recorded, 4e6, 0.05 * 4e6);
  EXPECT_GT(thread.sampler.pace.halvings, 0u);
}

TEST(Sampler, ThePaceIsNotForDenseSizes) {
  Allocations thread;
  sampling::densify(only(300), kEvery);
  thread.sampler.pace = {.halvings = 5, .lately = uint64_t{1} << 40};
  int recorded = 0;
  for (int i = 0; i < 64 * 700; ++i) recorded += thread.allocate(300) != 0;
  EXPECT_NEAR(recorded, 700, 100);
  EXPECT_EQ(thread.sampler.pace.lately, uint64_t{1} << 40);
}

// There can be so many that even the bytes that they are would have too many of them recorded: that is no reason for
// the pace to decide.
TEST(Sampler, ADenseSizeMayBeRecordedMoreRarelyThanItsBytesWouldHaveIt) {
  sampling::densify(only(160), kEvery);
  const uint64_t own = kEvery / 160;
  while (sampling::share_of(160) < 2 * own) sampling::count_dense(160, kEvery, 0);
  EXPECT_EQ(sampling::cost(160), 160u);
  const double share = sampling::share_of(160);
  Allocations thread;
  thread.sampler.pace = {.halvings = 5, .lately = uint64_t{1} << 40};
  int count = 0;
  double recorded = 0;
  constexpr int kAll = 8'000'000;
  for (int i = 0; i < kAll; ++i)
    if (const uint32_t weight = thread.allocate(160)) ++count, recorded += weight;
  EXPECT_NEAR(count, kAll / share, 0.15 * kAll / share);
  EXPECT_NEAR(recorded, kAll, 0.15 * kAll);
}

} // namespace
} // namespace castaway
