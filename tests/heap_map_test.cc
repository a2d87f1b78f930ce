// The heap map: what is inserted is found again, under every size, at every offset, over the edges of leaves.
#include "scanner/heap_map.h"
#include "tests/scanner_world.h"

#include <gtest/gtest.h>
#include <memory>
#include <vector>

namespace castaway {
namespace {

using testing::TestHeapMap;

constexpr uintptr_t kLeafSize = uintptr_t{1} << HeapMap::kLeafBits;
constexpr uintptr_t kBase = 100 * kLeafSize; // no memory stands behind these addresses, and none is asked

void expect_same(const Block &block, uintptr_t begin, size_t size, bool flagged) {
  EXPECT_EQ(block.begin, begin);
  EXPECT_EQ(block.size, size);
  EXPECT_EQ(block.flagged, flagged);
}

// What the map says of a block: an empty one counts as one byte, a flagged granule has its size elsewhere.
size_t known_size(size_t size, bool flagged) {
  if (size <= HeapMap::kGranule && flagged) return HeapMap::kGranule;
  return size ? size : 1;
}

std::vector<Block> all(const HeapMap &map) {
  std::vector<Block> blocks;
  map.sweep([&](const Block &block) { blocks.push_back(block); });
  return blocks;
}

class Sizes : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(HeapMap, Sizes, ::testing::Bool());

TEST_P(Sizes, ComeBackExactlyAndEraseLeavesNothing) {
  TestHeapMap map;
  std::vector<size_t> sizes;
  for (size_t size = 0; size <= 5000; ++size) sizes.push_back(size);
  for (int bit = 13; bit <= 40; ++bit)
    for (int delta = -1; delta <= 1; ++delta) sizes.push_back((size_t{1} << bit) + static_cast<size_t>(delta));
  for (size_t size : sizes) {
    ASSERT_TRUE(map->insert(kBase, size, GetParam()));
    expect_same(map->decode(kBase), kBase, known_size(size, GetParam()), GetParam());
    ASSERT_EQ(all(*map).size(), 1u) << size;
    expect_same(map->erase(kBase), kBase, known_size(size, GetParam()), GetParam());
    EXPECT_FALSE(map->decode(kBase));
    ASSERT_TRUE(all(*map).empty()) << size;
  }
  const uint8_t *leaf = map->leaf_at(kBase);
  for (size_t i = 0; i < HeapMap::kLeafBytes; ++i) ASSERT_EQ(leaf[i], 0) << i;
}

TEST_P(Sizes, EveryOffsetIsFoundAndNoneBeyond) {
  TestHeapMap map;
  for (size_t size : {1, 8, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1743, 1744, 1759, 1760}) {
    map->insert(kBase, size, GetParam());
    size_t granules = (size + 15) / 16 * 16;
    for (size_t offset = 0; offset < granules; ++offset) {
      ASSERT_EQ(map->find(kBase + offset).begin, kBase) << size << " + " << offset;
      ASSERT_EQ(map->find(kBase + offset).size, known_size(size, GetParam()));
    }
    EXPECT_FALSE(map->find(kBase + granules)) << size;
    EXPECT_FALSE(map->find(kBase - 1)) << size;
    map->erase(kBase);
  }
}

// The hooks' short ways do what insert and erase do, or nothing.
TEST_P(Sizes, TheShortWaysAgree) {
  TestHeapMap map;
  EXPECT_FALSE(map->insert_small(kBase, 8)); // no leaf yet
  EXPECT_FALSE(map->erase_plain(kBase) || map->erase_large_plain(kBase));
  for (size_t size :
       {0,       1,      8, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1743, 1744, 1759, 1760, 1761, 5000, (1 << 28) - 1,
        1 << 28, 1 << 30}) {
    for (size_t neighbour : {1, 16, 17, 1761}) {
      uintptr_t after = kBase + (size + 15) / 16 * 16 + (size == 0 ? 16 : 0);
      map->insert(after, neighbour, GetParam());
      map->insert(kBase, size, GetParam());
      bool small = size <= HeapMap::kSmallBytes;
      EXPECT_EQ(small ? map->erase_large_plain(kBase) : map->erase_plain(kBase), false) << size;
      expect_same(map->decode(kBase), kBase, known_size(size, GetParam()), GetParam());
      EXPECT_EQ(small ? map->erase_plain(kBase) : map->erase_large_plain(kBase), !GetParam()) << size;
      EXPECT_EQ(map->decode(kBase).begin, GetParam() ? kBase : 0) << size;
      map->erase(kBase);
      if (size != 0 && size <= HeapMap::kSmallBytes) {
        EXPECT_FALSE(map->insert_small(kBase + 8, size));
        EXPECT_FALSE(map->insert_small(kBase | uintptr_t{1} << 63, size));
        EXPECT_FALSE(map->decode(kBase));
        ASSERT_TRUE(map->insert_small(kBase, size));
        expect_same(map->decode(kBase), kBase, size, false);
        EXPECT_FALSE(map->erase_plain(kBase + 8)) << size;
        EXPECT_TRUE(map->erase_plain(kBase)) << size;
      }
      expect_same(map->erase(after), after, known_size(neighbour, GetParam()), GetParam());
    }
  }
  EXPECT_TRUE(all(*map).empty());
}

// Where a program is told that a block is longer than it asked for.
TEST_P(Sizes, GrowTheShortWayOrAreLeftAsTheyAre) {
  TestHeapMap map;
  EXPECT_FALSE(map->grow_plain(kBase, 24)); // no leaf yet
  map->insert(kBase + (1 << 20), 1);
  for (size_t told : {17, 24, 32, 33, 40, 72, 1752, 1760}) {
    EXPECT_FALSE(map->grow_plain(kBase, told)) << "no block";
    EXPECT_FALSE(map->decode(kBase));
    for (size_t size : {1, 8, 16, 17, 24, 31, 32, 33, 64, 1743, 1744, 1760, 1761, 5000}) {
      const bool plain = !GetParam() && size <= HeapMap::kSmallBytes;
      const bool grows = plain && (told + 15) / 16 > (size + 15) / 16;
      const uintptr_t after = kBase + (std::max(size, told) + 15) / 16 * 16;
      map->insert(after, 40, GetParam());
      map->insert(kBase, size, GetParam());
      for (int again = 0; again < 2; ++again) {
        EXPECT_EQ(map->grow_plain(kBase, told), plain) << size << " to " << told;
        expect_same(map->decode(kBase), kBase, grows ? told : known_size(size, GetParam()), GetParam());
      }
      EXPECT_FALSE(map->grow_plain(kBase + 16, told)) << "no block's begin";
      EXPECT_FALSE(map->grow_plain(kBase + 8, told));
      map->erase(kBase);
      expect_same(map->erase(after), after, 40, GetParam());
    }
  }
}

TEST(HeapMap, WhatTheShortWayLeavesBehindSaysNothing) {
  TestHeapMap map;
  for (size_t old : {17, 32, 1000, 1760, 1761, 1 << 30}) {
    map->insert(kBase, old);
    ASSERT_TRUE(map->erase_plain(kBase) || map->erase_large_plain(kBase));
    ASSERT_NE(map->leaf_at(kBase)[1], 0) << "nothing is left behind, and nothing tested";
    EXPECT_FALSE(map->find(kBase));
    EXPECT_FALSE(map->find(kBase + 16));
    EXPECT_FALSE(map->set_flag(kBase, old));
    for (size_t size : {1, 16, 17, 33, 1760, 1761, 1 << 20})
      for (bool flagged : {false, true}) {
        map->insert(kBase, size, flagged);
        expect_same(map->decode(kBase), kBase, known_size(size, flagged), flagged);
        EXPECT_EQ(map->find(kBase + 16).begin, size > 16 ? kBase : 0) << size;
        EXPECT_EQ(all(*map).size(), 1u);
        map->erase(kBase);
      }
    map->insert(kBase, old);
    ASSERT_TRUE(map->erase_plain(kBase) || map->erase_large_plain(kBase));
    map->insert(kBase + 16, 8); // where the continuation was
    expect_same(map->find(kBase + 16), kBase + 16, 8, false);
    map->erase(kBase + 16);
  }
}

TEST(HeapMap, MediumLengthsAreThoseOfTwoBytes) {
  TestHeapMap map;
  EXPECT_FALSE(map->insert_small(kBase, 64)); // no leaf yet
  for (size_t size : {size_t{0}, size_t{1}, size_t{16}, HeapMap::kSmallBytes + 1, SIZE_MAX})
    EXPECT_FALSE(HeapMap::is_medium(size)) << size;
  map->insert(kBase, 1);
  for (size_t size = 17; size <= HeapMap::kSmallBytes; ++size) {
    ASSERT_TRUE(HeapMap::is_medium(size));
    ASSERT_TRUE(map->insert_small(kBase, size));
    expect_same(map->decode(kBase), kBase, size, false);
    ASSERT_TRUE(map->erase_plain(kBase));
  }
  EXPECT_FALSE(map->insert_small(kBase + 8, 64));
  EXPECT_FALSE(map->insert_small(kBase | uintptr_t{1} << 63, 64));
}

// Those of one length among all others, flagged or not, and among what erased ones have left behind.
TEST(HeapMap, StartsOfALengthAreThoseThatDecodeToIt) {
  TestHeapMap map;
  uintptr_t end = kBase;
  for (int round = 0; round < 4; ++round)
    for (size_t size = 1; size <= HeapMap::kSmallBytes + 40; ++size) {
      map->insert(end, size, (size + static_cast<size_t>(round)) % 2);
      if (round == 3 && size % 3 == 0) map->erase_plain(end);
      end += (size + 15) / 16 * 16;
    }
  constexpr size_t kLineBytes = HeapMap::kLine * HeapMap::kGranule;
  for (size_t size : {17, 31, 32, 33, 48, 63, 64, 65, 1743, 1744, 1759, 1760})
    for (uintptr_t line = kBase; line < end; line += kLineBytes) {
      uint64_t expected = 0;
      for (size_t i = 0; i < HeapMap::kLine; ++i)
        expected |= uint64_t{map->decode(line + i * HeapMap::kGranule).size == size} << i;
      const uint8_t *codes = map->leaf_at(line) + HeapMap::granule_in_leaf(line);
      ASSERT_EQ(HeapMap::starts_in_line_of(codes, size), expected) << size;
    }
}

TEST(HeapMap, FindOfALargeBlockReachesItsFirstGranules) {
  TestHeapMap map;
  map->insert(kBase, 100000);
  size_t reach = HeapMap::kSmallBytes;
  for (size_t offset = 0; offset < reach; ++offset) ASSERT_EQ(map->find(kBase + offset).begin, kBase) << offset;
  EXPECT_FALSE(map->find(kBase + 50000));
}

TEST(HeapMap, NeighboursAreToldApart) {
  TestHeapMap map;
  map->insert(kBase, 40);
  map->insert(kBase + 48, 16);
  map->insert(kBase + 64, 2000);
  map->insert(kBase + 64 + 2000, 24);
  EXPECT_EQ(map->find(kBase + 47).begin, kBase);
  EXPECT_EQ(map->find(kBase + 48).begin, kBase + 48);
  EXPECT_EQ(map->find(kBase + 63).begin, kBase + 48);
  EXPECT_EQ(map->find(kBase + 64 + 1700).begin, kBase + 64);
  EXPECT_EQ(map->find(kBase + 64 + 2000 + 20).begin, kBase + 64 + 2000);
  EXPECT_EQ(all(*map).size(), 4u);
  EXPECT_EQ(map->erase(kBase + 48).size, 16u);
  EXPECT_FALSE(map->find(kBase + 48));
  EXPECT_EQ(map->find(kBase + 47).begin, kBase);
  EXPECT_EQ(all(*map).size(), 3u);
}

TEST(HeapMap, BlocksMayCrossTheEdgeOfALeaf) {
  for (size_t size : {20, 40, 1000, 1760, 5000}) {
    TestHeapMap map;
    uintptr_t begin = kBase - 16;
    map->insert(begin, size, true);
    map->insert(kBase + 8192, 24); // so that the next leaf exists
    expect_same(map->decode(begin), begin, size, true);
    for (size_t offset = 0; offset < (size + 15) / 16 * 16 && offset < HeapMap::kSmallBytes; ++offset)
      ASSERT_EQ(map->find(begin + offset).begin, begin) << size << " + " << offset;
    ASSERT_EQ(all(*map).size(), 2u);
    EXPECT_EQ(all(*map)[0].begin, begin);
    EXPECT_EQ(map->erase(begin).size, size);
    EXPECT_FALSE(map->find(kBase));
  }
}

TEST(HeapMap, AsksForALeafOnlyWhenABlockIsInserted) {
  TestHeapMap map;
  EXPECT_FALSE(map->find(kBase));
  EXPECT_FALSE(map->erase(kBase));
  EXPECT_FALSE(map->decode(kBase));
  EXPECT_EQ(testing::leaves_in_use().size(), 0u);
  map->insert(kBase, 1);
  map->insert(kBase + 16, 1);
  EXPECT_EQ(testing::leaves_in_use().size(), 1u);
}

TEST(HeapMap, SweepVisitsLeavesInOrderUpToTheEndsOfTheAddressSpace) {
  TestHeapMap map;
  uintptr_t top = uintptr_t{1} << HeapMap::kAddressBits;
  std::vector<uintptr_t> begins = {16, kLeafSize - 16, kLeafSize, 511 * kLeafSize, 512 * kLeafSize, top / 2, top - 16};
  for (size_t i = begins.size(); i-- > 0;) ASSERT_TRUE(map->insert(begins[i], 9));
  std::vector<Block> found = all(*map);
  ASSERT_EQ(found.size(), begins.size());
  for (size_t i = 0; i < begins.size(); ++i) expect_same(found[i], begins[i], 9, false);
}

TEST(HeapMap, RefusesWhatIsOutsideOfUserSpaceOrHasNoLeaf) {
  TestHeapMap map;
  EXPECT_FALSE(map->insert(uintptr_t{1} << HeapMap::kAddressBits, 16));
  EXPECT_FALSE(map->insert(kBase + 8, 16));
  EXPECT_FALSE(map->find(~uintptr_t{0}));
  auto poor = std::make_unique<HeapMap>([]() -> uint8_t * { return nullptr; });
  EXPECT_FALSE(poor->insert(kBase, 16));
  EXPECT_FALSE(poor->decode(kBase));
  EXPECT_TRUE(all(*poor).empty());
}

TEST(HeapMap, MisalignedAddressesStartNoBlock) {
  TestHeapMap map;
  map->insert(kBase, 64);
  for (size_t offset = 1; offset < 64; ++offset) {
    EXPECT_FALSE(map->decode(kBase + offset));
    EXPECT_FALSE(map->erase(kBase + offset));
  }
  EXPECT_EQ(map->decode(kBase).size, 64u);
}

TEST(SetFlag, KeepsTheSizeOfEveryBlock) {
  TestHeapMap map;
  for (size_t size : {1, 16, 17, 32, 1000, 1759, 1760, 1761, 5000, 1 << 20}) {
    map->insert(kBase, size);
    EXPECT_TRUE(map->set_flag(kBase, size)) << size;
    expect_same(map->decode(kBase), kBase, known_size(size, true), true);
    EXPECT_TRUE(map->set_flag(kBase, size)) << "a second time, " << size;
    map->erase(kBase);
  }
  map->insert(kBase, size_t{1} << 40);
  EXPECT_TRUE(map->set_flag(kBase, size_t{1} << 40));
  expect_same(map->decode(kBase), kBase, size_t{1} << 40, true);
}

TEST(SetFlag, RefusesABlockThatIsAnotherOrGone) {
  TestHeapMap map;
  EXPECT_FALSE(map->set_flag(kBase, 16));
  for (size_t size : {8, 40, 3000}) {
    map->insert(kBase, size);
    EXPECT_FALSE(map->set_flag(kBase, size + 1));
    expect_same(map->decode(kBase), kBase, size, false);
    map->erase(kBase);
    EXPECT_FALSE(map->set_flag(kBase, size));
    EXPECT_FALSE(map->decode(kBase));
  }
}

// ---- the way back to a block's begin

constexpr size_t kReach = kLeafSize;

TEST(LastBegun, IsFoundFromEachGranuleOfALineAndNoneBefore) {
  TestHeapMap map;
  for (uintptr_t at = 0; at < 3 * HeapMap::kLine; ++at) {
    uintptr_t begin = kBase + (HeapMap::kLine + at) * HeapMap::kGranule;
    map->insert(begin, 5'000'000);
    for (uintptr_t from = 0; from < 3 * HeapMap::kLine; ++from) {
      ASSERT_EQ(map->last_begun(begin + from * HeapMap::kGranule + 15, kReach).begin, begin) << at << ' ' << from;
      ASSERT_FALSE(map->last_begun(begin - 1 - from * HeapMap::kGranule, kReach)) << at << ' ' << from;
    }
    map->erase(begin);
  }
}

TEST(LastBegun, IsTheNearestOfAnyLength) {
  TestHeapMap map;
  std::vector<uintptr_t> begins;
  for (uintptr_t at = kBase; at < kBase + 200'000; at += 16 + (at / 16 * 7919) % 4000 / 16 * 16) {
    map->insert(at, begins.size() % 3 == 0 ? 100'000 : 1 + begins.size() % 2 * 40);
    begins.push_back(at);
  }
  size_t next = 0;
  for (uintptr_t at = kBase; at < kBase + 200'000; at += 8) {
    if (next < begins.size() && begins[next] <= at) ++next;
    ASSERT_EQ(map->last_begun(at, kReach).begin, begins[next - 1]) << at - kBase;
  }
}

TEST(LastBegun, IsFoundOverLeavesUpToItsReach) {
  TestHeapMap map;
  uintptr_t begin = kBase + 160;
  map->insert(begin, 5 * kLeafSize);
  for (size_t leaves : {0, 1, 2, 3}) {
    uintptr_t at = begin + leaves * kLeafSize + 7;
    EXPECT_EQ(map->last_begun(at, leaves * kLeafSize + 7).begin, begin) << leaves;
    EXPECT_FALSE(map->last_begun(at + HeapMap::kGranule, leaves * kLeafSize + 7)) << leaves;
  }
  map->insert(kBase + 2 * kLeafSize, 1);
  EXPECT_EQ(map->last_begun(begin + 3 * kLeafSize, 4 * kLeafSize).begin, kBase + 2 * kLeafSize);
}

TEST(LastBegun, OfAnyNumberThatIsNoAddress) {
  TestHeapMap map;
  map->insert(16, 40);
  for (uintptr_t at : {uintptr_t{0}, uintptr_t{15}, uintptr_t{1} << 62, ~uintptr_t{0}, ~uintptr_t{0} - 16})
    EXPECT_FALSE(map->last_begun(at, kReach)) << at;
  EXPECT_EQ(map->last_begun(17, kReach).begin, 16u);
}

// ---- pages of the codes that were never written

// A page of codes stands for so much.
constexpr uintptr_t kPageSize = HeapMap::kPageGranules * HeapMap::kGranule;

class WrittenPages : public ::testing::Test {
protected:
  WrittenPages() : table_(HeapMap::kLeaves) { map_->set_written(table_.data()); }

  // Says that of this leaf no other pages have been written.
  void know(size_t leaf, std::initializer_list<size_t> written) {
    auto pages = std::make_unique<HeapMap::WrittenPages>();
    for (size_t page : written) pages->bits[page / 64] |= uint64_t{1} << (page % 64);
    table_[leaf] = pages.get();
    known_.push_back(std::move(pages));
  }
  std::vector<std::pair<size_t, size_t>> written_within(size_t leaf, size_t begin, size_t end) {
    std::vector<std::pair<size_t, size_t>> runs;
    map_->visit_written(leaf, begin, end, [&](size_t from, size_t to) { runs.emplace_back(from, to); });
    return runs;
  }

  TestHeapMap map_;
  std::vector<const HeapMap::WrittenPages *> table_;
  std::vector<std::unique_ptr<HeapMap::WrittenPages>> known_;
};

using Runs = std::vector<std::pair<size_t, size_t>>;

TEST_F(WrittenPages, AreVisitedInRunsWithinBounds) {
  constexpr size_t kPage = HeapMap::kPageGranules, kAll = HeapMap::kLeafGranules;
  EXPECT_EQ(written_within(7, 0, kAll), (Runs{{0, kAll}})) << "nothing is known";
  know(7, {0, 3, 4, 63, 64, 1023});
  EXPECT_EQ(written_within(7, 0, kAll),
            (Runs{{0, kPage}, {3 * kPage, 5 * kPage}, {63 * kPage, 65 * kPage}, {1023 * kPage, kAll}}));
  EXPECT_EQ(written_within(7, 128, 4 * kPage + 64), (Runs{{128, kPage}, {3 * kPage, 4 * kPage + 64}}));
  EXPECT_EQ(written_within(7, 3 * kPage + 64, 3 * kPage + 128), (Runs{{3 * kPage + 64, 3 * kPage + 128}}));
  EXPECT_EQ(written_within(7, 5 * kPage, 63 * kPage), Runs());
  EXPECT_EQ(written_within(8, 0, kAll), (Runs{{0, kAll}})) << "nothing is known of this one";
  know(8, {});
  EXPECT_EQ(written_within(8, 0, kAll), Runs());
}

// Blocks on pages that are said to be zero show that nobody looks there.
TEST_F(WrittenPages, AreTheOnlyOnesThatAreSwept) {
  for (size_t page : {0, 1, 2, 700, 1023}) map_->insert(kBase + page * kPageSize + 32, 40);
  map_->insert(kBase + kLeafSize, 40);
  EXPECT_EQ(all(*map_).size(), 6u);
  know(100, {1, 700});
  const auto blocks = all(*map_);
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[0].begin, kBase + kPageSize + 32);
  EXPECT_EQ(blocks[1].begin, kBase + 700 * kPageSize + 32);
  EXPECT_EQ(blocks[2].begin, kBase + kLeafSize);
}

TEST_F(WrittenPages, AreTheOnlyOnesOnTheWayBack) {
  for (size_t page : {0, 1, 2, 1023}) map_->insert(kBase + page * kPageSize + 32, 40);
  know(100, {1, 2, 5});
  EXPECT_EQ(map_->last_begun(kBase + kLeafSize - 1, kReach).begin, kBase + 2 * kPageSize + 32);
  EXPECT_EQ(map_->last_begun(kBase + 2 * kPageSize + 31, kReach).begin, kBase + kPageSize + 32);
  EXPECT_FALSE(map_->last_begun(kBase + kPageSize + 31, kReach));
}

// The code of a large block goes on on the next page, which then has been written too.
TEST_F(WrittenPages, MayEndWithinACode) {
  map_->insert(kBase + kPageSize - 16, 100'000);
  know(100, {0, 1});
  EXPECT_EQ(all(*map_).at(0).size, 100'000u);
}

} // namespace
} // namespace castaway
