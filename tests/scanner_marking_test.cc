// The scanner's marking: which words are pointers to what, and what is a root, each with its negative control.
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
using testing::World;

// ---- which words are pointers to what

TEST(Marking, CountsTheHeapExactly) {
  World world;
  for (size_t size : {1, 8, 24, 1760, 1761, 100000}) world.block(size);
  world.block(5, true);                                              // no note: a whole granule
  world.notes.push_back({.begin = world.block(7, true), .size = 7}); // exact
  Scan scan(world);
  ASSERT_TRUE(scan.complete);
  EXPECT_EQ(scan.scanner.heap().blocks, 8u);
  EXPECT_EQ(scan.scanner.heap().bytes, 1u + 8 + 24 + 1760 + 1761 + 100000 + 16 + 7);
}

TEST(Marking, AnEmptyImageHasNoLeaks) {
  World world;
  Scan scan(world);
  EXPECT_TRUE(scan.complete);
  EXPECT_EQ(scan.scanner.heap().blocks, 0u);
  EXPECT_TRUE(scan.scanner.leaked_blocks().empty());
  EXPECT_FALSE(scan.scanner.is_live(world.heap_range().begin));
}

TEST(Marking, WhatNothingPointsToIsLeaked) {
  World world;
  uintptr_t lost = world.block(40);
  uintptr_t kept = world.rooted(40);
  Scan scan(world);
  EXPECT_EQ(leaks_of(scan), (Leaks{{lost, false}}));
  EXPECT_EQ(scan.leak(lost)->size, 40u);
  EXPECT_TRUE(scan.scanner.is_live(kept));
  EXPECT_TRUE(scan.scanner.is_live(kept + 47));
  EXPECT_FALSE(scan.scanner.is_live(kept + 48));
  EXPECT_FALSE(scan.scanner.is_live(lost));
}

TEST(Marking, EveryAddressWithinTheGranulesIsAPointer) {
  for (size_t size : {1, 16, 20, 1760, 1761, 5000, 70000}) {
    size_t reach = (size + 15) / 16 * 16;
    for (size_t offset : {size_t{0}, size_t{1}, size_t{7}, size_t{15}, reach / 2, reach - 16, reach - 1}) {
      World world;
      uintptr_t block = world.block(size);
      world.root(block + offset);
      EXPECT_TRUE(Scan(world).scanner.leaked_blocks().empty()) << size << " + " << offset;
    }
    for (size_t offset : {size_t{0} - 1, reach}) {
      World world;
      world.rooted(8);
      uintptr_t block = world.block(size);
      world.rooted(8);
      world.root(block + offset);
      EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{block, false}})) << size << " + " << offset;
    }
  }
}

TEST(Marking, HighTagsAreTakenOff) {
  World world;
  uintptr_t tagged = world.block(40), inner = world.block(40), other = world.block(40);
  world.root(tagged | uintptr_t{0xabcd} << 48);
  put(tagged, (inner + 24) | uintptr_t{1} << 63);
  world.root(other ^ uintptr_t{1} << 47); // bit 47 is no tag
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{other, false}}));
}

TEST(Marking, OnlyAlignedWholeWordsCount) {
  World world;
  uintptr_t outer = world.rooted(21), lost = world.block(40), found = world.block(40);
  put(outer + 8, found);
  put(outer + 16, lost); // the block's last five bytes, and what is behind it
  uintptr_t shifted = world.block(40);
  put(world.root(0) + 4, shifted);
  world.root(0);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{lost, false}, {shifted, false}}));
}

TEST(Marking, RangesNeedNotBeAligned) {
  World world;
  uintptr_t first = world.block(40), last = world.block(40), found = world.block(40);
  uintptr_t at = world.root(first);
  world.root(found);
  world.root(last);
  world.roots = {{at + 1, at + 23}};
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{first, false}, {last, false}}));
}

TEST(Marking, CodeHoldsPointersAtAnyByte) {
  for (uintptr_t shift = 0; shift < 8; ++shift) {
    World world;
    uintptr_t block = world.block(40), at = world.root(0) + shift;
    world.root(0);
    std::memcpy(reinterpret_cast<void *>(at), &block, sizeof block);
    EXPECT_EQ(leaks_of(Scan(world)).empty(), shift == 0) << shift;
    world.code = {{at - shift, at + sizeof block}};
    EXPECT_TRUE(leaks_of(Scan(world)).empty()) << shift;
    world.code.back().end -= 3; // the last one is cut off
    EXPECT_EQ(leaks_of(Scan(world)).empty(), shift == 0) << shift;
  }
}

// A program that is linked to low addresses has its heap there, and instructions have room for four bytes of address.
TEST(Marking, CodeHoldsShortPointersToLowMemory) {
  void *low = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  ASSERT_NE(low, MAP_FAILED);
  World world;
  uintptr_t block = world.block_at(reinterpret_cast<uintptr_t>(low), 40);
  uintptr_t at = world.root(~uintptr_t{0}) + 3;
  std::memcpy(reinterpret_cast<void *>(at), &block, 4);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{block, false}}));
  world.code = {{at - 3, at + 5}};
  EXPECT_TRUE(leaks_of(Scan(world)).empty());
  munmap(low, 4096);
}

TEST(Marking, EveryWordOfEveryLengthIsLookedAt) {
  for (size_t words = 1; words <= 24; ++words) {
    World world;
    uintptr_t outer = world.rooted(words * 8);
    for (size_t i = 0; i < words; ++i) put(outer + i * 8, world.block(16));
    Scan scan(world);
    EXPECT_TRUE(scan.scanner.leaked_blocks().empty()) << words;
    EXPECT_EQ(scan.scanner.heap().blocks, words + 1);
  }
}

TEST(Marking, BlocksWithoutRoomForAPointerAreNotRead) {
  World world;
  uintptr_t lost = world.block(16), tiny = world.block(7, false), flagged = world.block(7, true);
  put(tiny, lost);
  uintptr_t found = world.block(16);
  put(flagged, found); // may be 16 bytes long: the map does not say
  world.root(tiny);
  world.root(flagged);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{lost, false}}));
}

TEST(Marking, LargeBlocksAreReadToTheirEnd) {
  World world(size_t{200} << 20);
  size_t size = size_t{150} << 20; // over three leaves
  uintptr_t large = world.block(size), far = world.block(32), next = world.block(16);
  put(large + size - 8, far);
  put(far, next);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{large, false}, {far, true}, {next, true}}));
  for (size_t offset : {size_t{0}, size_t{2000}, size / 2, size - 1}) {
    world.root_values = {large + offset};
    EXPECT_TRUE(leaks_of(Scan(world)).empty()) << offset;
  }
  world.root_values = {large + size};
  EXPECT_EQ(leaks_of(Scan(world)).size(), 3u);
}

TEST(Marking, ManyLargeBlocksAreToldApart) {
  World world(size_t{64} << 20);
  std::vector<uintptr_t> blocks;
  for (size_t i = 0; i < 1000; ++i) blocks.push_back(world.block(4000 + 16 * i));
  for (size_t i = 0; i < 1000; i += 2) world.root(blocks[i] + 3999);
  Leaks expected;
  for (size_t i = 1; i < 1000; i += 2) expected[blocks[i]] = false;
  EXPECT_EQ(leaks_of(Scan(world)), expected);
}

TEST(Marking, ABlockOverTheEdgeOfALeafIsOne) {
  World world(size_t{200} << 20);
  uintptr_t edge = (world.heap_range().begin + (uintptr_t{1} << 26)) & ~((uintptr_t{1} << 26) - 1);
  for (size_t size : {64, 1700, 9000}) {
    uintptr_t block = world.block_at(edge - 32, size);
    world.block_at(edge + 16384, 16);
    world.root_values = {edge + 31};
    EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{edge + 16384, false}})) << size;
    world.map->erase(block);
  }
}

// Pointers to all granules but the first of many blocks, before anything is read: more than a work list has room for.
TEST(Marking, ManyMorePointersIntoBlocksThanBlocks) {
  World world;
  constexpr size_t kSize = 1760, kStep = 1776; // a free granule behind each
  std::vector<uintptr_t> blocks, pointers;
  for (size_t i = 0; i < 500; ++i) blocks.push_back(world.block(kSize));
  for (uintptr_t block : blocks)
    for (size_t offset = 16; offset < kStep; offset += 16) pointers.push_back(block + offset + offset % 7);
  for (uintptr_t pointer : pointers) world.root(pointer);
  for (uintptr_t block : blocks) put(block + kSize - 8, world.block(32));
  uintptr_t lost = world.block(32);
  ASSERT_GT(pointers.size(), 2 * (2 * blocks.size() + 8192)); // the list's size, at the least
  for (size_t markers : {1, 3}) {
    Scan scan(world, markers);
    EXPECT_EQ(leaks_of(scan), (Leaks{{lost, false}})) << markers;
    size_t root_words = (world.roots[0].end - world.roots[0].begin) / 8;
    uint64_t once = root_words + 500 * (kSize / 8 + 4), of_lost = 2 * 4; // whom it points to, and what that keeps
    EXPECT_EQ(scan.scanner.work().words, once + of_lost) << "each block is read once";
  }
}

// Where the map has a stale block within another, both count.
TEST(Marking, OverlappingBlocksAreAllMarked) {
  World world;
  uintptr_t large = world.block(100000);
  uintptr_t stale = world.block_at(large + 50000 / 16 * 16, 64);
  uintptr_t behind = world.block(16);
  put(large + 99000, behind);
  world.root_values = {stale + 8};
  EXPECT_TRUE(leaks_of(Scan(world)).empty());
  world.root_values = {};
  EXPECT_EQ(leaks_of(Scan(world)).size(), 3u);
}

// ---- roots

TEST(Roots, ValuesOutsideOfMemoryCount) {
  World world;
  uintptr_t first = world.block(16), second = world.block(16), lost = world.block(16);
  world.root_values = {1, first, second + 15};
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{lost, false}}));
}

TEST(Roots, IgnoredBlocksAndWhatTheyReachAreLive) {
  World world;
  uintptr_t ignored = world.block(16, true), inner = world.block(16), lost = world.block(16, true);
  put(ignored, inner);
  world.notes = {{.begin = ignored, .size = 16, .ignored = true}, {.begin = lost, .size = 16}};
  Scan scan(world);
  EXPECT_EQ(leaks_of(scan), (Leaks{{lost, false}}));
  EXPECT_TRUE(scan.scanner.is_live(ignored));
  world.notes[0].ignored = false;
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{ignored, false}, {inner, true}, {lost, false}}));
}

TEST(Roots, AllMemoryOfARunningThreadCounts) {
  World world;
  Thread &thread = world.running();
  uintptr_t blocks[4];
  for (uintptr_t &block : blocks) block = world.block(16);
  put(thread.image.stack.begin, blocks[0]);
  put(thread.image.tls.end - 8, blocks[1]);
  put(thread.image.descriptor.begin + 16, blocks[2]);
  thread.registers = {0, 1, blocks[3]};
  Scan scan(world);
  EXPECT_TRUE(leaks_of(scan).empty());
  EXPECT_FALSE(scan.leaked(0));
  EXPECT_EQ(scan.reason(0), Reason::none);
  EXPECT_TRUE(scan.scanner.is_live(thread.image.stack.begin));
  EXPECT_TRUE(scan.scanner.is_live(thread.image.descriptor.begin));
}

TEST(Roots, MainIsLiveWhateverItWaitsFor) {
  World world;
  lost_waiter(world).image.is_main = true;
  put(world.threads[0].image.stack.begin, world.block(16));
  lost_waiter(world);
  Scan scan(world);
  EXPECT_FALSE(scan.leaked(0));
  EXPECT_TRUE(scan.leaked(1));
  EXPECT_TRUE(leaks_of(scan).empty());
}

} // namespace
} // namespace castaway
