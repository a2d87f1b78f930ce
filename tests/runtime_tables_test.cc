// The runtime's tables under the hands of four threads: the side table keeps for each block what was put last, a call
// stack keeps its number and its frames, a birth is found by its thread's descriptor.
#include "runtime/births.h"
#include "runtime/call_stacks.h"
#include "runtime/memory.h"
#include "runtime/side_table.h"
#include "tests/scanner_world.h"

#include <algorithm>
#include <atomic>
#include <gtest/gtest.h>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace castaway {

static bool operator==(const SideEntry &a, const SideEntry &b) {
  return a.begin == b.begin && a.size == b.size && a.time_ns == b.time_ns && a.stack == b.stack &&
         a.loader == b.loader && a.ignored == b.ignored && a.marks == b.marks;
}
static void PrintTo(const SideEntry &entry, std::ostream *out) {
  *out << "{" << entry.begin << ", " << entry.size << ", " << entry.time_ns << ", " << entry.stack.id << " for "
       << entry.stack.weight << ", " << entry.loader << entry.ignored << ", " << int{entry.marks} << "}";
}

namespace {

constexpr unsigned kThreads = 4;
constexpr uintptr_t kHeap = 0x7f0000000000; // no memory stands behind these addresses, and none is asked

// Calls work(thread, round) in all threads, which begin every round together.
template <typename Work> void in_threads(unsigned rounds, Work work) {
  std::atomic<unsigned> arrived = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      for (unsigned round = 0; round < rounds; ++round) {
        ++arrived;
        // Hot for a while: those that have a processor start at the same moment.
        for (int spins = 0; arrived < (round + 1) * kThreads; ++spins)
          if (spins > 10000) std::this_thread::yield();
        work(i, round);
      }
    });
  for (std::thread &thread : threads) thread.join();
}

// The tables wait for a lock about a millisecond only, and its holder can have lost the processor.
template <typename Try> bool insist(Try attempt) {
  for (int i = 0; i < 1000; ++i) {
    if (attempt()) return true;
    std::this_thread::yield();
  }
  return false;
}

std::map<uintptr_t, SideEntry> all_entries() {
  std::map<uintptr_t, SideEntry> entries;
  side_table::for_each([&](const SideEntry &entry) {
    EXPECT_TRUE(entries.emplace(entry.begin, entry).second) << "twice: " << entry.begin;
  });
  return entries;
}

class SideTable : public ::testing::Test {
protected:
  ~SideTable() override {
    for (const auto &[begin, entry] : all_entries()) side_table::take(begin);
  }
};

TEST_F(SideTable, TwoSmallBlocksShareAGranuleUntilBothAreGone) {
  static HeapMap map(testing::new_test_leaf);
  constexpr uintptr_t kGranule = 0x7000'0000'0010;
  EXPECT_FALSE(side_table::unshare(kGranule, map));
  ASSERT_TRUE(side_table::share(kGranule, map, {7, 2}));
  EXPECT_EQ(side_table::get(kGranule).size, 8u);
  ASSERT_TRUE(side_table::share(kGranule, map, {}));
  EXPECT_EQ(side_table::get(kGranule).size, 16u);
  EXPECT_EQ(side_table::get(kGranule).stack, (RecordedStack{7, 2}));
  EXPECT_TRUE(map.decode(kGranule).flagged);
  EXPECT_TRUE(side_table::unshare(kGranule, map));
  EXPECT_EQ(map.decode(kGranule).size, 16u) << "one of the two is still there";
  EXPECT_TRUE(side_table::unshare(kGranule, map));
  EXPECT_FALSE(map.decode(kGranule));
  EXPECT_EQ(side_table::get(kGranule).begin, 0u);
  EXPECT_FALSE(side_table::unshare(kGranule, map));
}

TEST_F(SideTable, KeepsEveryFieldUntilItIsTaken) {
  SideEntry entry{kHeap, 100, 5, {7, 3}, true, false, SideEntry::kWatched};
  EXPECT_EQ(side_table::get(kHeap), SideEntry{}) << "before anything was put";
  EXPECT_EQ(side_table::take(kHeap), SideEntry{});
  ASSERT_TRUE(side_table::put(entry));
  EXPECT_EQ(side_table::get(kHeap), entry);
  EXPECT_EQ(side_table::get(kHeap + 16), SideEntry{});
  SideEntry other{kHeap, 200, 6, {8}, false, true, 0};
  ASSERT_TRUE(side_table::put(other));
  EXPECT_EQ(all_entries().size(), 1u);
  EXPECT_EQ(side_table::take(kHeap), other);
  EXPECT_EQ(side_table::get(kHeap), SideEntry{});
  EXPECT_EQ(side_table::take(kHeap), SideEntry{});
  EXPECT_TRUE(all_entries().empty());
}

TEST_F(SideTable, WatchesWithoutForgettingTheStack) {
  ASSERT_TRUE(side_table::put({kHeap, 100, 5, {7, 3}, false, false, 0}));
  ASSERT_TRUE(side_table::watch(kHeap, 120));
  EXPECT_EQ(side_table::get(kHeap), (SideEntry{kHeap, 120, 5, {7, 3}, false, false, SideEntry::kWatched}));
  ASSERT_TRUE(side_table::watch(kHeap + 16, 30));
  EXPECT_EQ(side_table::get(kHeap + 16), (SideEntry{kHeap + 16, 30, 0, {}, false, false, SideEntry::kWatched}));
}

TEST_F(SideTable, UsesTheRoomOfWhatWasTakenWithoutItsTraces) {
  ASSERT_TRUE(side_table::put({kHeap, 100, 5, {7}, true, true, SideEntry::kWatched}));
  size_t used = side_table::size();
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(side_table::take(kHeap).begin, kHeap);
    ASSERT_TRUE(side_table::watch(kHeap, 1));
    EXPECT_EQ(side_table::get(kHeap), (SideEntry{kHeap, 1, 0, {}, false, false, SideEntry::kWatched}));
  }
  EXPECT_EQ(side_table::size(), used);
}

// Entries of so many blocks anywhere.
std::map<uintptr_t, SideEntry> make_entries(size_t count) {
  std::mt19937_64 random(1);
  std::map<uintptr_t, SideEntry> made;
  while (made.size() < count) {
    uintptr_t begin = (random() >> 20 << 4) + 16;
    made[begin] = {begin, random(), random(), {1}, false, false, 0};
  }
  return made;
}

// 100000 blocks anywhere: thousands of them share their bucket with others.
TEST_F(SideTable, LosesNoneOfTheOthersInABucket) {
  std::mt19937_64 random(2);
  std::map<uintptr_t, SideEntry> kept = make_entries(100000);
  for (const auto &[begin, entry] : kept) ASSERT_TRUE(side_table::put(entry));
  std::erase_if(kept, [&](const auto &known) {
    bool goes = random() % 2;
    if (goes) {
      EXPECT_EQ(side_table::take(known.first), known.second);
    }
    return goes;
  });
  EXPECT_EQ(all_entries(), kept);
  for (const auto &[begin, entry] : kept) ASSERT_EQ(side_table::get(begin), entry);
}

// Blocks of all threads lie side by side, so that they meet in every shard and bucket.
TEST_F(SideTable, KeepsWhatFourThreadsPutTakeAndMark) {
  std::map<uintptr_t, SideEntry> kept[kThreads];
  in_threads(1, [&](unsigned thread, unsigned) {
    std::mt19937 random(thread);
    for (int i = 0; i < 100000; ++i) {
      uintptr_t begin = kHeap + (random() % 2000 * kThreads + thread) * 16;
      auto known = kept[thread].find(begin);
      bool is_known = known != kept[thread].end();
      switch (random() % 4) {
      case 0: {
        SideEntry entry{begin, random(), random(), {static_cast<uint32_t>(random())}, random() % 2 == 0, false, false};
        ASSERT_TRUE(insist([&] { return side_table::put(entry); }));
        kept[thread][begin] = entry;
        break;
      }
      case 1: {
        SideEntry taken;
        ASSERT_EQ(insist([&] { return (taken = side_table::take(begin)).begin != 0 || !is_known; }), true);
        ASSERT_EQ(taken, is_known ? known->second : SideEntry{});
        kept[thread].erase(begin);
        break;
      }
      case 2: {
        ASSERT_TRUE(insist([&] { return side_table::watch(begin, 42); }));
        SideEntry &entry = kept[thread][begin];
        entry.begin = begin;
        entry.size = 42;
        entry.marks = SideEntry::kWatched;
        break;
      }
      default: {
        SideEntry got;
        ASSERT_TRUE(insist([&] { return (got = side_table::get(begin)).begin != 0 || !is_known; }));
        ASSERT_EQ(got, is_known ? known->second : SideEntry{});
      }
      }
    }
  });
  std::map<uintptr_t, SideEntry> expected;
  for (const auto &entries : kept) expected.insert(entries.begin(), entries.end());
  EXPECT_EQ(all_entries(), expected);
  EXPECT_GE(side_table::size(), expected.size());
}

TEST_F(SideTable, GivesUpOnALockThatIsHeldAndGoesOnAfterReset) {
  SideEntry entry{kHeap, 100, 0, {7}, false, false, 0};
  ASSERT_TRUE(side_table::put(entry));
  for (auto &shard : side_table::shards) ASSERT_TRUE(shard.lock.try_lock()); // as a fork finds them
  EXPECT_FALSE(side_table::put({kHeap + 16, 1, 0, {0}, false, false, 0}));
  EXPECT_FALSE(side_table::watch(kHeap, 1));
  EXPECT_EQ(side_table::get(kHeap), SideEntry{});
  EXPECT_EQ(all_entries().size(), 1u) << "the walk of the snapshot takes no lock";
  EXPECT_EQ(side_table::take(kHeap), entry) << "nor does who frees a block";
  EXPECT_EQ(side_table::take(kHeap), SideEntry{});
  side_table::reset_locks();
  EXPECT_TRUE(side_table::put(entry));
  EXPECT_EQ(side_table::take(kHeap), entry);
}

// As many buckets as nodes, but for the first ones: so no chain is long.
TEST_F(SideTable, UsesAsManyBucketsAsItNeeds) {
  for (const auto &[begin, entry] : make_entries(100000)) ASSERT_TRUE(side_table::put(entry));
  for (auto &shard : side_table::shards) {
    EXPECT_GE(shard.width() + 1, std::min(shard.used, side_table::kBuckets));
    EXPECT_LE(shard.width(), std::max(shard.used, side_table::kFirstBuckets));
    std::set<uint32_t> seen;
    for (uint32_t i = 0; i < shard.width(); ++i) {
      uint32_t length = 0;
      for (uint32_t link = shard.buckets[i]; link != 0; link = side_table::node_at(link).next, ++length)
        EXPECT_TRUE(seen.insert(link).second) << "in two chains";
      EXPECT_LT(length, 16 * (shard.used / shard.width() + 1));
    }
    EXPECT_EQ(seen.size(), shard.used) << "some are in none";
  }
}

// So that a few hundred are on few pages.
TEST_F(SideTable, KeepsTheFirstNodesOfAllShardsTogether) {
  ASSERT_TRUE(side_table::put({kHeap, 100, 0, {7}, false, false, 0}));
  auto [first, last] = std::pair(UINTPTR_MAX, uintptr_t{0});
  std::set<const void *> nodes;
  for (auto &shard : side_table::shards) {
    ASSERT_TRUE(side_table::put({kHeap + nodes.size() * 4096, 100, 0, {7}, false, false, 0}));
    if (shard.width() == 0) continue; // none of these blocks is its own
    for (uint32_t i = 0; i < side_table::kTogether; ++i) {
      const auto *node = &side_table::node_at(side_table::link_to(shard, i));
      EXPECT_TRUE(nodes.insert(node).second) << "another one's";
      first = std::min(first, reinterpret_cast<uintptr_t>(node));
      last = std::max(last, reinterpret_cast<uintptr_t>(node));
    }
  }
  EXPECT_LT(last - first, side_table::kShards * side_table::kTogether * sizeof(side_table::Node));
}

// In the child of a fork: each page that it writes to is copied.
TEST_F(SideTable, WritesToNoLockThatIsFree) {
  ASSERT_TRUE(side_table::put({kHeap, 100, 0, {7}, false, false, 0}));
  constexpr uintptr_t kPage = 4096;
  auto begin = (reinterpret_cast<uintptr_t>(std::begin(side_table::shards)) + kPage - 1) & ~(kPage - 1);
  auto end = reinterpret_cast<uintptr_t>(std::end(side_table::shards)) & ~(kPage - 1);
  ASSERT_LT(begin, end);
  ASSERT_EQ(mprotect(reinterpret_cast<void *>(begin), end - begin, PROT_READ), 0);
  side_table::reset_locks();
  ASSERT_EQ(mprotect(reinterpret_cast<void *>(begin), end - begin, PROT_READ | PROT_WRITE), 0);
}

// Whoever held a lock may have been about to change any chain.
TEST_F(SideTable, FindsAllInTheChildOfAForkWhateverItsChainsWere) {
  const std::map<uintptr_t, SideEntry> kept = make_entries(20000);
  for (const auto &[begin, entry] : kept) ASSERT_TRUE(side_table::put(entry));
  for (auto &shard : side_table::shards) {
    ASSERT_TRUE(shard.lock.try_lock());
    std::fill_n(shard.buckets, shard.width(), side_table::link_to(shard, 0));
  }
  side_table::reset_locks();
  for (const auto &[begin, entry] : kept) ASSERT_EQ(side_table::get(begin), entry);
  EXPECT_EQ(all_entries(), kept);
}

TEST_F(SideTable, SaysOfWhatItDropsWhetherItWasReported) {
  ASSERT_TRUE(side_table::put({kHeap, 100, 5, {7, 3}, false, false, 0}));
  EXPECT_EQ(side_table::drop(kHeap), 0);
  EXPECT_EQ(side_table::get(kHeap), SideEntry{});
  EXPECT_EQ(side_table::drop(kHeap), 0) << "there is none";
  ASSERT_TRUE(side_table::watch(kHeap, 100));
  EXPECT_EQ(side_table::drop(kHeap), SideEntry::kWatched);
  ASSERT_TRUE(side_table::watch(kHeap, 100));
  ASSERT_TRUE(side_table::mark_reported(kHeap));
  EXPECT_EQ(side_table::drop(kHeap), SideEntry::kWatched | SideEntry::kReported);
  EXPECT_EQ(side_table::drop(kHeap), 0);
}

TEST_F(SideTable, MarksOnlyWhatIsWatched) {
  EXPECT_FALSE(side_table::mark_reported(kHeap) || side_table::mark_settled(kHeap)) << "there is none";
  const SideEntry entry{kHeap, 100, 5, {7, 3}, false, false, 0};
  ASSERT_TRUE(side_table::put(entry));
  EXPECT_FALSE(side_table::mark_reported(kHeap) || side_table::mark_settled(kHeap)) << "not watched";
  EXPECT_EQ(side_table::get(kHeap), entry);
  ASSERT_TRUE(side_table::watch(kHeap, 100));
  EXPECT_TRUE(side_table::mark_settled(kHeap) && side_table::mark_reported(kHeap));
  EXPECT_EQ(side_table::get(kHeap).marks, SideEntry::kWatched | SideEntry::kReported | SideEntry::kSettled);
  ASSERT_TRUE(side_table::put(entry)) << "another block in its place";
  EXPECT_EQ(side_table::get(kHeap), entry);
  EXPECT_FALSE(side_table::mark_settled(kHeap));
}

TEST_F(SideTable, WhatIsWatchedAnewIsNeitherReportedNorSettled) {
  ASSERT_TRUE(side_table::watch(kHeap, 100));
  ASSERT_TRUE(side_table::mark_settled(kHeap) && side_table::mark_reported(kHeap));
  ASSERT_TRUE(side_table::watch(kHeap, 100));
  EXPECT_EQ(side_table::get(kHeap), (SideEntry{kHeap, 100, 0, {}, false, false, SideEntry::kWatched}));
}

TEST_F(SideTable, UnsettlesAllAndNothingElse) {
  for (uintptr_t begin : {kHeap, kHeap + 16, kHeap + 5'000'000}) {
    ASSERT_TRUE(side_table::watch(begin, 16));
    ASSERT_TRUE(side_table::mark_settled(begin) && side_table::mark_reported(begin));
  }
  side_table::unsettle_all();
  for (const auto &[begin, entry] : all_entries()) EXPECT_EQ(entry.marks, SideEntry::kWatched | SideEntry::kReported);
  EXPECT_EQ(all_entries().size(), 3u);
}

TEST_F(SideTable, AWatchThatCameTooLateLeavesWhatANewBlockHasPut) {
  ASSERT_TRUE(side_table::watch(kHeap, 100));
  side_table::unwatch(kHeap);
  EXPECT_TRUE(all_entries().empty());
  side_table::unwatch(kHeap);
  const SideEntry news[] = {{kHeap, 100, 5, {7, 3}, false, false, 0},
                            {kHeap, 100, 0, {}, true, false, 0},
                            {kHeap, 100, 0, {}, false, true, 0}};
  for (const SideEntry &entry : news) {
    ASSERT_TRUE(side_table::put(entry));
    ASSERT_TRUE(side_table::watch(kHeap, 100));
    side_table::unwatch(kHeap);
    EXPECT_EQ(side_table::get(kHeap), entry);
  }
}

// A program that runs for long has had blocks everywhere: no memory may stay behind for what is gone.
TEST_F(SideTable, NeedsNoMoreRoomForEntriesThatComeAndGoEverywhere) {
  constexpr size_t kLive = 20'000, kRounds = 100;
  std::mt19937_64 random(2);
  std::vector<uintptr_t> live;
  size_t before = side_table::size();
  for (size_t i = 0; i < kLive * kRounds; ++i) {
    uintptr_t begin = (random() >> 20 << 4) + 16;
    if (live.size() < kLive)
      live.push_back(begin);
    else
      ASSERT_TRUE(side_table::take(std::exchange(live[random() % kLive], begin)).begin);
    ASSERT_TRUE(side_table::put({begin, 1, 0, {1}, false, false, 0}));
  }
  EXPECT_LT(side_table::size() - before, 4 * kLive);
}

// While others add blocks and lose them, so that nodes move from chain to chain; what one thread has put in one round,
// another one takes in the next.
TEST_F(SideTable, FindsWhatAnotherThreadHasPutWhileNodesMove) {
  constexpr size_t kBlocks = 2000;
  constexpr unsigned kRounds = 200;
  std::vector<uintptr_t> blocks[kThreads];
  std::atomic<size_t> lost = 0;
  in_threads(kRounds, [&](unsigned thread, unsigned round) {
    std::vector<uintptr_t> &mine = blocks[(thread + round) % kThreads];
    for (uintptr_t begin : mine) lost += !insist([&] { return side_table::take(begin).begin == begin; });
    mine.clear();
    std::mt19937_64 random(round * kThreads + thread);
    for (size_t i = 0; i < kBlocks; ++i) {
      uintptr_t begin = kHeap + (random() % (1 << 20) * kThreads + thread) * 16;
      if (!side_table::get(begin).begin && insist([&] {
            return side_table::put({begin, round, 0, {1}, false, false, 0});
          }))
        mine.push_back(begin);
    }
  });
  EXPECT_EQ(lost, 0u);
  size_t left = 0;
  for (const auto &each : blocks) left += each.size();
  EXPECT_EQ(all_entries().size(), left);
}

TEST_F(SideTable, RefusesWhatHasNoRoomAndKeepsTheRest) {
  const auto &shard = side_table::shards[0];
  std::vector<uintptr_t> kept;
  uintptr_t refused = 0;
  for (uintptr_t begin = kHeap; refused == 0; begin += 16)
    if (&side_table::shard_of(begin) != &shard)
      continue;
    else if (side_table::put({begin, 1, 0, {0}, false, false, 0}))
      kept.push_back(begin);
    else
      refused = begin;
  EXPECT_EQ(kept.size(), side_table::kEntries);
  EXPECT_FALSE(side_table::watch(refused, 11));
  EXPECT_TRUE(side_table::put({kept[0], 12, 0, {0}, false, false, 0})) << "replacing needs no room";
  EXPECT_EQ(side_table::get(kept[0]).size, 12u);
  for (uintptr_t begin : kept) ASSERT_EQ(side_table::take(begin).begin, begin);
  EXPECT_TRUE(side_table::put({refused, 11, 0, {0}, false, false, 0}));
  EXPECT_EQ(side_table::take(refused).size, 11u);
}

std::vector<uintptr_t> stack_of(uintptr_t first, size_t depth) {
  std::vector<uintptr_t> pcs(depth);
  std::iota(pcs.begin(), pcs.end(), first);
  return pcs;
}

std::vector<uintptr_t> frames(uint32_t id) {
  auto pcs = call_stacks::frames(id);
  return {pcs.begin(), pcs.end()};
}

TEST(CallStacks, HaveNoNumberZero) {
  EXPECT_EQ(call_stacks::intern({}), 0u);
  EXPECT_TRUE(call_stacks::frames(0).empty());
}

TEST(CallStacks, KeepEachDistinctStackOnce) {
  std::map<std::vector<uintptr_t>, uint32_t> ids;
  std::set<uint32_t> distinct;
  for (size_t depth = 1; depth <= call_stacks::kDeepest; ++depth)
    for (uintptr_t first : {uintptr_t{1}, uintptr_t{2}, uintptr_t{0x7f0000001000}}) {
      auto pcs = stack_of(first, depth);
      uint32_t id = call_stacks::intern(pcs);
      ASSERT_NE(id, 0u);
      EXPECT_TRUE(distinct.insert(id).second);
      ids[pcs] = id;
    }
  for (const auto &[pcs, id] : ids) {
    EXPECT_EQ(call_stacks::intern(pcs), id);
    EXPECT_EQ(frames(id), pcs);
  }
}

TEST(CallStacks, KeepTheInnermostFramesOfADeepStack) {
  auto deep = stack_of(5000, call_stacks::kDeepest + 50);
  auto kept = deep;
  kept.resize(call_stacks::kDeepest);
  uint32_t id = call_stacks::intern(deep);
  EXPECT_EQ(frames(id), kept);
  EXPECT_EQ(call_stacks::intern(kept), id);
}

// In every round half of the stacks are common to the threads, the others their own.
TEST(CallStacks, KeepTheirFramesUnderFourThreads) {
  constexpr unsigned kRounds = 10, kEach = 10000;
  auto stack = [](unsigned thread, unsigned round, unsigned i) {
    return stack_of(uintptr_t{1'000'000} + round * kEach + i + (i % 2 ? (thread + 1) * 1'000'000 : 0), 1 + i % 9);
  };
  std::vector<std::vector<uint32_t>> ids(kThreads);
  in_threads(kRounds, [&](unsigned thread, unsigned round) {
    for (unsigned i = 0; i < kEach; ++i) ids[thread].push_back(call_stacks::intern(stack(thread, round, i)));
  });
  size_t wrong = 0;
  for (unsigned thread = 0; thread < kThreads; ++thread)
    for (unsigned at = 0; at < kRounds * kEach; ++at) {
      auto pcs = stack(thread, at / kEach, at % kEach);
      wrong += frames(ids[thread][at]) != pcs;
      // One stack may have got two numbers, recorded at once by two threads; from now on it has one of them.
      uint32_t id = call_stacks::intern(pcs);
      wrong += std::ranges::none_of(ids, [&](const auto &of_thread) { return of_thread[at] == id; });
    }
  EXPECT_EQ(wrong, 0u);
}

void note(uintptr_t descriptor, uint32_t stack, int32_t creator, Range own_stack = {}) {
  births::note({descriptor, stack, creator, own_stack, false});
}

size_t birth_count() {
  return static_cast<size_t>(
      std::count_if(births::begin(), births::end(), [](const Birth &birth) { return birth.descriptor != 0; }));
}

constexpr uintptr_t kDescriptors = 0x7e0000000000;

TEST(Births, AreFoundByDescriptorAndReplacedByTheNext) {
  EXPECT_EQ(births::find(kDescriptors), nullptr);
  note(kDescriptors, 3, 77, {0x1000, 0x9000});
  const Birth *birth = births::find(kDescriptors);
  ASSERT_NE(birth, nullptr);
  EXPECT_EQ(birth->descriptor, kDescriptors);
  EXPECT_EQ(birth->stack, 3u);
  EXPECT_EQ(birth->creator, 77);
  EXPECT_EQ(birth->own_stack.begin, 0x1000u);
  EXPECT_EQ(birth->own_stack.end, 0x9000u);
  EXPECT_FALSE(birth->inherited);
  EXPECT_EQ(births::find(kDescriptors + 64), nullptr);
  EXPECT_EQ(births::find(0), nullptr);
  size_t before = birth_count();
  note(kDescriptors, 4, 78);
  EXPECT_EQ(births::find(kDescriptors), birth);
  EXPECT_EQ(birth->stack, 4u);
  EXPECT_EQ(birth->creator, 78);
  EXPECT_TRUE(birth->own_stack.empty());
  EXPECT_EQ(birth_count(), before);
}

TEST(Births, FromBeforeAForkAreInheritedUntilNotedAgain) {
  note(kDescriptors + 0x1000, 3, 77);
  note(kDescriptors + 0x2000, 4, 77);
  births::inherit();
  note(kDescriptors + 0x2000, 5, 78);
  EXPECT_TRUE(births::find(kDescriptors + 0x1000)->inherited);
  EXPECT_EQ(births::find(kDescriptors + 0x1000)->stack, 3u) << "and tell which memory is a cached stack";
  EXPECT_FALSE(births::find(kDescriptors + 0x2000)->inherited);
}

TEST(Births, OfFourThreadsAreAllKept) {
  constexpr unsigned kRounds = 20, kEach = 400; // a quarter of the table
  auto descriptor = [](unsigned thread, uintptr_t i) {
    return kDescriptors + 0x100000 + (i * kThreads + thread) * 2304;
  };
  size_t before = birth_count();
  in_threads(kRounds, [&](unsigned thread, unsigned round) {
    for (uintptr_t i = round * kEach; i < (round + 1) * kEach; ++i)
      note(descriptor(thread, i), static_cast<uint32_t>(i + 1), static_cast<int32_t>(thread));
  });
  EXPECT_EQ(birth_count(), before + kThreads * kRounds * kEach);
  for (unsigned thread = 0; thread < kThreads; ++thread)
    for (uintptr_t i = 0; i < kRounds * kEach; ++i) {
      const Birth *birth = births::find(descriptor(thread, i));
      ASSERT_NE(birth, nullptr);
      ASSERT_EQ(birth->descriptor, descriptor(thread, i));
      ASSERT_EQ(birth->stack, i + 1);
      ASSERT_EQ(birth->creator, static_cast<int32_t>(thread));
    }
}

TEST(Births, OfOneDescriptorGetOneEntryFromFourThreads) {
  size_t before = birth_count();
  in_threads(20, [&](unsigned, unsigned round) {
    for (uintptr_t i = 0; i < 500; ++i) note(kDescriptors + 0x40000000 + (round * 500 + i) * 64, 1, 1);
  });
  EXPECT_EQ(birth_count(), before + 10000);
}

// Towards the end four threads compete for the few places left; what finds none is forgotten.
TEST(Births, FillTheTableToItsLastPlace) {
  constexpr unsigned kLast = 4000, kEach = kLast / kThreads;
  const size_t room = births::kMost - birth_count();
  auto descriptor = [](uintptr_t i) { return kDescriptors + 0x80000000 + i * 64; };
  for (uintptr_t i = 0; i < room - kLast; ++i) note(descriptor(i), 1, 1);
  in_threads(10, [&](unsigned thread, unsigned round) {
    for (uintptr_t i = round * kEach / 10; i < (round + 1) * kEach / 10; ++i)
      note(descriptor(room - kLast + i * kThreads + thread), 1, 1);
  });
  EXPECT_EQ(birth_count(), births::kMost);
  for (uintptr_t i = 0; i < room; ++i) ASSERT_NE(births::find(descriptor(i)), nullptr) << i;
  note(descriptor(room), 1, 1);
  EXPECT_EQ(births::find(descriptor(room)), nullptr);
}

TEST(OwnMemory, IsZeroedAndKnown) {
  auto *memory = static_cast<unsigned char *>(own_memory(5000));
  ASSERT_NE(memory, nullptr);
  EXPECT_TRUE(std::all_of(memory, memory + 5000, [](unsigned char byte) { return byte == 0; }));
  std::vector<Range> ranges(kOwnRegions + 1);
  ranges.resize(own_ranges(ranges.data(), ranges.size()));
  auto begin = reinterpret_cast<uintptr_t>(memory);
  EXPECT_EQ(std::ranges::count_if(ranges, [&](Range r) { return r.begin == begin && r.end == begin + 8192; }), 1);
  static int variable; // a test program's, here
  EXPECT_TRUE(ranges.front().contains(reinterpret_cast<uintptr_t>(&variable)));
  EXPECT_TRUE(own_module().contains(reinterpret_cast<uintptr_t>(&own_memory)));
  Range one;
  EXPECT_EQ(own_ranges(&one, 1), 1u);
  EXPECT_EQ(own_ranges(&one, 0), 0u);
}

// Whether the kernel could write there.
bool is_usable(const char *at) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  bool usable = write(ends[1], at, 1) == 1;
  close(ends[0]), close(ends[1]);
  return usable;
}

TEST(OwnMemory, GrowsInPlaceUpToItsMost) {
  constexpr size_t kMiB = size_t{1} << 20, kMost = 5 * kMiB / 2;
  GrowingMemory memory(kMost);
  EXPECT_EQ(memory.begin(), nullptr);
  EXPECT_EQ(memory.grow(kMost + 1), nullptr);
  auto *begin = static_cast<char *>(memory.grow(1));
  ASSERT_NE(begin, nullptr);
  *begin = 1;
  EXPECT_FALSE(is_usable(begin + kMiB));
  EXPECT_EQ(memory.grow(kMiB), begin);
  EXPECT_FALSE(is_usable(begin + kMiB));
  EXPECT_EQ(memory.grow(kMiB + 1), begin);
  EXPECT_TRUE(is_usable(begin + 2 * kMiB - 1));
  EXPECT_EQ(memory.grow(kMost), begin);
  EXPECT_TRUE(is_usable(begin + kMost - 1));
  EXPECT_EQ(memory.grow(kMost + 1), nullptr);
  EXPECT_EQ(*begin, 1);
  memory.clear();
  EXPECT_EQ(*begin, 0);
}

TEST(OwnMemory, GrowsForManyThreadsAtOnce) {
  constexpr size_t kStep = size_t{1} << 16, kSteps = 1024;
  static GrowingMemory memory(kStep * kSteps);
  in_threads(kSteps / kThreads, [&](unsigned thread, unsigned round) {
    const size_t size = (round * kThreads + thread + 1) * kStep;
    static_cast<char *>(memory.grow(size))[size - 1] = 1;
  });
  auto *begin = static_cast<const char *>(memory.begin());
  for (size_t step = 0; step < kSteps; ++step) ASSERT_EQ(begin[(step + 1) * kStep - 1], 1) << step;
}

// Locked memory keeps its pages, and what they held.
TEST(OwnMemory, IsClearedAlsoWhereItIsLocked) {
  auto *memory = static_cast<char *>(own_memory(4096));
  ASSERT_NE(memory, nullptr);
  *memory = 1;
  ASSERT_EQ(mlock(memory, 4096), 0);
  clear_own_memory(memory, 4096);
  EXPECT_EQ(*memory, 0);
}

} // namespace
} // namespace castaway
