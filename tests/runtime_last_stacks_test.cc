// Which slot a thread gets for its last stack, and who may use it when.
#include "runtime/last_stacks.h"

#include <gtest/gtest.h>
#include <set>
#include <thread>
#include <vector>

namespace castaway {
namespace {

uintptr_t thread_number(size_t i) { return 0x7f00'0000'0000 + i * 0x80'1000; }

class LastStacks : public ::testing::Test {
protected:
  ~LastStacks() override { last_stacks::forget_others(nullptr); }
};

TEST_F(LastStacks, EachThreadHasASlotOfItsOwnAsLongAsThereAreAny) {
  std::set<LastRecorded *> owned;
  for (size_t i = 1; i <= last_stacks::kOwned; ++i) {
    LastRecorded &slot = last_stacks::claim(thread_number(i));
    EXPECT_FALSE(slot.shared);
    owned.insert(&slot);
  }
  EXPECT_EQ(owned.size(), last_stacks::kOwned);
  std::set<LastRecorded *> shared;
  for (size_t i = 1; i <= 1000; ++i) {
    LastRecorded &slot = last_stacks::claim(thread_number(last_stacks::kOwned + i));
    EXPECT_TRUE(slot.shared);
    EXPECT_FALSE(owned.contains(&slot));
    shared.insert(&slot);
  }
  EXPECT_EQ(shared.size(), last_stacks::kShared);
}

TEST_F(LastStacks, ThreadsThatClaimTogetherGetDifferentOnes) {
  constexpr size_t kEach = last_stacks::kOwned / 4;
  std::vector<LastRecorded *> slots(last_stacks::kOwned);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < 4; ++thread)
    threads.emplace_back([&slots, thread] {
      for (size_t i = 0; i < kEach; ++i)
        slots[thread * kEach + i] = &last_stacks::claim(thread_number(i * 4 + thread + 1));
    });
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(std::set(slots.begin(), slots.end()).size(), slots.size());
}

TEST_F(LastStacks, AThreadInTheSamePlaceGetsTheSlotOfTheOneBefore) {
  LastRecorded &slot = last_stacks::claim(thread_number(1));
  ASSERT_TRUE(last_stacks::enter(slot, thread_number(1))); // and it ended there
  slot.stacks[0].count = 5;
  LastRecorded &again = last_stacks::claim(thread_number(1));
  EXPECT_EQ(&again, &slot);
  EXPECT_EQ(slot.stacks[0].count, 0u);
  EXPECT_TRUE(last_stacks::enter(slot, thread_number(1)));
}

// As a signal handler that allocates finds it.
TEST_F(LastStacks, ASlotInUseIsNotEnteredAgain) {
  LastRecorded &slot = last_stacks::claim(thread_number(1));
  EXPECT_TRUE(last_stacks::enter(slot, thread_number(1)));
  EXPECT_FALSE(last_stacks::enter(slot, thread_number(1)));
  last_stacks::leave(slot);
  EXPECT_TRUE(last_stacks::enter(slot, thread_number(1)));
}

TEST_F(LastStacks, WhoEntersASharedSlotDoesNotFindAnothersStack) {
  for (size_t i = 1; i <= last_stacks::kOwned; ++i) last_stacks::claim(thread_number(i));
  LastRecorded &slot = last_stacks::claim(thread_number(1000));
  ASSERT_TRUE(last_stacks::enter(slot, 1));
  EXPECT_FALSE(last_stacks::enter(slot, 2));
  slot.stacks[0].count = 5;
  last_stacks::leave(slot);
  ASSERT_TRUE(last_stacks::enter(slot, 1));
  EXPECT_EQ(slot.stacks[0].count, 5u);
  last_stacks::leave(slot);
  ASSERT_TRUE(last_stacks::enter(slot, 2));
  EXPECT_EQ(slot.stacks[0].count, 0u);
}

TEST_F(LastStacks, TheChildOfAForkHasOnlyTheSlotOfTheThreadThatForked) {
  LastRecorded &own = last_stacks::claim(thread_number(1));
  for (size_t i = 2; i <= last_stacks::kOwned; ++i) last_stacks::claim(thread_number(i));
  LastRecorded &shared = last_stacks::claim(thread_number(1000));
  ASSERT_TRUE(last_stacks::enter(own, thread_number(1))); // interrupted by the handler that forks
  ASSERT_TRUE(last_stacks::enter(shared, thread_number(1000)));
  last_stacks::forget_others(&own);
  EXPECT_FALSE(last_stacks::enter(own, thread_number(1)));
  EXPECT_TRUE(last_stacks::enter(shared, thread_number(1000)));
  for (size_t i = 2; i <= last_stacks::kOwned; ++i) {
    LastRecorded &slot = last_stacks::claim(thread_number(2000 + i));
    EXPECT_FALSE(slot.shared);
    EXPECT_NE(&slot, &own);
  }
}

} // namespace
} // namespace castaway
