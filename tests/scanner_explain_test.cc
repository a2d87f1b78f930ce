// Explanations of verdicts: chains made by hand, and random worlds in which every link of every chain is checked.
#include "tests/scanner_world.h"

#include <gtest/gtest.h>
#include <random>

namespace castaway::testing {
namespace {

using Kinds = std::vector<LinkKind>;

Kinds kinds_of(std::span<const ChainLink> chain) {
  Kinds kinds;
  for (const ChainLink &link : chain) kinds.push_back(link.kind);
  return kinds;
}

std::span<const ChainLink> why(Scan &scan, uintptr_t address) { return scan.scanner.explain({address, 0}); }
std::span<const ChainLink> why_thread(Scan &scan, const Thread &thread) {
  return scan.scanner.explain({0, thread.image.tid});
}

TEST(Explain, BlockOfARoot) {
  World world;
  uintptr_t block = world.block(48), at = world.root(block + 20);
  Scan scan(world);
  auto chain = why(scan, block + 47);
  ASSERT_EQ(kinds_of(chain), (Kinds{LinkKind::block, LinkKind::in_root}));
  EXPECT_EQ(chain[0].begin, block);
  EXPECT_EQ(chain[0].size, 48u);
  EXPECT_EQ(chain[1].word, at);
}

TEST(Explain, TheShortestWayIsTold) {
  World world;
  uintptr_t list[6];
  for (uintptr_t &block : list) block = world.block(32);
  for (size_t i = 0; i + 1 < std::size(list); ++i) put(list[i] + 8, list[i + 1]);
  world.root(list[0]);
  world.root(list[3]);
  Scan scan(world);
  auto chain = why(scan, list[5]);
  ASSERT_EQ(kinds_of(chain), (Kinds{LinkKind::block, LinkKind::in_block, LinkKind::block, LinkKind::in_block,
                                    LinkKind::block, LinkKind::in_root}));
  EXPECT_EQ(chain[1].word, list[4] + 8);
  EXPECT_EQ(chain[2].begin, list[4]);
  EXPECT_EQ(chain[4].begin, list[3]);
}

TEST(Explain, WhatNothingHoldsIsSaidToBeLeaked) {
  World world;
  uintptr_t lost = world.block(32), inner = world.block(32, true);
  put(lost, inner);
  world.notes = {{.begin = inner, .size = 32, .stack = 77}};
  Scan scan(world);
  EXPECT_EQ(kinds_of(why(scan, lost)), (Kinds{LinkKind::block, LinkKind::nothing}));
  EXPECT_EQ(kinds_of(why(scan, inner)), (Kinds{LinkKind::block, LinkKind::nothing}));
  EXPECT_EQ(why(scan, inner)[0].stack, 77u);
}

TEST(Explain, WhatIsNoObjectIsSaidSo) {
  World world;
  world.rooted(16);
  Scan scan(world);
  EXPECT_EQ(kinds_of(why(scan, world.unknown_word())), (Kinds{LinkKind::nowhere}));
  EXPECT_EQ(kinds_of(scan.scanner.explain({0, 4711})), (Kinds{LinkKind::nowhere}));
  World empty;
  Scan nothing(empty);
  EXPECT_EQ(kinds_of(why(nothing, 4096)), (Kinds{LinkKind::nowhere}));
}

TEST(Explain, KernelAndDeclaredBlocks) {
  World world;
  uintptr_t kernels = world.block(16), declared = world.block(16, true), inner = world.block(16);
  put(declared, inner);
  world.root_values = {kernels};
  world.notes = {{.begin = declared, .size = 16, .ignored = true}};
  Scan scan(world);
  EXPECT_EQ(kinds_of(why(scan, kernels)), (Kinds{LinkKind::block, LinkKind::in_kernel}));
  EXPECT_EQ(kinds_of(why(scan, inner)),
            (Kinds{LinkKind::block, LinkKind::in_block, LinkKind::block, LinkKind::declared}));
}

TEST(Explain, CodeHoldsPointersAtAnyByte) {
  World world;
  uintptr_t block = world.block(16), at = world.root(0);
  world.root(0);
  put(at + 3, block);
  world.code = {{at, at + 16}};
  Scan scan(world);
  auto chain = why(scan, block);
  ASSERT_EQ(kinds_of(chain), (Kinds{LinkKind::block, LinkKind::in_root}));
  EXPECT_EQ(chain[1].word, at + 3);
}

TEST(Explain, HiddenPointersMayBeAnywhere) {
  World world;
  uintptr_t lost = world.block(16);
  Thread &waiter = world.waiter(lost);
  world.pointers_hidden = true;
  Scan scan(world);
  EXPECT_TRUE(scan.scanner.leaked_blocks().empty());
  EXPECT_EQ(kinds_of(why(scan, lost)), (Kinds{LinkKind::block, LinkKind::hidden}));
  EXPECT_EQ(kinds_of(why_thread(scan, waiter)),
            (Kinds{LinkKind::thread, LinkKind::lives, LinkKind::block, LinkKind::hidden}));
}

TEST(Explain, ThreadsAndWhyTheyLive) {
  World world;
  Thread &running = world.running();
  uintptr_t word = world.block(16), on_stack = world.block(64), in_register = world.block(64);
  put(running.image.stack.begin + 16, on_stack);
  running.registers = {in_register};
  put(on_stack + 8, word);
  Thread &waiter = world.waiter(word);
  uintptr_t kept = world.block(16);
  put(waiter.image.stack.begin, kept);
  Scan scan(world);
  EXPECT_EQ(kinds_of(why(scan, in_register)),
            (Kinds{LinkKind::block, LinkKind::in_thread, LinkKind::thread, LinkKind::lives}));
  EXPECT_EQ(why(scan, in_register)[1].word, 0u);
  auto chain = why(scan, kept);
  ASSERT_EQ(kinds_of(chain),
            (Kinds{LinkKind::block, LinkKind::in_thread, LinkKind::thread, LinkKind::lives, LinkKind::block,
                   LinkKind::in_block, LinkKind::block, LinkKind::in_thread, LinkKind::thread, LinkKind::lives}));
  EXPECT_EQ(chain[2].tid, waiter.image.tid);
  EXPECT_EQ(chain[3].cause, Cause::in_object);
  EXPECT_EQ(chain[3].word, word);
  EXPECT_EQ(chain[8].tid, running.image.tid);
  EXPECT_EQ(chain[9].cause, Cause::no_waiter);
}

TEST(Explain, LeakedThreadsComeLast) {
  World world;
  uintptr_t word = world.block(16);
  Thread &waiter = world.waiter(word);
  put(waiter.image.stack.begin, word);
  Scan scan(world);
  EXPECT_EQ(kinds_of(why(scan, word)),
            (Kinds{LinkKind::block, LinkKind::in_thread, LinkKind::thread, LinkKind::leaked}));
  EXPECT_EQ(kinds_of(why_thread(scan, waiter)), (Kinds{LinkKind::thread, LinkKind::leaked}));
  EXPECT_EQ(kinds_of(why(scan, waiter.image.tls.begin)), (Kinds{LinkKind::thread, LinkKind::leaked}));
}

TEST(Explain, OwnersMakeThreadsLive) {
  World world;
  Thread &owner = world.running();
  Thread &waiter = world.waiter(world.rooted(16), WaitKind::mutex);
  waiter.image.mutex_owner = owner.image.tid;
  Scan scan(world);
  auto chain = why_thread(scan, waiter);
  ASSERT_EQ(kinds_of(chain), (Kinds{LinkKind::thread, LinkKind::lives, LinkKind::thread, LinkKind::lives}));
  EXPECT_EQ(chain[1].cause, Cause::other_thread);
  EXPECT_EQ(chain[2].tid, owner.image.tid);
}

TEST(Explain, LongChainsAreCut) {
  World world;
  uintptr_t at = world.rooted(16);
  for (size_t i = 0; i < 2 * kMostLinks; ++i) {
    uintptr_t next = world.block(16);
    put(at, next);
    at = next;
  }
  Scan scan(world);
  auto chain = why(scan, at);
  EXPECT_EQ(chain.size(), kMostLinks);
  EXPECT_EQ(chain[0].begin, at);
}

TEST(Explain, WithoutMemoryThereIsNoAnswer) {
  World world;
  uintptr_t block = world.rooted(16);
  const Image &image = world.image();
  TestWorkspace measure;
  Scanner whole(image, measure);
  ASSERT_TRUE(whole.run());
  for (size_t tables = measure.tables(); tables < measure.tables() + 4; ++tables) {
    TestWorkspace workspace(tables);
    Scanner scanner(image, workspace);
    ASSERT_TRUE(scanner.run());
    auto chain = scanner.explain({block, 0});
    EXPECT_TRUE(chain.empty() || kinds_of(chain) == (Kinds{LinkKind::block, LinkKind::in_root}));
  }
}

// --- random worlds

struct RandomWorld {
  explicit RandomWorld(uint32_t seed) : random(seed) {
    for (size_t i = 0, count = below(40) + 1; i < count; ++i) blocks.push_back(world.block(16 * (below(6) + 1)));
    for (size_t i = 0, count = below(3); i < count; ++i) world.running();
    for (size_t i = 0, count = below(8); i < count; ++i) world.waiter(any_address() & ~uintptr_t{7});
    for (size_t i = 0, count = below(80); i < count; ++i) put(any_address() & ~uintptr_t{7}, any_address());
    for (size_t i = 0, count = below(4); i < count; ++i) world.root(any_address());
    for (Thread &thread : world.threads) { // as the words are now
      if (below(3) == 0) thread.registers = {any_address()};
      for (WaitWord &word : thread.words) std::memcpy(&word.expected, reinterpret_cast<void *>(word.address), 4);
    }
  }

  size_t below(size_t n) { return random() % n; }
  uintptr_t any_address() {
    if (!world.threads.empty() && below(4) == 0) {
      const ThreadImage &image = world.threads[below(world.threads.size())].image;
      const Range &range = below(2) ? image.stack : image.tls;
      return range.begin + below(range.size() - 8);
    }
    return blocks[below(blocks.size())] + below(16);
  }

  World world;
  std::vector<uintptr_t> blocks;
  std::mt19937 random;
};

// Follows a chain and checks what each link says against the memory.
class Checker {
public:
  explicit Checker(World &world) : image_(world.image()) {}

  // Whether the chain says that its subject is live.
  bool check(std::span<const ChainLink> chain) {
    bool live = true;
    for (const ChainLink &link : chain) {
      SCOPED_TRACE(static_cast<int>(link.kind));
      step(link);
      live = link.kind != LinkKind::nothing && link.kind != LinkKind::leaked;
    }
    return live;
  }

private:
  using Ranges = std::vector<Range>;

  void step(const ChainLink &link) {
    switch (link.kind) {
    case LinkKind::block:
      return become({{link.begin, link.begin + ((link.size + 15) & ~uint64_t{15})}});
    case LinkKind::thread:
      return become({thread(link.tid).stack, thread(link.tid).tls, thread(link.tid).descriptor});
    case LinkKind::in_block:
      return expect_pointer(link.word);
    case LinkKind::in_waiter:
      expect_pointer(link.word);
      return become({thread(link.tid).stack, thread(link.tid).tls});
    case LinkKind::in_thread:
      link.word ? expect_pointer(link.word) : expect_register(thread(link.tid));
      return become({});
    case LinkKind::in_root:
      EXPECT_TRUE(image_.roots[0].contains(link.word));
      return expect_pointer(link.word);
    case LinkKind::lives:
      subject_.clear();
      if (link.cause == Cause::in_object) must_contain_ = link.word;
      return;
    case LinkKind::nothing:
    case LinkKind::leaked:
      return;
    default:
      ADD_FAILURE();
    }
  }

  // The next subject: it holds the pointer that was told before.
  void become(Ranges ranges) {
    if (must_contain_ && !ranges.empty()) {
      EXPECT_TRUE(contains(ranges, must_contain_));
      must_contain_ = 0;
    }
    subject_ = std::move(ranges);
  }
  void expect_pointer(uintptr_t at) {
    uintptr_t value;
    std::memcpy(&value, reinterpret_cast<const void *>(at), sizeof value);
    EXPECT_TRUE(contains(subject_, value));
    must_contain_ = at;
    if (image_.roots[0].contains(at)) must_contain_ = 0;
  }
  void expect_register(const ThreadImage &thread) {
    EXPECT_TRUE(std::any_of(thread.registers.begin(), thread.registers.end(),
                            [&](uintptr_t value) { return contains(subject_, value); }));
  }
  static bool contains(const Ranges &ranges, uintptr_t address) {
    return std::any_of(ranges.begin(), ranges.end(), [&](const Range &range) { return range.contains(address); });
  }
  const ThreadImage &thread(int32_t tid) const {
    for (const ThreadImage &image : image_.threads)
      if (image.tid == tid) return image;
    abort();
  }

  const Image &image_;
  Ranges subject_;
  uintptr_t must_contain_ = 0;
};

TEST(Explain, EveryLinkOfRandomWorldsIsTrue) {
  constexpr uint32_t kWorlds = 200;
  size_t links = 0, live = 0, leaked = 0;
  for (uint32_t seed = 1; seed <= kWorlds && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomWorld made(seed);
    Scan scan(made.world);
    for (uintptr_t block : made.blocks) {
      auto chain = why(scan, block);
      ASSERT_FALSE(chain.empty());
      EXPECT_EQ(Checker(made.world).check(chain), scan.scanner.is_live(block));
      links += chain.size();
      ++(scan.scanner.is_live(block) ? live : leaked);
    }
    for (size_t i = 0; i < made.world.threads.size(); ++i)
      EXPECT_EQ(Checker(made.world).check(why_thread(scan, made.world.threads[i])), !scan.leaked(i));
  }
  EXPECT_GT(live, kWorlds);
  EXPECT_GT(leaked, kWorlds);
  EXPECT_GT(links, 3 * live);
}

} // namespace
} // namespace castaway::testing
