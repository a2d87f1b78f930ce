// The scanner's threads: each rule of which waits can still end, with its negative control.
#include "tests/scanner_world.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

using testing::leaks_of;
using testing::lost_waiter;
using testing::put;
using testing::Scan;
using testing::Thread;
using testing::waits_for;
using testing::World;

// ---- waits that can end

TEST(Waits, AWordThatNobodyReachesIsALeak) {
  World world;
  lost_waiter(world);
  Scan scan(world);
  EXPECT_TRUE(scan.leaked(0));
  EXPECT_FALSE(scan.scanner.is_stack_live(0));
  EXPECT_EQ(scan.reason(0), Reason::unreachable);
  world.root(world.threads[0].words[0].address + 3);
  Scan twin(world);
  EXPECT_FALSE(twin.leaked(0));
  EXPECT_EQ(twin.reason(0), Reason::none);
}

TEST(Waits, AWaiterThatWasWokenIsLive) {
  World world;
  lost_waiter(world).words[0].expected = 1; // it holds 0
  EXPECT_FALSE(Scan(world).leaked(0));
  Thread &mutex = lost_waiter(world, WaitKind::mutex);
  mutex.image.mutex_owner = 9999;
  EXPECT_TRUE(Scan(world).leaked(1));
  mutex.words[0].expected = 1;
  EXPECT_FALSE(Scan(world).leaked(1));
}

TEST(Waits, ASharedWordIsLive) {
  World world;
  lost_waiter(world, WaitKind::mutex).image.mutex_owner = 9999;
  EXPECT_TRUE(Scan(world).leaked(0));
  world.threads[0].words[0].shared = true;
  EXPECT_FALSE(Scan(world).leaked(0));
}

TEST(Waits, AWaiterWithoutWordsIsLive) {
  World world;
  lost_waiter(world).words.clear();
  EXPECT_FALSE(Scan(world).leaked(0));
}

TEST(Waits, AWordInRootsOrUnknownMemoryIsLive) {
  World world;
  world.waiter(world.root(0));
  world.waiter(world.unknown_word());
  Thread &running = world.running();
  world.waiter(running.image.stack.begin);
  world.waiter(running.image.descriptor.begin);
  EXPECT_EQ(Scan(world).leaked_threads(), 0u);
}

TEST(Waits, OneOfSeveralWordsIsEnough) {
  World world;
  Thread &thread = lost_waiter(world);
  uintptr_t second = world.block(16), third = world.block(16);
  World::add_word(thread, second);
  World::add_word(thread, third);
  EXPECT_TRUE(Scan(world).leaked(0));
  world.root_values = {second};
  EXPECT_FALSE(Scan(world).leaked(0));
  world.root_values = {third};
  EXPECT_FALSE(Scan(world).leaked(0));
}

TEST(Waits, AWordInABlockWithinTheRootsIsLive) {
  World world;
  world.block(64); // so that what is before the other one can be read, too
  uintptr_t block = world.block(16);
  world.waiter(block);
  EXPECT_TRUE(Scan(world).leaked(0));
  world.roots.push_back({block - 64, block + 64}); // after and below the other one
  EXPECT_FALSE(Scan(world).leaked(0));
  world.roots.back() = {block - 64, block};
  EXPECT_TRUE(Scan(world).leaked(0));
}

TEST(Waits, AStackBeginsAtAGranule) {
  World world;
  Thread &thread = lost_waiter(world);
  uintptr_t begin = thread.image.stack.begin + 64;
  thread.image.stack.begin = begin + 9;
  thread.words[0].address = begin + 32;
  world.root(begin);
  EXPECT_FALSE(Scan(world).leaked(0));
  world.roots.clear();
  world.root_values = {begin - 1};
  EXPECT_TRUE(Scan(world).leaked(0));
}

// The map can hold a block that is no more where there now is a stack.
TEST(Waits, AStaleBlockWithinAStackDoesNotHideIt) {
  World world;
  Thread &thread = lost_waiter(world);
  uintptr_t stack = world.block(64), stale = world.block(16);
  world.map->erase(stack);
  thread.image.stack = {stack, stale + 64};
  thread.words[0].address = stack;
  EXPECT_TRUE(Scan(world).leaked(0));
  world.root(stale);
  EXPECT_FALSE(Scan(world).leaked(0));
}

TEST(Waits, AWordInALargeBlockFollowsTheBlock) {
  World world;
  uintptr_t large = world.block(50000);
  world.waiter(large + 40000);
  EXPECT_TRUE(Scan(world).leaked(0));
  world.root(large + 10);
  EXPECT_FALSE(Scan(world).leaked(0));
}

TEST(Waits, AWordOnAWaitersStackFollowsPointersToTheStack) {
  for (bool tls : {false, true}) {
    World world;
    Thread &thread = lost_waiter(world);
    Range range = tls ? thread.image.tls : thread.image.stack;
    thread.words.clear();
    World::add_word(thread, range.begin + 16);
    Thread &other = world.waiter(range.begin + 24);
    put(thread.image.stack.begin, thread.image.stack.begin + 8); // its own frames do not count
    Scan scan(world);
    EXPECT_TRUE(scan.leaked(0) && scan.leaked(1));
    EXPECT_EQ(scan.reason(1), Reason::unreachable);
    world.root_values = {range.begin + 1};
    EXPECT_EQ(Scan(world).leaked_threads(), 0u);
    world.root_values = {range.end};
    EXPECT_EQ(Scan(world).leaked_threads(), 2u);
    world.root_values = {thread.image.descriptor.begin};
    EXPECT_EQ(Scan(world).leaked_threads(), 2u);
    (void)other;
  }
}

// A stack that live memory points into is read, but its thread may still wait for what nobody reaches.
TEST(Waits, AMarkedStackIsReadButItsThreadIsNotLive) {
  World world;
  Thread &thread = lost_waiter(world);
  uintptr_t word = thread.words[0].address, inner = world.block(16);
  put(thread.image.stack.begin + 8, inner);
  thread.registers = {word};
  world.root(thread.image.stack.begin + 40);
  Scan scan(world);
  EXPECT_TRUE(scan.leaked(0));
  EXPECT_TRUE(scan.scanner.is_live(inner));
  EXPECT_TRUE(scan.scanner.is_live(thread.image.stack.begin));
  EXPECT_TRUE(scan.scanner.is_stack_live(0));
  EXPECT_FALSE(scan.scanner.is_live(thread.image.tls.begin));
  EXPECT_FALSE(scan.scanner.is_live(thread.image.descriptor.begin));
  EXPECT_FALSE(scan.scanner.is_live(word));
  EXPECT_EQ(scan.scanner.verdicts()[0].retained_objects, 1u);
}

// The frames of a live thread hold words on which others wait.
TEST(Waits, ALiveWaitersStackIsReached) {
  World world;
  Thread &first = world.waiter(world.block(16));
  world.waiter(first.image.stack.begin + 8);
  world.waiter(world.threads[1].image.tls.begin);
  EXPECT_EQ(Scan(world).leaked_threads(), 3u);
  world.root(first.words[0].address);
  EXPECT_EQ(Scan(world).leaked_threads(), 0u);
}

TEST(Waits, AWordInADescriptorFollowsItsThread) {
  World world;
  Thread &first = lost_waiter(world);
  world.waiter(first.image.descriptor.begin + 8);
  world.root(first.image.descriptor.begin + 8);
  Scan scan(world);
  EXPECT_TRUE(scan.leaked(0) && scan.leaked(1));
  EXPECT_EQ(scan.reason(1), Reason::unreachable);
  world.root(first.words[0].address);
  EXPECT_EQ(Scan(world).leaked_threads(), 0u);
}

// The threads library wakes these itself (pthread_create, setuid), through lists that are no roots.
TEST(Waits, AWordInTheWaitersOwnDescriptorIsLive) {
  World world;
  Thread &thread = lost_waiter(world);
  thread.words.clear();
  World::add_word(thread, thread.image.descriptor.begin + 8);
  EXPECT_FALSE(Scan(world).leaked(0));
}

TEST(Waits, ALiveWaitersMemoryAndRegistersAreRoots) {
  World world;
  Thread &thread = world.waiter(world.block(16));
  uintptr_t blocks[4];
  for (uintptr_t &block : blocks) block = world.block(16);
  put(thread.image.stack.end - 8, blocks[0]);
  put(thread.image.tls.begin, blocks[1]);
  put(thread.image.descriptor.end - 8, blocks[2]);
  thread.registers = {blocks[3]};
  for (uintptr_t block : blocks) world.waiter(block);
  EXPECT_EQ(Scan(world).leaked_threads(), 5u);
  world.root(thread.words[0].address);
  Scan scan(world);
  EXPECT_EQ(scan.leaked_threads(), 0u);
  for (uintptr_t block : blocks) EXPECT_TRUE(scan.scanner.is_live(block));
}

TEST(Waits, ALeakedThreadKeepsNoOtherAlive) {
  World world;
  Thread &first = lost_waiter(world);
  Thread &second = lost_waiter(world);
  put(first.image.stack.begin, second.words[0].address);
  first.registers = {second.words[0].address};
  EXPECT_EQ(Scan(world).leaked_threads(), 2u);
}

// ---- mutexes and joins

class Edges : public ::testing::TestWithParam<WaitKind> {};
INSTANTIATE_TEST_SUITE_P(Scanner, Edges, ::testing::Values(WaitKind::mutex, WaitKind::join));

TEST_P(Edges, FollowTheOtherThread) {
  World world;
  waits_for(world, GetParam(), 102);
  Thread &owner = lost_waiter(world);
  Scan scan(world);
  EXPECT_TRUE(scan.leaked(0) && scan.leaked(1));
  EXPECT_EQ(scan.reason(0), Reason::behind);
  EXPECT_EQ(scan.reason(1), Reason::unreachable);
  EXPECT_FALSE(scan.certain(0) || scan.certain(1)); // memory could show that it ends
  world.root(owner.words[0].address);
  EXPECT_EQ(Scan(world).leaked_threads(), 0u);
  owner.image.is_waiter = false;
  EXPECT_EQ(Scan(world).leaked_threads(), 0u);
}

TEST_P(Edges, ThatFormACycleAreADeadlock) {
  World world;
  for (int32_t tid : {102, 103, 101}) waits_for(world, GetParam(), tid); // 101 -> 102 -> 103 -> 101
  waits_for(world, GetParam(), 102);                                     // leads to the cycle, is not on it
  waits_for(world, GetParam(), 104);
  Scan scan(world);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(scan.reason(i), Reason::deadlock) << i;
  EXPECT_EQ(scan.reason(3), Reason::behind);
  EXPECT_EQ(scan.reason(4), Reason::behind);
  for (size_t i = 0; i < 5; ++i) EXPECT_TRUE(scan.certain(i)) << i;
  EXPECT_TRUE(leaks_of(scan).empty());
  world.threads[1].image.is_main = true;
  EXPECT_EQ(Scan(world).leaked_threads(), 0u);
}

TEST_P(Edges, ToItselfAreADeadlock) {
  World world;
  waits_for(world, GetParam(), 101);
  EXPECT_EQ(Scan(world).reason(0), Reason::deadlock);
}

TEST_P(Edges, ReachedFromLaterThreadsFirst) {
  World world;
  waits_for(world, GetParam(), 103);
  waits_for(world, GetParam(), 103);
  waits_for(world, GetParam(), 104);
  waits_for(world, GetParam(), 103);
  Scan scan(world);
  EXPECT_EQ(scan.reason(0), Reason::behind);
  EXPECT_EQ(scan.reason(1), Reason::behind);
  EXPECT_EQ(scan.reason(2), Reason::deadlock);
  EXPECT_EQ(scan.reason(3), Reason::deadlock);
}

TEST(Mutex, OfAnOwnerThatHasExitedIsAbandoned) {
  World world;
  waits_for(world, WaitKind::mutex, 9999);
  waits_for(world, WaitKind::mutex, 101);
  Scan scan(world);
  EXPECT_EQ(scan.reason(0), Reason::abandoned);
  EXPECT_EQ(scan.reason(1), Reason::behind);
  EXPECT_TRUE(scan.certain(0) && scan.certain(1));
}

TEST(Mutex, WithoutAKnownOwnerIsAWordLikeOthers) {
  World world;
  waits_for(world, WaitKind::mutex, 0);
  lost_waiter(world, WaitKind::mutex);
  waits_for(world, WaitKind::cond, 0).image.mutex_owner = 9999; // means nothing there
  Scan scan(world);
  EXPECT_FALSE(scan.leaked(0));
  EXPECT_EQ(scan.reason(1), Reason::unreachable);
  EXPECT_FALSE(scan.leaked(2));
}

TEST(Join, OfAThreadThatHasExitedIsLive) {
  World world;
  lost_waiter(world, WaitKind::join).image.joined = 9999;
  EXPECT_FALSE(Scan(world).leaked(0));
  world.threads[0].image.joined = 0;
  EXPECT_TRUE(Scan(world).leaked(0));
}

// glibc's join has no FUTEX_PRIVATE_FLAG, although no other process is concerned.
TEST(Join, OfALeakedThreadIsBehindItThoughTheWordIsShared) {
  World world;
  Thread &worker = lost_waiter(world);
  Thread &joiner = world.waiter(worker.image.descriptor.begin, WaitKind::join);
  joiner.image.joined = worker.image.tid;
  joiner.words[0].shared = true;
  EXPECT_EQ(Scan(world).reason(1), Reason::behind);
  joiner.words[0].expected = 77;
  EXPECT_FALSE(Scan(world).leaked(1));
}

TEST(HiddenPointers, MayReachAllButNoOwner) {
  for (bool hidden : {false, true}) {
    World world;
    world.block(40);
    world.block(1 << 20);
    waits_for(world, WaitKind::mutex, 102);
    waits_for(world, WaitKind::mutex, 101);
    lost_waiter(world);
    world.waiter(world.threads[2].image.stack.begin + 64);
    world.pointers_hidden = hidden;
    Scan scan(world);
    EXPECT_EQ(scan.reason(0), Reason::deadlock);
    EXPECT_EQ(scan.reason(1), Reason::deadlock);
    EXPECT_EQ(scan.leaked(2), !hidden);
    EXPECT_EQ(scan.leaked(3), !hidden);
    EXPECT_EQ(leaks_of(scan).empty(), hidden);
  }
}

} // namespace
} // namespace castaway
