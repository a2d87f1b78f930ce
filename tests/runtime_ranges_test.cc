// Address ranges: after thousands of random changes a RangeSet holds what a plain set of pages holds, sorted, disjoint
// and merged; a RangeList brings its ranges into that form, and the two walks cut others along them.
#include "runtime/range_list.h"
#include "runtime/range_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace castaway {

static bool operator==(const Range &a, const Range &b) { return a.begin == b.begin && a.end == b.end; }
static void PrintTo(const Range &range, std::ostream *out) { *out << range.begin << "-" << range.end; }

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Ranges = std::vector<Range>;

constexpr uintptr_t kPage = 4096;
constexpr unsigned kSeeds = 40;

Ranges of(std::span<const Range> ranges) { return {ranges.begin(), ranges.end()}; }

// The reference: one element per page.
class Pages {
public:
  void add(Range range) {
    for (uintptr_t at = range.begin; at < range.end; at += kPage) pages_.insert(at);
  }
  void remove(Range range) {
    for (uintptr_t at = range.begin; at < range.end; at += kPage) pages_.erase(at);
  }
  bool has(uintptr_t page) const { return pages_.contains(page); }
  Ranges ranges() const {
    Ranges ranges;
    for (uintptr_t page : pages_)
      if (!ranges.empty() && ranges.back().end == page)
        ranges.back().end += kPage;
      else
        ranges.push_back({page, page + kPage});
    return ranges;
  }

private:
  std::set<uintptr_t> pages_;
};

class RandomRanges {
public:
  RandomRanges(unsigned seed, uintptr_t pages) : random_(seed), pages_(pages) {}
  // Mostly short, sometimes most of all, sometimes empty or the wrong way round.
  Range next() {
    uintptr_t begin = random_() % pages_;
    uintptr_t length = random_() % 10 == 0 ? random_() % pages_ : random_() % 6;
    uintptr_t end = std::min(begin + length, pages_);
    if (random_() % 50 == 0) std::swap(begin, end);
    return {begin * kPage, end * kPage};
  }
  unsigned pick(unsigned of) { return static_cast<unsigned>(random_() % of); }

private:
  std::mt19937 random_;
  uintptr_t pages_;
};

TEST(RangeSet, HoldsWhatASetOfPagesHolds) {
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRanges random(seed, 20 + seed * 10); // from crowded to sparse
    RangeSet set;
    Pages pages;
    for (int change = 0; change < 1000; ++change) {
      Range range = random.next();
      bool adds = random.pick(2);
      adds ? set.add(range) : set.remove(range);
      adds ? pages.add(range) : pages.remove(range);
      ASSERT_EQ(of(set.ranges()), pages.ranges())
          << change << (adds ? ": add " : ": remove ") << range.begin / kPage << "-" << range.end / kPage;
    }
    EXPECT_FALSE(set.incomplete());
    EXPECT_FALSE(set.torn());
  }
}

TEST(RangeSet, MergesNeighboursAndSplitsAtHoles) {
  RangeSet set;
  EXPECT_THAT(set.ranges(), IsEmpty());
  set.add({10, 20});
  set.add({30, 40});
  EXPECT_THAT(set.ranges(), ElementsAre(Range{10, 20}, Range{30, 40}));
  set.add({20, 30});
  EXPECT_THAT(set.ranges(), ElementsAre(Range{10, 40}));
  set.remove({15, 16});
  EXPECT_THAT(set.ranges(), ElementsAre(Range{10, 15}, Range{16, 40}));
  set.add({0, 5});
  set.remove({4, 12});
  EXPECT_THAT(set.ranges(), ElementsAre(Range{0, 4}, Range{12, 15}, Range{16, 40}));
  set.remove({0, 100});
  EXPECT_THAT(set.ranges(), IsEmpty());
}

TEST(RangeSet, WorksAtBothEndsOfMemory) {
  RangeSet set;
  set.add({0, 1});
  set.add({UINTPTR_MAX - 1, UINTPTR_MAX});
  EXPECT_THAT(set.ranges(), ElementsAre(Range{0, 1}, Range{UINTPTR_MAX - 1, UINTPTR_MAX}));
  set.add({0, UINTPTR_MAX});
  EXPECT_THAT(set.ranges(), ElementsAre(Range{0, UINTPTR_MAX}));
  set.remove({0, UINTPTR_MAX});
  EXPECT_THAT(set.ranges(), IsEmpty());
}

TEST(RangeSet, SaysSoWhenItIsFull) {
  constexpr size_t kMost = 1 << 16;
  RangeSet set;
  for (size_t i = 0; i < kMost; ++i) set.add({i * 10, i * 10 + 4});
  EXPECT_EQ(set.ranges().size(), kMost);
  EXPECT_FALSE(set.incomplete());
  RangeSet copy;
  for (size_t i = 0; i < kMost; ++i) copy.add({i * 10, i * 10 + 4});
  set.add({kMost * 10, kMost * 10 + 4});
  EXPECT_TRUE(set.incomplete());
  EXPECT_EQ(of(set.ranges()), of(copy.ranges())) << "and keeps what it has";
  EXPECT_FALSE(copy.incomplete());
  copy.remove({1, 2}); // would split one
  EXPECT_TRUE(copy.incomplete());
  EXPECT_EQ(copy.ranges().size(), kMost);
  copy.remove({0, 10});
  EXPECT_EQ(copy.ranges().size(), kMost - 1) << "what makes room goes on";
}

TEST(RangeList, LeavesOutTheEmptyAndJoinsWhatComesInOrder) {
  RangeList list;
  list.add({5, 5});
  list.add({7, 3});
  list.add({10, 20});
  list.add({20, 30});
  list.add({5, 10});
  EXPECT_THAT(list.all(), ElementsAre(Range{10, 30}, Range{5, 10}));
  EXPECT_TRUE(list.complete());
  list.normalize();
  EXPECT_THAT(list.all(), ElementsAre(Range{5, 30}));
  list.release();
}

TEST(RangeList, KeepsTheLongerOfTwoThatBeginTogether) {
  RangeList list;
  for (Range range : {Range{50, 60}, Range{10, 40}, Range{10, 12}, Range{20, 30}, Range{39, 41}}) list.add(range);
  list.normalize();
  EXPECT_THAT(list.all(), ElementsAre(Range{10, 41}, Range{50, 60}));
  list.normalize();
  EXPECT_THAT(list.all(), ElementsAre(Range{10, 41}, Range{50, 60}));
  list.release();
}

TEST(RangeList, NormalizesNothingToNothing) {
  RangeList list;
  list.normalize();
  EXPECT_THAT(list.all(), IsEmpty());
  list.release();
}

TEST(RangeList, NormalizesToWhatASetOfPagesHolds) {
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRanges random(seed, 300);
    RangeList list;
    Pages pages;
    for (unsigned i = random.pick(200); i > 0; --i) {
      Range range = random.next();
      list.add(range);
      pages.add(range);
    }
    list.normalize();
    EXPECT_EQ(of(list.all()), pages.ranges());
    list.release();
  }
}

Ranges outside(Range range, const Ranges &without) {
  Ranges parts;
  for_each_outside(range, without, [&](Range part) { parts.push_back(part); });
  return parts;
}

Ranges inside(Range range, const Ranges &within) {
  Ranges parts;
  for_each_inside(range, within, [&](Range part) { parts.push_back(part); });
  return parts;
}

TEST(ForEachOutside, CutsOutWhatItIsGiven) {
  const Ranges without = {{10, 20}, {30, 40}};
  EXPECT_THAT(outside({0, 50}, without), ElementsAre(Range{0, 10}, Range{20, 30}, Range{40, 50}));
  EXPECT_THAT(outside({15, 35}, without), ElementsAre(Range{20, 30}));
  EXPECT_THAT(outside({20, 30}, without), ElementsAre(Range{20, 30}));
  EXPECT_THAT(outside({10, 20}, without), IsEmpty());
  EXPECT_THAT(outside({12, 18}, without), IsEmpty());
  EXPECT_THAT(outside({40, 50}, without), ElementsAre(Range{40, 50}));
  EXPECT_THAT(outside({0, 50}, {}), ElementsAre(Range{0, 50}));
  EXPECT_THAT(outside({25, 25}, without), IsEmpty());
}

TEST(ForEachInside, KeepsWhatItIsGiven) {
  const Ranges within = {{10, 20}, {30, 40}};
  EXPECT_THAT(inside({0, 50}, within), ElementsAre(Range{10, 20}, Range{30, 40}));
  EXPECT_THAT(inside({15, 35}, within), ElementsAre(Range{15, 20}, Range{30, 35}));
  EXPECT_THAT(inside({20, 30}, within), IsEmpty());
  EXPECT_THAT(inside({12, 18}, within), ElementsAre(Range{12, 18}));
  EXPECT_THAT(inside({40, 50}, within), IsEmpty());
  EXPECT_THAT(inside({0, 50}, {}), IsEmpty());
}

TEST(ForEachOutsideAndInside, ShareOutEveryPageBetweenThem) {
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomRanges random(seed, 300);
    Pages pages;
    for (unsigned i = random.pick(40); i > 0; --i) pages.add(random.next());
    for (int i = 0; i < 200; ++i) {
      Range range = random.next();
      Pages expected_out, expected_in;
      for (uintptr_t at = range.begin; at < range.end; at += kPage)
        (pages.has(at) ? expected_in : expected_out).add({at, at + kPage});
      if (range.empty()) continue;
      ASSERT_EQ(outside(range, pages.ranges()), expected_out.ranges());
      ASSERT_EQ(inside(range, pages.ranges()), expected_in.ranges());
    }
  }
}

} // namespace
} // namespace castaway
