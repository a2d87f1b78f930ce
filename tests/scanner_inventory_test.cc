// The inventory of a heap: known answers wherever blocks lie in the lines, parts and leaves of the map, and the same
// ones for any crew. No memory stands behind these blocks, and none is read.
#include "scanner/inventory.h"
#include "scanner/objects.h"
#include "tests/scanner_world.h"

#include <gtest/gtest.h>
#include <mutex>
#include <random>
#include <set>

namespace castaway {
namespace {

using testing::TestHeapMap;
using testing::TestWorkspace;
using testing::ThreadCrew;

constexpr uintptr_t kLeafSize = uintptr_t{1} << HeapMap::kLeafBits;
constexpr uintptr_t kPartSize = kLeafSize / Inventory::kPerLeaf;
constexpr uintptr_t kBase = 100 * kLeafSize;
constexpr size_t kLineSize = HeapMap::kLine * HeapMap::kGranule;
constexpr uintptr_t kPageSize = 4096;
constexpr size_t kMiB = size_t{1} << 20;

size_t granules_of(size_t size) { return size ? (size + 15) / 16 : 1; }
uintptr_t end_of(uintptr_t begin, size_t size) { return begin + granules_of(size) * 16; }

struct Answer {
  uint64_t blocks = 0, bytes = 0;
  uintptr_t begin = 0, reach = 0;
  bool overlaps = false;
  std::vector<std::pair<uintptr_t, size_t>> large;
  std::set<uintptr_t> pages; // in which blocks begin
  bool operator==(const Answer &) const = default;
};

std::ostream &operator<<(std::ostream &out, const Answer &answer) {
  return out << answer.blocks << " blocks, " << answer.bytes << " bytes, from " << std::hex << answer.begin << " to "
             << answer.reach << std::dec << ", " << answer.large.size() << " large"
             << (answer.overlaps ? ", overlapping" : "") << ", on " << answer.pages.size() << " pages";
}

std::set<uintptr_t> pages_of(const HeapMap &map, const Inventory &inventory) {
  std::set<uintptr_t> pages;
  std::span<const BegunPages> rest = inventory.begun();
  map.visit_leaves([&](size_t index, const uint8_t *) {
    for (size_t page = 0; page < kLeafSize / kPageSize; ++page)
      if (rest[page / 16] >> page % 16 & 1) pages.insert(index * kLeafSize + page * kPageSize);
    rest = rest.subspan(Inventory::kCodePages);
  });
  EXPECT_TRUE(rest.empty());
  return pages;
}

Answer inventory_of(const HeapMap &map, Crew *crew) {
  TestWorkspace workspace;
  Inventory inventory;
  EXPECT_TRUE(inventory.take(map, true, crew, workspace));
  const HeapTally &all = inventory.all();
  Answer answer{all.blocks, all.bytes, all.begin, all.reach, all.overlaps, {}, {}};
  for (const Block &block : inventory.large()) answer.large.push_back({block.begin, block.size});
  answer.pages = pages_of(map, inventory);
  EXPECT_EQ(all.large, answer.large.size());
  return answer;
}

// A map, and what it must come to.
class TestHeap {
public:
  // In the order of addresses.
  void add(uintptr_t begin, size_t size, bool flagged = false) {
    ASSERT_TRUE(map->insert(begin, size, flagged));
    size_t known = size <= 16 && flagged ? 16 : std::max<size_t>(size, 1);
    if (answer.blocks++ == 0) answer.begin = begin;
    answer.pages.insert(begin & ~(kPageSize - 1));
    answer.bytes += known;
    answer.overlaps |= begin < answer.reach;
    answer.reach = std::max(answer.reach, end_of(begin, size));
    if (known > HeapMap::kSmallBytes) answer.large.push_back({begin, known});
  }

  void expect_answer_of_all_crews() {
    EXPECT_EQ(inventory_of(*map, nullptr), answer);
    for (size_t markers : {1, 2, 8}) {
      ThreadCrew crew(markers);
      EXPECT_EQ(inventory_of(*map, &crew), answer) << markers << " markers";
    }
  }

  TestHeapMap map;
  Answer answer;
};

// In all ways that this processor has.
HeapTally tally_of_lines(const HeapMap &map, size_t lines) {
  auto found = [&](bool at_once) {
    BegunPages begun[16] = {};
    return tally(kBase, map.leaf_at(kBase), lines * HeapMap::kLine, begun, at_once);
  };
  HeapTally sum = found(false);
  if (can_tally_at_once()) {
    EXPECT_EQ(found(true), sum);
  }
  return sum;
}

// ---- sums of lines

// Runs of blocks of one size, over some lines, with and without a gap: as many in each line as there can be.
TEST(Tally, CountsEverySize) {
  for (bool flagged : {false, true})
    for (size_t gap : {0, 16, 48})
      for (size_t size = 0; size <= HeapMap::kSmallBytes + 40; size += size < 300 ? 1 : 7) {
        TestHeap heap;
        uintptr_t at = kBase + 16 * (size % 5);
        for (int i = 0; i < 70; ++i, at = end_of(at, size) + gap) heap.add(at, size, flagged);
        HeapTally found = tally_of_lines(*heap.map, 200);
        ASSERT_EQ(found.blocks, 70u) << size;
        ASSERT_EQ(found.bytes, heap.answer.bytes) << size;
        ASSERT_EQ(found.large, heap.answer.large.size()) << size;
        ASSERT_EQ(found.begin, heap.answer.begin) << size;
        ASSERT_EQ(found.reach, heap.answer.reach) << size;
        ASSERT_FALSE(found.overlaps) << size;
      }
}

// All sizes side by side, and lines with many blocks, with few and with none.
TEST(Tally, CountsAnyMixture) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    TestHeap heap;
    const size_t bounds[] = {1 + random() % 20, 1 + random() % 300, 1 + random() % 4000};
    for (uintptr_t at = kBase + random() % 100 * 16, end = kBase + 100 * kLineSize; at < end;) {
      size_t size = random() % bounds[random() % 3];
      bool flagged = random() % 8 == 0;
      heap.add(at, size, flagged);
      at = end_of(at, size) + (random() % 30 == 0 ? random() % 300 : random() % 2) * 16;
    }
    HeapTally found = tally_of_lines(*heap.map, 200);
    EXPECT_EQ((Answer{found.blocks, found.bytes, found.begin, found.reach, found.overlaps, {}, {}}),
              (Answer{heap.answer.blocks, heap.answer.bytes, heap.answer.begin, heap.answer.reach, false, {}, {}}));
    EXPECT_EQ(found.large, heap.answer.large.size());
    std::vector<std::pair<uintptr_t, size_t>> large;
    visit_large(kBase, heap.map->leaf_at(kBase), 200 * HeapMap::kLine, [&](const Block &block) {
      large.push_back({block.begin, block.size});
    });
    EXPECT_EQ(large, heap.answer.large);
  }
}

// What each block of some lines adds, looked at one by one.
HeapTally plain_tally_of_lines(const HeapMap &map, size_t lines) {
  HeapTally sum;
  for (uintptr_t at = kBase; at < kBase + lines * kLineSize; at += 16)
    if (Block block = map.decode(at)) {
      sum.overlaps |= at < sum.reach;
      sum.reach = std::max(sum.reach, block.granule_end());
      ++sum.blocks;
      sum.bytes += block.size;
      sum.large += block.size > HeapMap::kSmallBytes;
    }
  return sum;
}

// A block of so many granules in some place of the second line, and another one so many behind its beginning, among
// many blocks of one granule or alone. What the map says of each counts, be it stale or not.
void expect_overlap_only_inside(size_t granules, size_t place, size_t distance, bool crowded, bool flagged) {
  constexpr size_t kLines = 6;
  TestHeapMap map;
  uintptr_t begin = kBase + kLineSize + place * 16, next = begin + distance * 16;
  uintptr_t end = std::max(next + 48, begin + granules * 16);
  for (uintptr_t at = kBase; crowded && at < kBase + kLines * kLineSize; at += 16)
    if (at < begin || at >= end) map->insert(at, 16);
  map->insert(begin, granules * 16, flagged);
  map->insert(next, 40);
  HeapTally found = tally_of_lines(*map, kLines), wanted = plain_tally_of_lines(*map, kLines);
  ASSERT_EQ(found.overlaps, distance < granules);
  ASSERT_EQ(found.overlaps, wanted.overlaps);
  ASSERT_EQ(found.blocks, wanted.blocks);
  ASSERT_EQ(found.bytes, wanted.bytes);
  ASSERT_EQ(found.reach, wanted.reach);
  ASSERT_EQ(found.large, wanted.large);
  uint64_t large = 0;
  visit_large(kBase, map->leaf_at(kBase), kLines * HeapMap::kLine, [&](const Block &) { ++large; });
  ASSERT_EQ(large, wanted.large);
}

TEST(Tally, FindsEveryOverlapAndNoOther) {
  for (size_t granules : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 109, 110, 111, 200})
    for (size_t place = 0; place<HeapMap::kLine; place += granules> 33 ? 5 : 1)
      for (size_t distance : {size_t{1}, size_t{2}, size_t{3}, size_t{5}, size_t{13}, granules / 2, granules - 2,
                              granules - 1, granules, granules + 1})
        for (bool crowded : {true, false})
          for (bool flagged : {true, false}) {
            if (distance == 0 || distance > granules + 1) continue;
            expect_overlap_only_inside(granules, place, distance, crowded, flagged);
            ASSERT_FALSE(HasFailure()) << granules << " granules at " << place << ", next after " << distance
                                       << (crowded ? ", crowded" : "") << (flagged ? ", flagged" : "");
          }
}

// ---- parts

TEST(Inventory, OfNothingIsEmpty) {
  TestHeap heap;
  heap.expect_answer_of_all_crews();
  heap.map->insert(kBase, 50);
  heap.map->erase(kBase); // the leaf stays
  heap.expect_answer_of_all_crews();
}

// Small and large blocks over each edge of parts and leaves, with a neighbour that begins where they end.
TEST(Inventory, PutsPartsTogether) {
  for (size_t size : {16, 17, 200, 1760, 1761, 5000, 9'000'000, 100'000'000}) {
    for (bool flagged : {false, true}) {
      TestHeap heap;
      heap.add(kBase - 2 * kLeafSize + 4096, 24); // the first leaf begins with a gap
      uintptr_t last = 0;
      for (uintptr_t edge = kBase + kPartSize; edge <= kBase + 3 * kLeafSize; edge += kPartSize) {
        uintptr_t begin = edge - granules_of(size) / 2 * 16 - 16;
        if (begin < last) continue;
        heap.add(begin, size, flagged);
        heap.add(end_of(begin, size), 24, flagged);
        heap.add(end_of(begin, size) + 32, 24);
        last = end_of(begin, size) + 64;
      }
      heap.add(kBase + 600 * kLeafSize, size, flagged); // far away
      heap.expect_answer_of_all_crews();
      EXPECT_FALSE(heap.answer.overlaps);
    }
  }
}

// The same blocks, where the neighbour begins one granule early.
TEST(Inventory, SeesOverlapsOverTheEdgesOfParts) {
  for (size_t size : {48, 1760, 1761, 9'000'000, 100'000'000})
    for (uintptr_t edge : {kBase + kPartSize, kBase + 8 * kPartSize, kBase + 11 * kPartSize}) {
      for (bool inside : {false, true}) {
        TestHeap heap;
        uintptr_t end = edge + (granules_of(size) + 1) / 2 * 16, begin = end - granules_of(size) * 16;
        heap.add(begin - 4096, 24);
        heap.add(begin, size);
        heap.add(inside ? end - 16 : end, 16);
        EXPECT_EQ(heap.answer.overlaps, inside);
        heap.expect_answer_of_all_crews();
      }
    }
}

TEST(Inventory, ReachesAsFarAsABlockThatCoversParts) {
  TestHeap heap;
  heap.add(kBase, 5 * kPartSize);
  heap.add(kBase + 2 * kPartSize, 64);
  heap.add(kBase + 4 * kPartSize, 64);
  EXPECT_EQ(heap.answer.reach, kBase + 5 * kPartSize);
  heap.expect_answer_of_all_crews();
}

// A block that ends with its part, and one that begins with the next one.
TEST(Inventory, TakesWhatEndsAtAnEdgeForNoOverlap) {
  for (size_t size : {1, 16, 17, 1760, 1761, 100'000})
    for (uintptr_t edge : {kBase + kPartSize, kBase + kLeafSize}) {
      TestHeap heap;
      heap.add(edge - granules_of(size) * 16, size);
      heap.add(edge, size);
      EXPECT_FALSE(heap.answer.overlaps);
      heap.expect_answer_of_all_crews();
    }
}

TEST(Inventory, OfManyBlocksIsTheSameForAllCrews) {
  TestHeap heap;
  std::mt19937_64 random(2);
  for (uintptr_t at = kBase; at < kBase + 5 * kLeafSize;) {
    size_t size = random() % (random() % 100 == 0 ? 300'000 : 3000);
    heap.add(at, size, random() % 16 == 0);
    at = end_of(at, size) + random() % 3 * 16;
  }
  heap.expect_answer_of_all_crews();
}

// Said to be zero, the others are not read, and what is on them is not counted.
TEST(Inventory, ReadsOnlyPagesThatWereWritten) {
  constexpr uintptr_t kCodePage = HeapMap::kPageGranules * HeapMap::kGranule;
  TestHeap heap;
  std::vector<const HeapMap::WrittenPages *> table(HeapMap::kLeaves);
  HeapMap::WrittenPages written{};
  table[kBase / kLeafSize] = &written;
  for (size_t page : {0, 5, 6, 127, 128, 129, 600, 1023}) {
    bool is_written = page != 5 && page != 600;
    uintptr_t begin = kBase + page * kCodePage + 64;
    if (is_written) heap.add(begin, 5000), heap.add(end_of(begin, 5000), 24);
    if (!is_written) heap.map->insert(begin, 5000);
    if (is_written) written.bits[page / 64] |= uint64_t{1} << (page % 64);
  }
  heap.add(kBase + kLeafSize, 300); // nothing is known of this leaf
  heap.map->set_written(table.data());
  heap.expect_answer_of_all_crews();
}

TEST(Inventory, SaysSoWhenTheWorkspaceRanOut) {
  TestHeap heap;
  heap.add(kBase, 5000);
  for (size_t limit = 0; limit < 3; ++limit) {
    TestWorkspace workspace(limit);
    Inventory inventory;
    EXPECT_FALSE(inventory.take(*heap.map, true, nullptr, workspace)) << limit;
  }
}

// ---- crews

// One for each 100 MiB, and seven at most; notes how many worked.
class GrowingCrew final : public Crew {
public:
  size_t size_for(uint64_t bytes) const override { return std::min<uint64_t>(1 + bytes / (100 * kMiB), 7); }
  void run(size_t count, void (*work)(void *, size_t), void *context) override {
    counts.push_back(count);
    ThreadCrew(count).run(count, work, context);
  }
  void rest() override {}

  std::vector<size_t> counts;
};

TEST(Inventory, OfASmallHeapIsOnesWorkHoweverFarItIsStrewn) {
  TestHeap heap;
  for (size_t i = 0; i < 60; ++i) heap.add(kBase + i * kLeafSize, kMiB);
  GrowingCrew crew;
  EXPECT_EQ(inventory_of(*heap.map, &crew), heap.answer);
  EXPECT_TRUE(crew.counts.empty());
}

TEST(Inventory, OfALargeHeapIsWorkForAsManyAsAreWorthIt) {
  TestHeap heap;
  for (size_t i = 0; i < 2000; ++i) heap.add(kBase + i * kMiB, kMiB - 64);
  GrowingCrew crew;
  EXPECT_EQ(inventory_of(*heap.map, &crew), heap.answer);
  ASSERT_FALSE(crew.counts.empty());
  EXPECT_EQ(crew.counts[0], 2u);
  EXPECT_EQ(crew.counts.back(), 7u);
}

// Threads that cannot be had.
TEST(Inventory, NeedsNoneOfTheOthers) {
  struct Alone final : Crew {
    size_t size_for(uint64_t) const override { return 5; }
    void run(size_t, void (*work)(void *, size_t), void *context) override { work(context, 0); }
    void rest() override {}
  } crew;
  TestHeap heap;
  for (size_t i = 0; i < 300; ++i) heap.add(kBase + i * kMiB, 5000 * (i % 3) + 16);
  EXPECT_EQ(inventory_of(*heap.map, &crew), heap.answer);
}

// ---- what it is for

TEST(Objects, AreLayeredWhereBlocksOverlap) {
  for (size_t distance : {48, 64}) {
    TestHeapMap map;
    for (size_t i = 0; i < 40; ++i) map->insert(kBase + i * 64, 64);
    map->insert(kBase + 40 * 64 + distance - 64, 64);
    Image image;
    image.heap = map.get();
    TestWorkspace workspace;
    Objects objects;
    ASSERT_TRUE(objects.build(image, nullptr, workspace));
    EXPECT_EQ(objects.all_plain(), distance == 64);
    EXPECT_EQ(objects.leaf(kBase).layered, distance != 64);
    EXPECT_EQ(objects.count(), 41u);
    EXPECT_EQ(objects.totals().bytes, 41u * 64);
    EXPECT_EQ(objects.bounds().begin, kBase);
    EXPECT_EQ(objects.bounds().end, kBase + 40 * 64 + distance);
  }
}

} // namespace
} // namespace castaway
