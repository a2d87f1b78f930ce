// Scouts: a thin chain of pointers is followed from many places at once, and what is found live and leaked is what the
// pointers say, whatever else lies among the blocks. That scouts have found something is asserted too: all of it would
// be found without them as well, only later.
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
using testing::Thread;
using testing::World;

constexpr size_t kLong = 30'000, kBytes = 64;

// Blocks, and pointers between them that the test knows as well.
class Graph {
public:
  // Blocks of so many bytes, in the order of addresses.
  std::vector<size_t> add(size_t count, size_t bytes = kBytes) {
    std::vector<size_t> added;
    for (size_t i = 0; i < count; ++i) added.push_back(note(world.block(bytes)));
    return added;
  }
  // Blocks far behind all others.
  std::vector<size_t> add_far(size_t count, size_t bytes = kBytes) {
    std::vector<size_t> added;
    for (size_t i = 0; i < count; ++i) added.push_back(note(world.block_at(far_ -= 80, bytes)));
    return added;
  }
  // Leaves so much room before the next of these.
  void skip_far(size_t bytes) { far_ -= bytes; }
  // In random order.
  std::vector<size_t> add_shuffled(size_t count, size_t bytes = kBytes) {
    std::vector<size_t> added = add(count, bytes);
    std::shuffle(added.begin(), added.end(), random);
    return added;
  }
  // `from` points to `to`, or to so many bytes behind its beginning, in a word of its own.
  void link(size_t from, size_t to, size_t offset = 0, uintptr_t tag = 0) {
    put(blocks_[from] + 8 * edges_[from].size(), (blocks_[to] + offset) | tag);
    edges_[from].push_back(to);
  }
  void link_all(const std::vector<size_t> &list) {
    for (size_t i = 0; i + 1 < list.size(); ++i) link(list[i], list[i + 1]);
  }
  void root(size_t block) {
    world.root(blocks_[block]);
    rooted_.push_back(block);
  }
  uintptr_t at(size_t block) const { return blocks_[block]; }

  std::set<uintptr_t> unreached() const {
    std::vector<bool> met(blocks_.size());
    std::vector<size_t> work = rooted_;
    while (!work.empty()) {
      size_t block = work.back();
      work.pop_back();
      if (met[block]) continue;
      met[block] = true;
      work.insert(work.end(), edges_[block].begin(), edges_[block].end());
    }
    std::set<uintptr_t> found;
    for (size_t i = 0; i < blocks_.size(); ++i)
      if (!met[i]) found.insert(blocks_[i]);
    return found;
  }

  World world{size_t{512} << 20};
  std::mt19937_64 random{1};

private:
  size_t note(uintptr_t block) {
    blocks_.push_back(block);
    edges_.emplace_back();
    return blocks_.size() - 1;
  }

  uintptr_t far_ = world.heap_range().end;
  std::vector<uintptr_t> blocks_;
  std::vector<std::vector<size_t>> edges_;
  std::vector<size_t> rooted_;
};

// Returns how many blocks scouts have found.
uint64_t expect_exact(Graph &graph, size_t markers = 1) {
  Scan scan(graph.world, markers);
  EXPECT_TRUE(scan.complete);
  std::set<uintptr_t> leaked;
  for (const auto &[begin, indirect] : leaks_of(scan)) leaked.insert(begin);
  EXPECT_EQ(leaked, graph.unreached());
  return scan.scanner.work().scouted;
}

// The same, where scouts have to have found more than `least` blocks. With several markers they may come late: the one
// with the list asks whether the others wait, and these may not even have begun.
void expect_scouted(Graph &graph, size_t markers, uint64_t least) {
  uint64_t scouted = expect_exact(graph, markers);
  EXPECT_LE(scouted, kLong);
  if (markers == 1) {
    EXPECT_GT(scouted, least);
  }
}

class Lists : public ::testing::TestWithParam<size_t> {}; // by so many markers

TEST_P(Lists, InAnyOrderAreFoundByScouts) {
  for (bool shuffled : {true, false}) {
    Graph graph;
    std::vector<size_t> list = shuffled ? graph.add_shuffled(kLong) : graph.add(kLong);
    graph.link_all(list);
    graph.root(list[0]);
    expect_scouted(graph, GetParam(), kLong / 4 * 3);
  }
}

// All that is counted is counted once.
TEST_P(Lists, AreCountedAsTheyAreWithoutScouts) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong);
  graph.link_all(list);
  graph.root(list[0]);
  Scan with(graph.world, GetParam());
  constexpr uint64_t kRootWords = (1 << 20) / 8;
  EXPECT_EQ(with.scanner.work().words, kRootWords + kLong * kBytes / 8);
}

// Some heads lie in what is leaked: what was explored from there must not count as live.
TEST_P(Lists, BesideLeakedOnesOfTheSameLength) {
  for (size_t lost : {1, 100, 5'000, 60'000}) {
    Graph graph;
    std::vector<size_t> all = graph.add_shuffled(kLong + lost);
    std::vector<size_t> list(all.begin(), all.begin() + kLong), leaked(all.begin() + kLong, all.end());
    graph.link_all(list);
    graph.link_all(leaked);
    graph.root(list[0]);
    expect_exact(graph, GetParam());
  }
}

// What is leaked points into the list: that makes nothing of the list leaked, and nothing of the other live.
TEST_P(Lists, ToWhichLeakedOnesPoint) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong), leaked = graph.add_shuffled(1'000);
  graph.link_all(list);
  for (size_t block : leaked) graph.link(block, list[graph.random() % kLong]);
  graph.root(list[0]);
  expect_exact(graph, GetParam());
}

// The list ends where something is only reached from there.
TEST_P(Lists, WithAllElseBehindTheirLastBlock) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong), tree = graph.add_shuffled(10'000);
  graph.link_all(list);
  graph.link(list.back(), tree[0]);
  for (size_t i = 1; i < tree.size(); ++i) graph.link(tree[(i - 1) / 2], tree[i]);
  graph.root(list[0]);
  expect_exact(graph, GetParam());
}

// One block is like all others, but what follows stands where these point to something else, and the other way round.
// It is wherever the list is learnt from, and elsewhere.
TEST_P(Lists, WithABlockThatIsTurnedRound) {
  for (size_t turned = 2'030; turned < 2'110; turned += 5) {
    Graph graph;
    std::vector<size_t> list = graph.add_shuffled(kLong), aside = graph.add(1), known = graph.add(1, 16);
    for (size_t i = 0; i + 1 < kLong; ++i) {
      graph.link(list[i], i == turned ? list[i + 1] : known[0]);
      graph.link(list[i], i == turned ? aside[0] : list[i + 1]);
    }
    graph.root(known[0]);
    graph.root(list[0]);
    expect_exact(graph, GetParam());
    ASSERT_FALSE(HasFailure()) << turned;
  }
}

// Far from the list lie some blocks as long as the list's, and lead on somewhere. Mostly no scout begins there.
TEST_P(Lists, WithLikeBlocksAside) {
  uint64_t scouted = 0;
  for (int round = 0; round < 8; ++round) {
    Graph graph;
    std::vector<size_t> list = graph.add_shuffled(kLong);
    graph.skip_far(static_cast<size_t>(round) * 80 * 16411);
    std::vector<size_t> aside = graph.add_far(300), behind = graph.add_far(300, 16);
    graph.link_all(list);
    for (size_t i = 0; i < aside.size(); ++i) {
      graph.link(list[3'000 + 80 * i], aside[i]);
      graph.link(aside[i], behind[i]);
    }
    graph.root(list[0]);
    scouted = std::max(scouted, expect_exact(graph, GetParam()));
  }
  EXPECT_TRUE(GetParam() > 1 || scouted > kLong / 2) << scouted;
}

TEST_P(Lists, WithPayloadsLinkedBothWaysWithTagsAndIntoTheMiddle) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong), payloads = graph.add_shuffled(kLong, 40);
  for (size_t i = 0; i < kLong; ++i) {
    if (i + 1 < kLong) graph.link(list[i], list[i + 1], i % 3 ? 0 : 24, uintptr_t{i % 5} << 60);
    if (i > 0) graph.link(list[i], list[i - 1]);
    graph.link(list[i], payloads[i], i % 40);
  }
  graph.root(list[0]);
  expect_scouted(graph, GetParam(), kLong / 2);
}

// As intrusive lists have it: each pointer leads into the middle of the next block.
TEST_P(Lists, WhosePointersLeadIntoTheMiddle) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong, 200);
  for (size_t i = 0; i + 1 < kLong; ++i) graph.link(list[i], list[i + 1], 120);
  graph.root(list[0]);
  expect_scouted(graph, GetParam(), kLong / 2);
}

// The heap map tells blocks with a recorded stack from others: they are no others to a list.
TEST_P(Lists, WithFlaggedBlocks) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong);
  graph.link_all(list);
  graph.root(list[0]);
  for (size_t i = 0; i < kLong; i += 100) graph.world.map->insert(graph.at(list[i]), kBytes, true);
  expect_scouted(graph, GetParam(), kLong / 2);
}

TEST_P(Lists, ThatEndInARing) {
  for (size_t back : {size_t{1}, kLong / 2, kLong - 1}) {
    Graph graph;
    std::vector<size_t> list = graph.add_shuffled(kLong), lost = graph.add_shuffled(50);
    graph.link_all(list);
    graph.link(list.back(), list[kLong - back]);
    graph.link_all(lost);
    graph.link(lost.back(), lost[0]);
    graph.root(list[0]);
    expect_exact(graph, GetParam());
  }
}

// One chain of blocks after the other, until the last one comes to a head that was reached long ago.
TEST_P(Lists, ThatComeBackToAHead) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(5'000);
  graph.link_all(list);
  graph.root(list[0]);
  for (size_t i = 2'500; i < 5'000; i += 7) {
    put(graph.at(list.back()), graph.at(list[i]));
    EXPECT_TRUE(leaks_of(Scan(graph.world, GetParam())).empty()) << i;
  }
}

TEST_P(Lists, WithLargeBlocks) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong), large = graph.add(kLong, 4'000), behind = graph.add(kLong, 40);
  graph.link_all(list);
  for (size_t i = 0; i < kLong; ++i) {
    graph.link(list[i], large[i], i % 2 ? 0 : 3'900);
    graph.link(large[i], behind[i]);
  }
  graph.root(list[0]);
  expect_scouted(graph, GetParam(), kLong / 2);
}

TEST_P(Lists, ThatAreWideInBetween) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong), nodes = graph.add(40, 1'600), leaves = graph.add(4'000);
  graph.link_all(list);
  graph.link(list[kLong / 2], nodes[0]);
  graph.link_all(nodes);
  for (size_t i = 0; i < leaves.size(); ++i) graph.link(nodes[i / 150], leaves[i]);
  graph.root(list[0]);
  expect_exact(graph, GetParam());
}

// Somebody waits for blocks of the list: he is live, and so is what only he holds.
TEST_P(Lists, OnWhichThreadsWait) {
  Graph graph;
  graph.root(graph.add(1, size_t{64} << 20)[0]); // the leaf in which the threads lie as well
  std::vector<size_t> list = graph.add_shuffled(kLong), lost = graph.add_shuffled(100, 48), held = graph.add(4, 48);
  graph.link_all(list);
  graph.root(list[0]);
  for (size_t i = 0; i < 4; ++i) {
    Thread &thread = graph.world.waiter(graph.at(i < 3 ? list[kLong / 4 * (i + 1)] : lost[0]) + 32);
    put(thread.image.stack.begin + 8, graph.at(held[i]));
  }
  Scan scan(graph.world, GetParam());
  if (GetParam() == 1) {
    EXPECT_GT(scan.scanner.work().scouted, kLong / 2);
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(scan.leaked(i), i == 3) << i;
  std::set<uintptr_t> leaked, expected;
  for (const auto &[begin, indirect] : leaks_of(scan)) leaked.insert(begin);
  for (size_t block : lost) expected.insert(graph.at(block));
  EXPECT_EQ(leaked, expected) << "what the leaked thread holds is retained, not leaked";
}

// Lists, rings, trees and strays of any sizes that point to each other anywhere.
TEST_P(Lists, AmongAnythingElse) {
  for (int round = 0; round < 12; ++round) {
    Graph graph;
    graph.random.seed(static_cast<uint64_t>(round));
    std::vector<size_t> all;
    for (int part = 0; part < 6; ++part) {
      std::vector<size_t> list = graph.add_shuffled(1 + graph.random() % 20'000, graph.random() % 3 ? kBytes : 48);
      graph.link_all(list);
      if (graph.random() % 2) graph.link(list.back(), list[graph.random() % list.size()]);
      if (!all.empty() && graph.random() % 2) graph.link(all[graph.random() % all.size()], list[0]);
      if (graph.random() % 4 == 0 || part == 0) graph.root(list[graph.random() % list.size()]);
      all.insert(all.end(), list.begin(), list.end());
    }
    size_t across = graph.random() % 3 ? graph.random() % 10 : 2'000;
    for (size_t i = 0; i < across; ++i) graph.link(all[i], all[graph.random() % all.size()]);
    expect_exact(graph, GetParam());
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
}

INSTANTIATE_TEST_SUITE_P(, Lists, ::testing::Values(1, 2),
                         [](const auto &markers) { return std::to_string(markers.param) + "_markers"; });

// Whoever of several markers comes to the list leaves it to the one who goes on alone.
TEST(Scouts, AreSentByOneMarkerForAll) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong);
  graph.link_all(list);
  graph.root(list[0]);
  uint64_t most = 0;
  for (int i = 0; i < 50; ++i) most = std::max(most, expect_exact(graph, 8));
  EXPECT_GT(most, kLong / 2);
}

TEST(Scouts, AreNotNeededForShortLists) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(1'000);
  graph.link_all(list);
  graph.root(list[0]);
  EXPECT_EQ(expect_exact(graph), 0u);
}

// Without memory for their tables the marker goes on as it did.
TEST(Scouts, AreDoneWithoutWhereMemoryIsShort) {
  Graph graph;
  std::vector<size_t> list = graph.add_shuffled(kLong);
  graph.link_all(list);
  graph.root(list[0]);
  Scan whole(graph.world);
  ASSERT_GT(whole.scanner.work().scouted, 0u);
  size_t tables = whole.workspace.tables();
  for (size_t less = 1; less <= 8; ++less) {
    testing::TestWorkspace workspace(tables - less);
    Scanner scanner(graph.world.image(), workspace);
    if (scanner.run()) {
      EXPECT_TRUE(scanner.leaked_blocks().empty());
    }
  }
}

} // namespace
} // namespace castaway
