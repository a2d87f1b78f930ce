// The filter: every version that this processor can run finds the same words, which are those within the bounds and
// outside of the hole.
#include "scanner/words.h"

#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace castaway {
namespace {

using Vectors = PointerFilter::Vectors;

class Filter : public testing::TestWithParam<Vectors> {
protected:
  static constexpr Range kBounds = {0x5555'0000'1230, 0x7fff'ffff'e00f}, kHole = {0x5555'1000'1001, 0x7000'0000'0000};

  static std::vector<uintptr_t> expected(const std::vector<uintptr_t> &words) {
    std::vector<uintptr_t> found;
    for (uintptr_t word : words)
      if (kBounds.contains(address_in(word)) && !kHole.contains(address_in(word))) found.push_back(address_in(word));
    return found;
  }
  static std::vector<uintptr_t> gathered(const std::vector<uintptr_t> &words, size_t room) {
    PointerFilter::Gather gather = PointerFilter::version(GetParam()).some;
    PointerFilter filter(kBounds, kHole);
    std::vector<uintptr_t> found, out(room + PointerFilter::kSlack);
    const Word *at = words.data(), *end = at + words.size();
    while (at < end) {
      const Word *before = at;
      size_t count = gather(filter, at, end, out.data(), room);
      EXPECT_LE(count, room);
      EXPECT_GT(at, before);
      EXPECT_LE(at, end);
      if (at == before || at > end) break;
      found.insert(found.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count));
    }
    return found;
  }
  void SetUp() override {
    if (!PointerFilter::version(GetParam()).some) GTEST_SKIP() << "this processor has no such vectors";
  }
};

TEST_P(Filter, KeepsWhatLiesWithinTheBoundsWithAndWithoutTag) {
  std::vector<uintptr_t> words;
  for (uintptr_t address :
       {kBounds.begin, kBounds.end, kHole.begin, kHole.end, uintptr_t{0}, uintptr_t{1} << 47, kAddressMask})
    for (uintptr_t word : {address - 1, address, address + 1})
      for (uintptr_t tag : {0x0000, 0x0001, 0x8000, 0xffff}) words.push_back((word & kAddressMask) | tag << 48);
  EXPECT_EQ(gathered(words, 100), expected(words));
}

TEST_P(Filter, OfAnyLengthAndDensityAndIntoAnyRoom) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::vector<uintptr_t> words(random() % 100);
    uintptr_t dense = random() % 17;
    for (uintptr_t &word : words) word = random() % 16 < dense ? kBounds.begin + random() % kBounds.size() : random();
    size_t room = PointerFilter::kSlack + random() % 64;
    ASSERT_EQ(gathered(words, room), expected(words)) << "words " << words.size() << ", room " << room;
  }
}

TEST_P(Filter, AllOfARangeAtOnce) {
  PointerFilter::GatherAll gather = PointerFilter::version(GetParam()).all;
  PointerFilter filter(kBounds, kHole);
  std::mt19937_64 random(2);
  for (int i = 0; i < 2000; ++i) {
    std::vector<uintptr_t> words(random() % 100), out(words.size() + PointerFilter::kSlack + 1, 42);
    for (uintptr_t &word : words) word = random() % 2 ? kBounds.begin + random() % kBounds.size() : random();
    const Word *at = words.data();
    size_t count = gather(filter, at, at + words.size(), out.data());
    ASSERT_EQ(out.back(), 42u) << "no more than the slack is written to";
    out.resize(count);
    ASSERT_EQ(out, expected(words)) << words.size() << " words";
  }
}

// Whole groups are passed over only where nothing in them lies within the bounds.
TEST_P(Filter, OneAmongManyIsFoundWhereverItLies) {
  for (size_t size : {31, 32, 33, 64, 100})
    for (size_t place = 0; place < size; ++place) {
      std::vector<uintptr_t> words(size, 42);
      words[place] = kBounds.begin;
      ASSERT_EQ(gathered(words, 100), expected(words)) << place << " of " << size;
    }
}

TEST_P(Filter, WithoutAHoleAllWithinTheBoundsPasses) {
  std::vector<uintptr_t> words = {kBounds.begin, kHole.begin, kHole.end - 1, kBounds.end - 1, kBounds.end, 0}, out(100);
  const Word *at = words.data();
  PointerFilter filter(kBounds, {});
  EXPECT_EQ(PointerFilter::version(GetParam()).some(filter, at, at + words.size(), out.data(), out.size()), 4u);
}

INSTANTIATE_TEST_SUITE_P(, Filter, testing::Values(Vectors::none, Vectors::avx2, Vectors::avx512),
                         [](const auto &each) {
                           return each.param == Vectors::none   ? "none"
                                  : each.param == Vectors::avx2 ? "avx2"
                                                                : "avx512";
                         });

} // namespace
} // namespace castaway
