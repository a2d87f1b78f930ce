// What the scanner says of memory that is not live: what leaked threads retain, what is leaked directly and indirectly;
// and what it says when it runs out of memory itself.
#include "tests/scanner_world.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

using testing::Leaks;
using testing::leaks_of;
using testing::lost_waiter;
using testing::put;
using testing::Scan;
using testing::Thread;
using testing::waits_for;
using testing::World;

// ---- retained

TEST(Retained, IsWhatOnlyTheThreadReachesFirstComeFirstServed) {
  World world;
  Thread &first = lost_waiter(world), &second = lost_waiter(world);
  uintptr_t common = world.block(100), inner = world.block(30), tail = world.block(3000), live = world.rooted(64);
  put(first.image.stack.begin, common);
  put(common, inner);
  first.registers = {live};
  put(second.image.tls.begin, common + 99);
  second.registers = {tail};
  uintptr_t behind_live = world.block(16);
  put(live, behind_live);
  put(tail + 2992, behind_live);
  Scan scan(world);
  EXPECT_EQ(scan.scanner.verdicts()[0].retained_objects, 3u); // the word's block, common, inner
  EXPECT_EQ(scan.scanner.verdicts()[0].retained_bytes, 16u + 100 + 30);
  EXPECT_EQ(scan.scanner.verdicts()[1].retained_objects, 2u);
  EXPECT_EQ(scan.scanner.verdicts()[1].retained_bytes, 16u + 3000);
  EXPECT_TRUE(leaks_of(scan).empty());
  EXPECT_FALSE(scan.scanner.is_live(common));
  EXPECT_TRUE(scan.scanner.is_live(behind_live));
}

TEST(Retained, ComesFromAllMemoryOfTheThreadAndCountsNoStacks) {
  World world;
  Thread &thread = world.waiter(world.block(16));
  Thread &other = world.waiter(world.block(32));
  put(thread.image.stack.begin, world.block(1));
  put(thread.image.tls.begin, world.block(2));
  put(thread.image.descriptor.begin, world.block(4));
  thread.registers = {world.block(8), other.image.stack.begin};
  put(other.image.stack.begin + 8, world.block(64)); // reached by way of the other's stack
  put(other.image.tls.begin + 8, world.block(128));
  Scan scan(world);
  EXPECT_EQ(scan.scanner.verdicts()[0].retained_bytes, 1u + 2 + 4 + 8 + 64);
  EXPECT_EQ(scan.scanner.verdicts()[0].retained_objects, 5u);
  EXPECT_EQ(scan.scanner.verdicts()[1].retained_bytes, 128u);
  EXPECT_EQ(scan.scanner.verdicts()[1].retained_objects, 1u);
  EXPECT_EQ(leaks_of(scan).size(), 2u); // the words' blocks, to which nothing points
}

TEST(Retained, TakesTheSizeOfAFlaggedGranuleFromItsNote) {
  World world;
  Thread &thread = lost_waiter(world);
  uintptr_t noted = world.block(3, true), bare = world.block(3, true), longer = world.block(30, true);
  world.notes = {{.begin = noted, .size = 3}, {.begin = longer, .size = 30}};
  thread.registers = {noted, bare, longer};
  EXPECT_EQ(Scan(world).scanner.verdicts()[0].retained_bytes, 16u + 3 + 16 + 30);
}

TEST(Retained, IsNothingForALiveThread) {
  World world;
  Thread &thread = lost_waiter(world);
  thread.registers = {world.block(100)};
  EXPECT_EQ(Scan(world).scanner.verdicts()[0].retained_bytes, 116u);
  world.root(thread.words[0].address);
  EXPECT_EQ(Scan(world).scanner.verdicts()[0].retained_bytes, 0u);
  EXPECT_EQ(Scan(world).scanner.verdicts()[0].retained_objects, 0u);
}

// ---- leaked memory

TEST(Leaked, WhatALeakedBlockPointsToIsIndirect) {
  World world;
  uintptr_t head = world.block(16), middle = world.block(5000), tail = world.block(16), kept = world.rooted(16);
  put(head, middle + 4000);
  put(head + 8, kept);
  put(middle + 4992, tail);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{head, false}, {middle, true}, {tail, true}}));
}

TEST(Leaked, PointersWithinABlockMakeItNotIndirect) {
  World world;
  uintptr_t small = world.block(32), large = world.block(5000);
  put(small + 8, small);
  put(large, large + 4999);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{small, false}, {large, false}}));
}

TEST(Leaked, APointerToItselfDoesNotHideADirectLeak) {
  World world;
  uintptr_t inner = world.block(16), head = world.block(5000);
  put(head, head + 4000);
  put(head + 8, inner);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{inner, true}, {head, false}}));
}

TEST(Leaked, OfACycleTheFirstByAddressIsDirect) {
  World world;
  uintptr_t a = world.block(16), b = world.block(16), c = world.block(16), d = world.block(16);
  put(b, c);
  put(c, b);
  put(c + 8, a); // hangs from the cycle, but comes first by address
  put(a, d);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{a, false}, {b, false}, {c, true}, {d, true}}));
  put(a, b);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{a, false}, {b, true}, {c, true}, {d, false}}));
}

TEST(Leaked, ACycleBehindADirectLeakIsIndirect) {
  World world;
  uintptr_t a = world.block(16), b = world.block(16), head = world.block(16);
  put(a, b);
  put(b, a);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{a, false}, {b, true}, {head, false}}));
  put(head, b);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{a, true}, {b, true}, {head, false}}));
}

TEST(Leaked, TheLoadersBlocksAreNeitherReportedNorReasons) {
  World world;
  uintptr_t loader = world.block(16, true), behind = world.block(16), head = world.block(16), cycle = world.block(16);
  uintptr_t partner = world.block(16);
  put(loader, behind);
  put(loader + 8, cycle);
  put(head, loader);
  put(cycle, partner);
  put(partner, cycle);
  world.notes = {{.begin = loader, .size = 16, .loader = true}};
  Scan scan(world);
  EXPECT_EQ(leaks_of(scan), (Leaks{{behind, false}, {head, false}, {cycle, false}, {partner, true}}));
  EXPECT_FALSE(scan.scanner.is_live(loader));
  world.notes[0].loader = false;
  EXPECT_EQ(leaks_of(Scan(world)),
            (Leaks{{loader, true}, {behind, true}, {head, false}, {cycle, true}, {partner, true}}));
  world.notes[0].loader = true;
  world.root_values = {loader}; // live all the same, and what it reaches
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{head, false}}));
}

TEST(Leaked, BlocksComeWithTheirNotesAndSizes) {
  World world;
  uintptr_t a = world.block(3, true), b = world.block(100), c = world.block(100, true), d = world.block(5, true);
  uintptr_t gone = world.next_block();
  world.notes = {{.begin = a, .size = 3, .stack = 1}, {.begin = c, .size = 100, .stack = 2}, {.begin = gone}};
  Scan scan(world);
  ASSERT_EQ(leaks_of(scan).size(), 4u);
  EXPECT_EQ(scan.leak(a)->note, &world.notes[0]);
  EXPECT_EQ(scan.leak(a)->size, 3u);
  EXPECT_EQ(scan.leak(b)->note, nullptr);
  EXPECT_EQ(scan.leak(b)->size, 100u);
  EXPECT_EQ(scan.leak(c)->note, &world.notes[1]);
  EXPECT_EQ(scan.leak(c)->size, 100u);
  EXPECT_EQ(scan.leak(d)->note, nullptr);
  EXPECT_EQ(scan.leak(d)->size, 16u);
}

TEST(Leaked, KeepsTheSafepointThatFirstFoundIt) {
  World world;
  uintptr_t blocks[4];
  for (uintptr_t &block : blocks) block = world.block(16);
  world.past = {{blocks[0] - 16, 1}, {blocks[0], 2}, {blocks[1] + 16, 3}, {blocks[2], 4}, {blocks[3] + 160, 5}};
  Scan scan(world);
  EXPECT_EQ(scan.leak(blocks[0])->first_safepoint, 2u);
  EXPECT_EQ(scan.leak(blocks[1])->first_safepoint, 7u);
  EXPECT_EQ(scan.leak(blocks[2])->first_safepoint, 4u);
  EXPECT_EQ(scan.leak(blocks[3])->first_safepoint, 7u);
}

TEST(Leaked, ComeInAddressOrder) {
  World world(size_t{200} << 20);
  uintptr_t end = world.heap_range().end;
  for (uintptr_t at : {end - 4096, end - (uintptr_t{100} << 20), end - (uintptr_t{101} << 20)}) world.block_at(at, 16);
  Scan scan(world);
  ASSERT_EQ(scan.scanner.leaked_blocks().size(), 3u);
  EXPECT_LT(scan.scanner.leaked_blocks()[0].begin, scan.scanner.leaked_blocks()[1].begin);
  EXPECT_LT(scan.scanner.leaked_blocks()[1].begin, scan.scanner.leaked_blocks()[2].begin);
}

// In each place of a line of the map, beside others that are live, in lines that are all live or all lost; and with
// leaves of the map before and behind in which no block is left.
TEST(Leaked, AreFoundAmongAnyLiveOnes) {
  World world(size_t{200} << 20);
  auto empty_leaf = [&](uintptr_t at) { world.map->insert(at, 16), world.map->erase(at); };
  empty_leaf(world.heap_range().begin - (uintptr_t{1} << 30));
  empty_leaf(world.heap_range().end + (uintptr_t{1} << 30));
  Leaks lost;
  uintptr_t begin = world.heap_range().begin + (uintptr_t{60} << 20);
  for (size_t i = 0; i < 20'000; ++i) { // over some edge of a leaf, and all over its lines
    bool all_lost = i / 64 % 7 == 0, all_live = i / 64 % 7 == 1;
    size_t size = 1 + i % 48;
    uintptr_t block = world.block_at(begin + i * 48 + i / 999 * (uintptr_t{1} << 22), size);
    if (all_lost || (!all_live && i % 5 == 3))
      lost[block] = false;
    else
      world.root(block + i % size);
  }
  for (size_t markers : {1, 2}) EXPECT_EQ(leaks_of(Scan(world, markers)), lost);
}

// ---- no memory

TEST(Workspace, RunningOutAnywhereIsReported) {
  World world;
  Thread &thread = lost_waiter(world);
  waits_for(world, WaitKind::mutex, thread.image.tid);
  for (size_t i = 0; i < 300; ++i) world.block(2000);
  for (size_t i = 0; i < 300; ++i) World::add_word(thread, world.block(16)); // tables that have to grow
  Scan whole(world);
  ASSERT_TRUE(whole.complete);
  ASSERT_GT(whole.workspace.tables(), 10u);
  for (size_t limit = 0; limit <= whole.workspace.tables(); ++limit) {
    testing::TestWorkspace workspace(limit);
    Scanner scanner(world.image(), workspace);
    EXPECT_EQ(scanner.run(), limit == whole.workspace.tables()) << limit;
  }
}

} // namespace
} // namespace castaway
