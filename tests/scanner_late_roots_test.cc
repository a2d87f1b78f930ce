// Roots that are asked for late: only where what they hold could change something, and then they count like all others.
#include "scanner_world.h"

#include <gtest/gtest.h>

namespace castaway::testing {
namespace {

// A page of words, as shared memory is.
class Late final : public LateRoots {
public:
  explicit Late(World &world) { world.late_roots = this; }

  LateAnswer bring(std::span<const Range> &found) override {
    ++asked;
    if (answer == LateAnswer::brought) found = ranges_;
    return answer;
  }
  void point_at(uintptr_t value) { words_[used_++] = value; }

  int asked = 0;
  LateAnswer answer = LateAnswer::brought;

private:
  uintptr_t words_[512] = {};
  size_t used_ = 0;
  Range ranges_[1] = {{reinterpret_cast<uintptr_t>(words_), reinterpret_cast<uintptr_t>(words_ + 512)}};
};

// A block of 16 bytes that is a leak, and known to be for good.
uintptr_t settled_leak(World &world) {
  uintptr_t begin = world.block(16, true);
  world.notes.push_back({.begin = begin, .size = 16, .watched = true, .settled = true});
  return begin;
}

TEST(LateRoots, AreNotAskedForWhereAllIsReached) {
  World world;
  Late late(world);
  uintptr_t head = world.rooted(16), behind = world.block(100);
  put(head, behind);
  world.waiter(head);
  Scan scan(world);
  EXPECT_EQ(leaks_of(scan), Leaks());
  EXPECT_EQ(scan.leaked_threads(), 0u);
  EXPECT_EQ(late.asked, 0);
}

TEST(LateRoots, KeepWhatTheyReach) {
  for (size_t markers : {1, 2}) {
    World world;
    Late late(world);
    uintptr_t reached = world.block(16), behind = world.block(100), lost = world.block(16);
    put(reached, behind);
    late.point_at(reached);
    Scan scan(world, markers);
    EXPECT_EQ(leaks_of(scan), (Leaks{{lost, false}}));
    EXPECT_TRUE(scan.scanner.is_live(behind));
    EXPECT_EQ(late.asked, 1);
  }
}

TEST(LateRoots, AreNotAskedForAgainForLeaksThatAreSettled) {
  World world;
  Late late(world);
  uintptr_t first = settled_leak(world), second = settled_leak(world), third = settled_leak(world);
  put(first, second);
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{first, false}, {second, true}, {third, false}}));
  EXPECT_EQ(late.asked, 0);
}

TEST(LateRoots, AreAskedForForEachLeakThatIsNot) {
  for (size_t which = 0; which < 3; ++which) {
    World world;
    Late late(world);
    uintptr_t blocks[3];
    for (uintptr_t &block : blocks) block = settled_leak(world);
    late.point_at(blocks[which]);
    world.notes[which].settled = false; // reported, but not for good
    EXPECT_EQ(leaks_of(Scan(world)).count(blocks[which]), 0u);
    EXPECT_EQ(late.asked, 1);
    world.notes.erase(world.notes.begin() + static_cast<long>(which)); // nothing is known of it
    EXPECT_EQ(leaks_of(Scan(world)).count(blocks[which]), 0u);
    EXPECT_EQ(late.asked, 2);
  }
}

TEST(LateRoots, AreNotAskedForForTheLoadersBlocks) {
  World world;
  Late late(world);
  uintptr_t loader = world.block(16, true);
  world.notes = {{.begin = loader, .size = 16, .loader = true}};
  EXPECT_EQ(leaks_of(Scan(world)), Leaks());
  EXPECT_EQ(late.asked, 0);
  world.notes[0].loader = false;
  EXPECT_EQ(leaks_of(Scan(world)), (Leaks{{loader, false}}));
  EXPECT_EQ(late.asked, 1);
}

TEST(LateRoots, WakeWhoWaitsOnWhatTheyReach) {
  World world;
  Late late(world);
  Thread &woken = lost_waiter(world), &lost = lost_waiter(world);
  uintptr_t kept = world.block(16);
  put(woken.image.stack.begin + 16, kept);
  late.point_at(woken.words[0].address);
  for (uintptr_t word : {woken.words[0].address, lost.words[0].address})
    world.notes.push_back({.begin = word, .size = 16, .watched = true, .settled = true});
  Scan scan(world);
  EXPECT_FALSE(scan.leaked(0));
  EXPECT_TRUE(scan.leaked(1));
  EXPECT_TRUE(scan.scanner.is_live(kept));
  EXPECT_EQ(leaks_of(scan), Leaks()); // the leaked thread retains its word
  EXPECT_EQ(late.asked, 1);
}

TEST(LateRoots, KeepAllWhereTheyHidePointers) {
  World world;
  Late late(world);
  uintptr_t block = world.block(16);
  lost_waiter(world);
  late.answer = LateAnswer::hidden;
  Scan scan(world);
  EXPECT_EQ(leaks_of(scan), Leaks());
  EXPECT_EQ(scan.leaked_threads(), 0u);
  EXPECT_TRUE(scan.scanner.is_live(block));
}

// A block on which a thread waits that is live for another reason: nobody has reached it yet.
TEST(LateRoots, AreAskedForForABlockThatIsWaitedFor) {
  World world;
  Late late(world);
  uintptr_t waited = world.block(16), rooted = world.rooted(16);
  Thread &thread = world.waiter(rooted);
  World::add_word(thread, waited);
  late.point_at(waited);
  Scan scan(world);
  EXPECT_EQ(scan.leaked_threads(), 0u);
  EXPECT_EQ(leaks_of(scan), Leaks());
  EXPECT_EQ(late.asked, 1);
}

// What a scan says that could not look at its late roots: of each block only whether it is known, and for how long.
class WithoutLateRoots : public ::testing::Test {
protected:
  WithoutLateRoots() { late_.answer = LateAnswer::later; }

  World world_;
  Late late_{world_};
};

TEST_F(WithoutLateRoots, WhatIsNewIsNoLeak) {
  uintptr_t head = world_.block(16), behind = world_.block(100);
  put(head, behind);
  Scan scan(world_);
  EXPECT_EQ(leaks_of(scan), Leaks());
  EXPECT_TRUE(scan.scanner.in_doubt());
  EXPECT_EQ(late_.asked, 1);
  late_.answer = LateAnswer::brought;
  Scan later(world_);
  EXPECT_EQ(leaks_of(later), (Leaks{{head, false}, {behind, true}}));
  EXPECT_FALSE(later.scanner.in_doubt());
}

TEST_F(WithoutLateRoots, WhatWasFoundBeforeGoesOnOrWaits) {
  uintptr_t candidate = world_.block(16), confirmed = world_.block(16), indirect = world_.block(100);
  put(confirmed, indirect);
  world_.block(16); // new
  uintptr_t of_parent = settled_leak(world_), settled = settled_leak(world_);
  world_.past = {{.begin = candidate, .first_safepoint = 6, .first_in_doubt = 7},
                 {.begin = confirmed, .first_safepoint = 4, .first_in_doubt = 7},
                 {.begin = indirect, .first_safepoint = 5, .first_in_doubt = 8},
                 {.begin = settled, .first_safepoint = 6, .first_in_doubt = 7}};
  Scan scan(world_);
  EXPECT_TRUE(scan.scanner.in_doubt());
  EXPECT_EQ(leaks_of(scan),
            (Leaks{{candidate, false}, {confirmed, false}, {indirect, true}, {of_parent, false}, {settled, false}}));
  EXPECT_EQ(scan.leak(candidate)->first_safepoint, 7u);
  EXPECT_EQ(scan.leak(confirmed)->first_safepoint, 7u);
  EXPECT_EQ(scan.leak(indirect)->first_safepoint, 8u);
  EXPECT_EQ(scan.leak(of_parent)->first_safepoint, 7u);
  EXPECT_EQ(scan.leak(settled)->first_safepoint, 6u);
}

TEST_F(WithoutLateRoots, NothingIsInDoubtThatTheyCouldNotChange) {
  uintptr_t lost = settled_leak(world_);
  Scan scan(world_);
  EXPECT_EQ(leaks_of(scan), (Leaks{{lost, false}}));
  EXPECT_FALSE(scan.scanner.in_doubt());
  EXPECT_EQ(late_.asked, 0);
}

TEST_F(WithoutLateRoots, ALostThreadIsInDoubt) {
  lost_waiter(world_);
  Scan scan(world_);
  EXPECT_TRUE(scan.leaked(0)); // whoever knows of earlier safepoints tells what that means
  EXPECT_TRUE(scan.scanner.in_doubt());
}

} // namespace
} // namespace castaway::testing
