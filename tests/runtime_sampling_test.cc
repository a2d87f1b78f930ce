// What allocations cost in the countdown to the next recorded stack, and what a recorded one stands for.
#include "runtime/sampling.h"

#include <gtest/gtest.h>

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
