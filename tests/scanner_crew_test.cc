// Several markers: whatever the heap looks like and however the work falls to them, the answer is that of one.
#include "scanner/work_pool.h"
#include "tests/scanner_world.h"

#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <set>

namespace castaway {
namespace {

using testing::Leaks;
using testing::leaks_of;
using testing::put;
using testing::Scan;
using testing::TestWorkspace;
using testing::ThreadCrew;
using testing::World;

// What there is to compare.
struct Answer {
  Leaks leaks;
  std::vector<std::tuple<bool, Reason, uint64_t, uint64_t>> threads;
  uint64_t words;
  bool operator==(const Answer &) const = default;
};

Answer answer_of(World &world, size_t markers) {
  Scan scan(world, markers);
  EXPECT_TRUE(scan.complete);
  Answer answer{leaks_of(scan), {}, scan.scanner.work().words};
  for (const ThreadVerdict &verdict : scan.scanner.verdicts())
    answer.threads.push_back({verdict.leaked, verdict.reason, verdict.retained_bytes, verdict.retained_objects});
  return answer;
}

void expect_same_for_all_crews(World &world) {
  Answer alone = answer_of(world, 1);
  EXPECT_FALSE(alone.leaks.empty());
  for (size_t markers : {2, 3, 8})
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(answer_of(world, markers) == alone) << markers << " markers";
}

constexpr size_t kBlock = 64;

std::vector<uintptr_t> take_blocks(World &world, size_t count) {
  std::vector<uintptr_t> blocks(count);
  for (uintptr_t &block : blocks) block = world.block(kBlock);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(1));
  return blocks;
}

TEST(Markers, OnARandomGraph) {
  World world(size_t{64} << 20);
  std::vector<uintptr_t> blocks = take_blocks(world, 200'000);
  std::mt19937_64 random(2);
  // Half of them hang together, and some of the others too.
  for (size_t i = 0; i < blocks.size() / 2; ++i)
    for (size_t word : {0, 8, 24}) put(blocks[i] + word, blocks[random() % (blocks.size() / 2)]);
  for (size_t i = blocks.size() / 2; i < blocks.size(); i += 2) put(blocks[i], blocks[random() % blocks.size()]);
  for (size_t i = 0; i < 20; ++i) world.root(blocks[i]);
  expect_same_for_all_crews(world);
}

TEST(Markers, OnAListWhichIsOnesWorkOnly) {
  World world(size_t{64} << 20);
  std::vector<uintptr_t> blocks = take_blocks(world, 100'000);
  for (size_t i = 0; i + 2 < blocks.size(); ++i) put(blocks[i], blocks[i + 1]);
  world.root(blocks[0]);
  expect_same_for_all_crews(world);
}

// A block that is read in parts.
TEST(Markers, OnOneLargeTable) {
  World world(size_t{128} << 20);
  std::vector<uintptr_t> blocks = take_blocks(world, 400'000);
  uintptr_t table = world.rooted(blocks.size() * 8 + 5);
  for (size_t i = 0; i < blocks.size(); ++i)
    if (i % 1000 != 7) put(table + 8 * i, blocks[i]);
  expect_same_for_all_crews(world);
}

// Roots of which each has work for one.
TEST(Markers, OnManyRoots) {
  World world(size_t{64} << 20);
  std::vector<uintptr_t> blocks = take_blocks(world, 50'000);
  testing::Pages pages(size_t{2000} * 4096);
  for (size_t i = 0; i < 2000; ++i) {
    uintptr_t begin = pages.range().begin + i * 4096;
    world.roots.push_back({begin, begin + 1024 + i % 100});
    for (size_t word = 0; word < 12; ++word) put(begin + word * 64, blocks[i * 12 + word]);
  }
  for (size_t i = 0; i < 24'000; i += 3) put(blocks[i], blocks[i + 24'000]);
  expect_same_for_all_crews(world);
}

// Watched blocks are met by any of the markers, and each wakes its waiters once.
TEST(Markers, OnWaitersWhoseWordsAreReached) {
  World world(size_t{64} << 20, 3000);
  std::vector<uintptr_t> blocks = take_blocks(world, 60'000);
  std::mt19937_64 random(3);
  for (size_t i = 0; i < 40'000; ++i)
    for (size_t word : {16, 32}) put(blocks[i] + word, blocks[random() % 40'000]);
  for (size_t i = 0; i < 2000; ++i) {
    auto &waiter = world.waiter(blocks[i * 30] + 48);
    put(waiter.image.stack.begin + 16, blocks[40'000 + i]); // lives with it
  }
  for (size_t i = 0; i < 20; ++i) world.root(blocks[i]);
  expect_same_for_all_crews(world);
}

// ---- the pool

TEST(WorkPool, GivesEverythingOnceAndEndsForAll) {
  constexpr size_t kMarkers = 4, kItems = 100'000;
  ThreadCrew crew(kMarkers);
  TestWorkspace workspace;
  std::vector<Range> ranges;
  for (uintptr_t i = 1; i <= 50; ++i) ranges.push_back({i << 20, (i << 20) + 8});
  WindowQueue windows;
  WorkPool pool;
  ASSERT_TRUE(pool.build(crew, kItems, ranges, windows, workspace));
  std::vector<std::multiset<uint64_t>> taken(kMarkers);
  struct Context {
    WorkPool &pool;
    std::vector<std::multiset<uint64_t>> &taken;
  } context{pool, taken};
  crew.run(
      kMarkers,
      [](void *place, size_t number) {
        Context &at = *static_cast<Context *>(place);
        std::vector<WorkPool::Item> items(WorkPool::kMostItems);
        at.pool.join();
        while (WorkPool::Work work = at.pool.take(items.data())) {
          if (work.items) at.taken[number].insert(items.data(), items.data() + work.items);
          if (work.range.empty()) continue;
          std::vector<WorkPool::Item> more(kItems / 50); // each range brings items
          std::iota(more.begin(), more.end(), (work.range.begin >> 20) * 1'000'000);
          at.pool.give(more);
        }
      },
      &context);
  std::multiset<uint64_t> all;
  for (const auto &each : taken) all.insert(each.begin(), each.end());
  EXPECT_EQ(all.size(), kItems);
  EXPECT_EQ(std::set<uint64_t>(all.begin(), all.end()).size(), kItems);
}

TEST(WorkPool, RefusesWhatItHasNoRoomFor) {
  ThreadCrew crew(2);
  TestWorkspace workspace;
  WindowQueue windows;
  WorkPool pool;
  ASSERT_TRUE(pool.build(crew, 10, {}, windows, workspace));
  std::vector<WorkPool::Item> items = {1, 2, 3, 4, 5, 6};
  EXPECT_TRUE(pool.give(items));
  EXPECT_FALSE(pool.give(items));
  std::vector<WorkPool::Item> taken(WorkPool::kMostItems);
  pool.join();
  WorkPool::Work work = pool.take(taken.data());
  EXPECT_TRUE(work.range.empty());
  EXPECT_EQ(std::vector<WorkPool::Item>(taken.begin(), taken.begin() + 6), items);
  EXPECT_EQ(work.items, 6u);
  EXPECT_TRUE(pool.give(items));
}

TEST(WorkPool, IsHungryWhileSomebodyWaits) {
  struct Alone final : Crew {
    size_t size_for(uint64_t) const override { return 1; }
    void run(size_t, void (*)(void *, size_t), void *) override {}
    void rest() override {}
  } crew;
  TestWorkspace workspace;
  WindowQueue windows;
  WorkPool pool;
  ASSERT_TRUE(pool.build(crew, 100, {}, windows, workspace));
  EXPECT_FALSE(pool.hungry());
  pool.join();
  WorkPool::Item items[10] = {};
  EXPECT_FALSE(pool.take(items));
  EXPECT_TRUE(pool.hungry());
  pool.give(items);
  EXPECT_FALSE(pool.hungry());
}

} // namespace
} // namespace castaway
