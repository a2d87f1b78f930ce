// Long chains of waiters: each thread is live only because of the next one, the last because of the roots. The work is
// linear, and it is counted, not timed.
#include "tests/scanner_world.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

using testing::put;
using testing::Scan;
using testing::Thread;
using testing::waits_for;
using testing::World;

constexpr size_t kChain = 10000;

// Builds the chain by link(waiter, next one), scans it without and with the roots' pointer to its end.
template <typename Link> ScanWork work_of_chain(size_t length, Link link) {
  World world(size_t{64} << 20, length + 1);
  for (size_t i = 0; i < length; ++i) world.waiter(world.block(16));
  for (size_t i = 0; i + 1 < length; ++i) link(world.threads[i], world.threads[i + 1]);
  EXPECT_EQ(Scan(world).leaked_threads(), length);
  world.root(world.threads[length - 1].words[0].address);
  Scan scan(world);
  EXPECT_EQ(scan.leaked_threads(), 0u);
  return scan.scanner.work();
}

// `checks`: how often a wait may be looked at for each link.
template <typename Link> void expect_linear_chain(Link link, size_t checks = 5) {
  ScanWork half = work_of_chain(kChain / 2, link), whole = work_of_chain(kChain, link);
  EXPECT_LE(whole.wait_checks, checks * kChain);
  // Every word of thread memory and roots once, and of the words' blocks once.
  uint64_t least = kChain * (World::kStack + World::kTls + World::kDescriptor) / 8 + (1 << 20) / 8;
  EXPECT_GE(whole.words, least);
  EXPECT_LE(whole.words, least + kChain * 4);
  // Twice as long, twice the work, but for the roots' words.
  ScanWork more = work_of_chain(kChain / 2 * 3, link);
  EXPECT_EQ(more.words - whole.words, whole.words - half.words);
  EXPECT_EQ(more.wait_checks - whole.wait_checks, whole.wait_checks - half.wait_checks);
}

TEST(Chain, OfWordsInBlocks) {
  expect_linear_chain([](Thread &thread, Thread &next) { put(next.image.stack.begin, thread.words[0].address); });
}
TEST(Chain, OfWordsOnStacks) {
  expect_linear_chain([](Thread &thread, Thread &next) { thread.words[0].address = next.image.stack.begin + 8; });
}
TEST(Chain, OfWordsInDescriptors) {
  expect_linear_chain([](Thread &thread, Thread &next) { thread.words[0].address = next.image.descriptor.begin; });
}
TEST(Chain, OfMutexes) {
  expect_linear_chain([](Thread &thread, Thread &next) {
    thread.image.wait = WaitKind::mutex;
    thread.image.mutex_owner = next.image.tid;
  });
}
TEST(Chain, OfJoins) {
  expect_linear_chain([](Thread &thread, Thread &next) {
    thread.image.wait = WaitKind::join;
    thread.image.joined = next.image.tid;
  });
}

TEST(Chain, OfPointersInRegisters) {
  expect_linear_chain([](Thread &thread, Thread &next) { next.registers = {thread.words[0].address}; });
}
TEST(Chain, OfWordsInThreadLocalStorage) {
  expect_linear_chain([](Thread &thread, Thread &next) { thread.words[0].address = next.image.tls.begin + 8; });
}

// futex_waitv: many words that nobody reaches, and one that leads on.
TEST(Chain, OfSeveralWords) {
  constexpr size_t kWords = 8;
  auto link = [](Thread &thread, Thread &next) {
    WaitWord own = thread.words[0];
    thread.words.assign(kWords - 1, own);
    World::add_word(thread, next.image.stack.begin + 8);
  };
  expect_linear_chain(link, 2 * kWords + 3);
}

// Each link of another kind.
TEST(Chain, OfAllKinds) {
  size_t number = 0;
  auto link = [&number](Thread &thread, Thread &next) {
    switch (number++ % 6) {
    case 0:
      thread.image.wait = WaitKind::mutex, thread.image.mutex_owner = next.image.tid;
      return;
    case 1:
      thread.image.wait = WaitKind::join, thread.image.joined = next.image.tid;
      return;
    case 2:
      return put(next.image.tls.begin, thread.words[0].address + 5);
    case 3:
      thread.words[0].address = next.image.stack.begin + 16;
      return;
    case 4:
      thread.words[0].address = next.image.descriptor.begin;
      return;
    default:
      next.registers = {thread.words[0].address | uintptr_t{7} << 60};
    }
  };
  auto whole = [&](size_t length) {
    number = 0;
    return work_of_chain(length, link);
  };
  ScanWork one = whole(kChain / 2 / 6 * 6), two = whole(kChain / 2 / 6 * 12), three = whole(kChain / 2 / 6 * 18);
  EXPECT_EQ(three.words - two.words, two.words - one.words);
  EXPECT_EQ(three.wait_checks - two.wait_checks, two.wait_checks - one.wait_checks);
  EXPECT_LE(two.wait_checks, 5 * kChain);
}

TEST(Chain, ManyWaitersOnOneWordAndOneOwner) {
  World world(size_t{16} << 20, kChain + 1);
  uintptr_t word = world.block(16);
  for (size_t i = 0; i < kChain / 2; ++i) world.waiter(word);
  for (size_t i = 0; i < kChain / 2; ++i) waits_for(world, WaitKind::mutex, 101);
  EXPECT_EQ(Scan(world).leaked_threads(), kChain);
  world.root(word);
  Scan scan(world);
  EXPECT_EQ(scan.leaked_threads(), 0u);
  EXPECT_LE(scan.scanner.work().wait_checks, 5 * kChain);
}

} // namespace
} // namespace castaway
