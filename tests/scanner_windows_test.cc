// The queue of windows loses no pointer and goes by rounds; and marking by windows finds what is known to be live,
// where there are many pointers to each of them.
#include "scanner/window_queue.h"
#include "tests/scanner_world.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <set>

namespace castaway {
namespace {

using testing::leaks_of;
using testing::put;
using testing::Scan;
using testing::TestWorkspace;
using testing::Thread;
using testing::World;

// ---- the queue

using Pointers = std::multiset<std::pair<size_t, uint16_t>>; // window, granule

class Windows : public ::testing::Test {
protected:
  static constexpr size_t kWindows = 50, kRoom = 100'000, kInChunk = WindowQueue::Chunk::kRoom;

  void SetUp() override {
    ASSERT_TRUE(queue_.build(kWindows, kRoom, 2, workspace_));
    ASSERT_TRUE(buffer_.build(queue_, workspace_));
  }
  // Takes all windows of this round, together with what the buffer has for them.
  Pointers take_round() {
    Pointers found;
    WindowQueue::Window window;
    while (queue_.take(window)) {
      buffer_.give_to(window);
      for (const auto *chunk = window.chunks; chunk; chunk = chunk->next)
        for (size_t i = 0; i < chunk->count; ++i) found.emplace(window.number, chunk->granules[i]);
      queue_.release(window.chunks);
    }
    return found;
  }
  void add(size_t window, size_t count) {
    for (size_t i = 0; i < count; ++i) ASSERT_TRUE(buffer_.add(window, i % WindowQueue::kGranules));
  }
  WindowQueue::Window take() {
    WindowQueue::Window window;
    buffer_.give_all();
    EXPECT_TRUE(queue_.start_round());
    EXPECT_TRUE(queue_.take(window));
    return window;
  }

  TestWorkspace workspace_;
  WindowQueue queue_;
  WindowBuffer buffer_;
};

TEST_F(Windows, GiveEveryPointerOnce) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 10; ++round) { // chunks are used again
    Pointers wanted;
    for (size_t i = 0; i < kRoom / 2; ++i) {
      size_t window = random() % kWindows;
      auto granule = static_cast<uint16_t>(random());
      wanted.emplace(window, granule);
      ASSERT_TRUE(buffer_.add(window, granule));
    }
    buffer_.give_all();
    EXPECT_TRUE(queue_.start_round());
    EXPECT_EQ(take_round(), wanted);
    EXPECT_FALSE(queue_.start_round());
  }
}

TEST_F(Windows, GoByRoundsAndInTheOrderOfTheirFirstPointers) {
  for (size_t window : {7, 3, 9}) add(window, 1);
  buffer_.give_all();
  EXPECT_EQ(queue_.ready(), 0u); // no round yet
  ASSERT_TRUE(queue_.start_round());
  WindowQueue::Window window;
  ASSERT_TRUE(queue_.take(window));
  EXPECT_EQ(window.number, 7u);
  queue_.release(window.chunks);
  add(7, 1); // the next round's
  add(9, 1); // still of this one
  EXPECT_EQ(take_round(), (Pointers{{3, 0}, {9, 0}, {9, 0}}));
  buffer_.give_all();
  EXPECT_EQ(queue_.ready(), 0u);
  ASSERT_TRUE(queue_.start_round());
  EXPECT_EQ(take_round(), (Pointers{{7, 0}}));
}

TEST_F(Windows, AreSparseWithFewPointersUnlessTheyAreHeld) {
  for (auto [count, sparse] : {std::pair<size_t, bool>{1, true},
                               {WindowQueue::kSparse, true},
                               {WindowQueue::kSparse + 1, false},
                               {kInChunk + 1, false}}) {
    add(5, count);
    WindowQueue::Window window = take();
    EXPECT_EQ(window.is_sparse(), sparse) << count;
    queue_.release(window.chunks);
  }
  add(5, 1);
  buffer_.give_all();
  queue_.hold(5);
  WindowQueue::Window window = take();
  EXPECT_FALSE(window.is_sparse());
  ASSERT_TRUE(window.chunks);
  EXPECT_EQ(window.chunks->count, 1u);
  queue_.release(window.chunks);
  queue_.hold(6); // with nothing in it
  window = take();
  EXPECT_EQ(window.number, 6u);
  EXPECT_TRUE(window.held && !window.chunks && !window.is_sparse());
  EXPECT_FALSE(take_round().size());
}

TEST_F(Windows, RefuseWhatTheyHaveNoRoomForAndTakeItAfterSomethingWasTaken) {
  size_t count = 0;
  while (buffer_.add(count % kWindows, 1)) ++count;
  EXPECT_GE(count, kRoom - kInChunk * kWindows);
  EXPECT_FALSE(buffer_.add(count % kWindows, 1));
  buffer_.give_all();
  ASSERT_TRUE(queue_.start_round());
  EXPECT_EQ(take_round().size(), count);
  EXPECT_TRUE(buffer_.add(count % kWindows, 1));
}

TEST_F(Windows, GetWhatAllBuffersHave) {
  WindowBuffer other;
  ASSERT_TRUE(other.build(queue_, workspace_));
  add(4, 3 * kInChunk);
  for (uint16_t i = 0; i < 5; ++i) ASSERT_TRUE(other.add(4, 60'000 + i));
  other.give_all();
  buffer_.give_all();
  ASSERT_TRUE(queue_.start_round());
  EXPECT_EQ(queue_.ready(), 1u);
  Pointers found = take_round();
  EXPECT_EQ(found.size(), 3 * kInChunk + 5);
  EXPECT_EQ(found.count({4, 60'004}), 1u);
}

// ---- marking

constexpr size_t kBlock = 48;

// A heap of many windows, with a table that points to some of its blocks, to each once or more often, anywhere in it.
// Behind it are windows with one block each, which points to another one; the table begins with half of those.
struct Crowd {
  static constexpr size_t kBlocks = 200'000, kStrewn = 40;

  explicit Crowd(size_t pointers) : world(size_t{64} << 20, 400) {
    std::vector<uintptr_t> blocks;
    for (size_t i = 0; i < kBlocks; ++i) blocks.push_back(world.block(kBlock));
    std::mt19937_64 random(pointers);
    std::shuffle(blocks.begin(), blocks.end(), random);
    uintptr_t table = world.rooted((kStrewn / 2 + pointers) * 8);
    for (size_t i = 0; i < kStrewn; ++i) {
      uintptr_t block = world.block_at(world.heap_range().begin + ((20 + i) << 20), kBlock),
                child = world.block(kBlock);
      put(block, child);
      for (uintptr_t each : {block, child}) (i < kStrewn / 2 ? live : lost).insert(each);
      if (i < kStrewn / 2) put(table + 8 * i, block);
    }
    table += kStrewn / 2 * 8;
    for (size_t i = 0; i < pointers; ++i) {
      uintptr_t block = blocks[random() % (kBlocks / 2)];
      put(table + 8 * i, block + random() % 4 * kBlock / 4);
      live.insert(block);
    }
    for (uintptr_t block : blocks)
      if (!live.count(block)) lost.insert(block);
  }

  World world;
  std::set<uintptr_t> live, lost;
};

class MarkingByWindows : public ::testing::TestWithParam<size_t> {};

// 300 pointers are few in each window; 400000 are more than the queue has room for.
TEST_P(MarkingByWindows, FindsWhatATablePointsTo) {
  for (size_t pointers : {300, 20'000, 400'000}) {
    Crowd crowd(pointers);
    Scan scan(crowd.world, GetParam());
    ASSERT_TRUE(scan.complete);
    testing::Leaks leaks = leaks_of(scan);
    EXPECT_EQ(leaks.size(), crowd.lost.size());
    for (uintptr_t block : crowd.lost) ASSERT_TRUE(leaks.count(block)) << pointers << " pointers";
  }
}

// Waiters' words in blocks of windows with few and with many pointers: who waits in a live one is live, and so is what
// only that block points to.
TEST_P(MarkingByWindows, WakesWhoWaitsInALiveBlock) {
  for (size_t pointers : {300, 20'000, 400'000}) {
    Crowd crowd(pointers);
    std::vector<uintptr_t> children;
    for (const std::set<uintptr_t> &blocks : {crowd.live, crowd.lost}) {
      size_t step = blocks.size() / 150, at = 0;
      for (uintptr_t block : blocks) {
        if (at++ % step != 0 || at / step >= 150) continue;
        crowd.world.waiter(block + 8);
        put(block + 16, children.emplace_back(crowd.world.block(kBlock)));
      }
    }
    Scan scan(crowd.world, GetParam());
    ASSERT_TRUE(scan.complete);
    testing::Leaks leaks = leaks_of(scan);
    for (size_t i = 0; i < children.size(); ++i) {
      bool lost = crowd.lost.count(crowd.world.threads[i].words[0].address - 8);
      EXPECT_EQ(scan.leaked(i), lost) << pointers << " pointers, thread " << i;
      EXPECT_EQ(leaks.count(children[i]), lost) << pointers << " pointers, thread " << i;
    }
    EXPECT_NEAR(static_cast<double>(scan.leaked_threads()), static_cast<double>(children.size()) / 2, 10);
  }
}

INSTANTIATE_TEST_SUITE_P(, MarkingByWindows, ::testing::Values(1, 2, 8));

} // namespace
} // namespace castaway
