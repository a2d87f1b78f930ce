// What the scanner reaches against what Boehm's collector reaches: the same blocks, the same roots, the same words.
//
//   CASTAWAY_SEEDS=FIRST:COUNT   other graphs, or more of them
//
// Both are conservative, and they differ by policy. Castaway knows the exact length of a block and whether it was
// freed, and takes tags off the top 16 bits. To Boehm a block is a slot of its allocator, which is longer than asked
// for by a byte at least: a pointer to anywhere in it counts, and all its words but the last are read. A freed one is
// memory like any other. So each graph is compared twice, in memory that says to the one in its own terms what the raw
// memory says to the other: that is what `translate` does, and all that they may differ in.
#include "tests/boehm_heap.h"
#include "tests/heap_graph.h"
#include "tests/scanner_world.h"
#include "tests/seeds.h"
#include "tests/shrink.h"

#include <algorithm>
#include <cstdio>
#include <gtest/gtest.h>
#include <set>
#include <string_view>

namespace castaway::testing {
namespace {

// What the words of memory say: as they were written; in castaway's reading, put so that Boehm reads the same; in
// Boehm's reading, put so that castaway does.
enum class Reading { raw, castaways, boehms };

class HeapWorld {
public:
  explicit HeapWorld(const HeapGraph &graph) : graph_(graph) {
    for (bool late : {false, true}) {
      for_each<HeapBlock>([&](const HeapBlock &fact) {
        if (fact.late == late) add(fact);
      });
      for (auto &[begin, block] : blocks_)
        if (block.fact.freed && !late) boehm::release(begin);
    }
    for (auto &[begin, block] : blocks_)
      if (!block.fact.freed) in_use_.push_back(begin);
  }

  // The collector takes it that freed memory is zero but for its first word.
  ~HeapWorld() {
    for (uintptr_t at : stale_) put(at, 0);
  }
  HeapWorld(const HeapWorld &) = delete;
  HeapWorld &operator=(const HeapWorld &) = delete;

  void write(Reading reading, bool stale) {
    std::set<uintptr_t> words;
    std::memset(reinterpret_cast<void *>(boehm::roots().begin), 0, boehm::roots().size());
    for_each<HeapPointer>([&](const HeapPointer &fact) { write(fact, stale, words); });
    if (reading == Reading::raw) return;
    for (uintptr_t at : words) {
      uintptr_t value;
      std::memcpy(&value, reinterpret_cast<void *>(at), sizeof value);
      put(at, translate(reading, at, value));
    }
  }

  std::set<int> reached_by_castaway(Reading reading) {
    Range root = boehm::roots();
    TestHeapMap map;
    for (auto &[begin, block] : blocks_)
      if (size_t size = size_in(reading, block)) map->insert(begin, size);
    Image image;
    image.heap = map.get();
    image.roots = {&root, 1};
    TestWorkspace workspace;
    Scanner scanner(image, workspace);
    if (!scanner.run()) abort();
    std::set<int> reached;
    for (auto &[begin, block] : blocks_)
      if (!block.fact.freed && scanner.is_live(begin)) reached.insert(block.fact.block);
    return reached;
  }

  // Ends the life of all others.
  std::set<int> reached_by_boehm() {
    std::set<int> reached;
    std::set<uintptr_t> survivors = boehm::collect(in_use_);
    in_use_.assign(survivors.begin(), survivors.end());
    for (uintptr_t begin : survivors) reached.insert(blocks_.at(begin).fact.block);
    return reached;
  }

  size_t blocks() const { return places_.size(); }

private:
  struct Block {
    HeapBlock fact;
    size_t slot;
  };

  template <typename Wanted, typename Visit> void for_each(Visit visit) {
    for (const HeapFact &fact : graph_)
      if (auto *wanted = std::get_if<Wanted>(&fact)) visit(*wanted);
  }

  void add(const HeapBlock &fact) {
    if (places_.count(fact.block)) return;
    uintptr_t begin = boehm::allocate(fact.size);
    places_[fact.block] = begin;
    blocks_[begin] = {fact, boehm::slot_size(begin)}; // in the place of a freed one, maybe
  }

  // The block whose slot this address is in.
  const std::pair<const uintptr_t, Block> *block_at(uintptr_t address) const {
    auto next = blocks_.upper_bound(address);
    if (next == blocks_.begin()) return nullptr;
    auto &found = *std::prev(next);
    return address < found.first + found.second.slot ? &found : nullptr;
  }

  // Freed slots keep their first word, which is Boehm's. What leads to nobody's slot is left out: memory there is not
  // ours to know.
  void write(const HeapPointer &fact, bool stale, std::set<uintptr_t> &words) {
    auto to = places_.find(fact.to), in = places_.find(fact.in);
    if (to == places_.end() || !block_at(to->second + fact.offset)) return;
    uintptr_t begin = boehm::roots().begin, size = boehm::roots().size(), first = 0;
    if (fact.in != kRoots) {
      if (in == places_.end()) return;
      begin = in->second, size = blocks_.at(begin).slot, first = blocks_.at(begin).fact.freed ? sizeof(uintptr_t) : 0;
    }
    if (first && !stale) return;
    if (fact.at < first || fact.at + sizeof(uintptr_t) > size) return;
    put(begin + fact.at, (to->second + fact.offset) | static_cast<uintptr_t>(fact.tag) << 48);
    for (size_t byte : {size_t{0}, sizeof(uintptr_t) - 1}) {
      uintptr_t word = (begin + fact.at + byte) & ~uintptr_t{7};
      words.insert(word);
      if (first) stale_.insert(word);
    }
  }

  static size_t size_in(Reading reading, const Block &block) {
    if (block.fact.freed) return 0;
    return reading == Reading::boehms ? block.slot - sizeof(uintptr_t) : block.fact.size;
  }

  // The policies. castaways: no word of a freed block counts, nor one that reaches over a block's end; a tag comes off;
  // what leads behind a block's last granule, or into a freed one, leads nowhere. boehms: a tagged word is no pointer,
  // and all of a slot is the block.
  uintptr_t translate(Reading reading, uintptr_t at, uintptr_t value) const {
    if (reading == Reading::boehms) return block_at(value) ? block_at(value)->first : 0;
    const auto *holder = block_at(at);
    if (holder && (holder->second.fact.freed || at + sizeof value > holder->first + holder->second.fact.size)) return 0;
    uintptr_t address = value & 0xffff'ffff'ffff;
    const auto *target = block_at(address);
    if (!target || target->second.fact.freed) return 0;
    return address < ::castaway::Block{target->first, target->second.fact.size}.granule_end() ? address : 0;
  }

  const HeapGraph &graph_;
  std::map<int, uintptr_t> places_;
  std::map<uintptr_t, Block> blocks_;
  std::vector<uintptr_t> in_use_;
  std::set<uintptr_t> stale_; // words in freed slots
};

struct Reached {
  std::set<int> by_castaway, by_boehm;
  size_t blocks;
  bool agree() const { return by_castaway == by_boehm; }
};

// With these readings of the same memory, behind so many blocks that nobody reaches. Without roots nothing may be left.
Reached reach_once(const HeapGraph &graph, Reading for_castaway, Reading for_boehm, size_t garbage) {
  for (size_t i = 0; i < garbage; ++i) boehm::allocate(i % 64 * 24 + 8);
  HeapWorld world(graph);
  bool stale = for_castaway == Reading::raw;
  world.write(for_castaway, stale);
  Reached reached{world.reached_by_castaway(for_castaway), {}, world.blocks()};
  world.write(for_boehm, stale);
  reached.by_boehm = world.reached_by_boehm();
  std::memset(reinterpret_cast<void *>(boehm::roots().begin), 0, boehm::roots().size());
  // Its own sweep leaves pointers on the stack, which at first it takes for roots.
  for (int i = 0; i < 3 && !world.reached_by_boehm().empty(); ++i) {
  }
  EXPECT_TRUE(world.reached_by_boehm().empty()) << "Boehm has other roots than ours";
  return reached;
}

// The collector's own frames are roots that cannot be taken away: once in some thousand graphs a stale word there makes
// it reach more than it should. That does not happen again where the blocks lie elsewhere; what is in the graph does.
Reached reach(const HeapGraph &graph, Reading for_castaway, Reading for_boehm) {
  constexpr size_t kTries = 5, kGarbage = 500;
  for (size_t i = 0;; ++i) {
    Reached reached = reach_once(graph, for_castaway, for_boehm, i * kGarbage);
    const auto &[castaways, boehms, blocks] = reached;
    bool boehm_has_more = boehms.size() > castaways.size() &&
                          std::includes(boehms.begin(), boehms.end(), castaways.begin(), castaways.end());
    if (!boehm_has_more || i + 1 == kTries) return reached;
  }
}

bool disagree(const HeapGraph &graph) {
  return !reach(graph, Reading::raw, Reading::castaways).agree() ||
         !reach(graph, Reading::boehms, Reading::raw).agree();
}

std::string text(const std::set<int> &blocks) {
  std::string out;
  for (int block : blocks) out += " " + std::to_string(block);
  return out + "\n";
}

std::string text(const Reached &reached) {
  return "castaway reaches" + text(reached.by_castaway) + "Boehm reaches" + text(reached.by_boehm);
}

Reached expect_agreement(const HeapGraph &graph) {
  Reached first = reach(graph, Reading::raw, Reading::castaways), second = reach(graph, Reading::boehms, Reading::raw);
  if (first.agree() && second.agree()) return first;
  HeapGraph small = shrink(graph, disagree);
  ADD_FAILURE() << "in castaway's reading:\n"
                << text(first) << "in Boehm's:\n"
                << text(second) << "made small:\n"
                << text(reach(small, Reading::raw, Reading::castaways))
                << text(reach(small, Reading::boehms, Reading::raw)) << to_cpp(small) << "  expect_agreement(graph);";
  return first;
}

TEST(Boehm, ReachesTheSameBlocks) {
  constexpr unsigned kGraphs = 1000;
  const Seeds wanted = seeds(kGraphs);
  size_t blocks = 0, reached = 0;
  for (unsigned i = 0; i < wanted.count && !HasFailure(); ++i) {
    SCOPED_TRACE("seed " + std::to_string(wanted.first + i));
    Reached one = expect_agreement(random_heap_graph(wanted.first + i));
    blocks += one.blocks;
    reached += one.by_castaway.size();
  }
  std::printf("seeds %u to %u: %zu blocks, %zu of them reached\n", wanted.first, wanted.last(), blocks, reached);
  EXPECT_GT(reached, blocks / 5);
  EXPECT_LT(reached, blocks / 5 * 4);
}

// What of a graph the two take differently, one by one.
struct Difference {
  const char *name;
  bool (*concerns)(const HeapPointer &pointer, const HeapBlock *in, const HeapBlock *to);
};
const Difference kDifferences[] = {
    // By its own tag, or tagging another one: an unaligned pointer can begin in the top 16 bits of an aligned one.
    {"tagged", [](const HeapPointer &pointer, auto *, auto *) { return pointer.tag != 0 || pointer.at % 8 >= 6; }},
    {"past_the_last_granule", [](const HeapPointer &pointer, auto *,
                                 const HeapBlock *to) { return to && pointer.offset >= (to->size + 15) / 16 * 16; }},
    {"word_over_the_end",
     [](const HeapPointer &pointer, const HeapBlock *in, auto *) { return in && pointer.at + 8 > in->size; }},
    // Of what may lie in its place, too, so that the others need not know.
    {"freed", [](auto &, const HeapBlock *in, const HeapBlock *to) { return (in && in->freed) || (to && to->freed); }},
};

// The graph without the pointers that any of them concerns, but for `kept`.
HeapGraph without_differences(const HeapGraph &graph, const Difference *kept = nullptr) {
  std::map<int, HeapBlock> blocks;
  for (const HeapFact &fact : graph)
    if (auto *block = std::get_if<HeapBlock>(&fact)) blocks.emplace(block->block, *block);
  auto find = [&](int block) { return blocks.count(block) ? &blocks.at(block) : nullptr; };
  HeapGraph plain = graph;
  std::erase_if(plain, [&](const HeapFact &fact) {
    auto *pointer = std::get_if<HeapPointer>(&fact);
    for (const Difference &each : kDifferences)
      if (pointer && &each != kept && each.concerns(*pointer, find(pointer->in), find(pointer->to))) return true;
    return false;
  });
  return plain;
}

bool disagree_on_raw_memory(const HeapGraph &graph) { return !reach(graph, Reading::raw, Reading::raw).agree(); }

TEST(Boehm, ReachesTheSameInRawMemoryWhereNoPolicyDiffers) {
  constexpr unsigned kGraphs = 200;
  for (unsigned seed = 1; seed <= kGraphs && !HasFailure(); ++seed)
    EXPECT_FALSE(disagree_on_raw_memory(without_differences(random_heap_graph(seed)))) << "seed " << seed;
}

class Policy : public ::testing::TestWithParam<Difference> {};
void PrintTo(const Difference &difference, std::ostream *out) { *out << difference.name; }
INSTANTIATE_TEST_SUITE_P(Boehm, Policy, ::testing::ValuesIn(kDifferences),
                         [](const auto &each) { return std::string(each.param.name); });

// Each difference is one, and is found, and made small.
TEST_P(Policy, DiffersInRawMemory) {
  constexpr unsigned kSeeds = 200;
  constexpr size_t kFewFacts = 4; // two blocks and two pointers
  auto *kept = std::find_if(std::begin(kDifferences), std::end(kDifferences),
                            [](const Difference &each) { return each.name == GetParam().name; });
  auto shows = [&](const HeapGraph &graph) { return disagree_on_raw_memory(without_differences(graph, kept)); };
  unsigned seed = 1;
  while (seed < kSeeds && !shows(random_heap_graph(seed))) ++seed;
  ASSERT_LT(seed, kSeeds);
  HeapGraph small = shrink(random_heap_graph(seed), shows);
  EXPECT_LE(small.size(), kFewFacts) << "seed " << seed << "\n" << to_cpp(small);
  Reached reached = reach(small, Reading::raw, Reading::raw);
  bool castaway_reaches_more = std::string_view(kept->name) == "tagged";
  const std::set<int> &more = castaway_reaches_more ? reached.by_castaway : reached.by_boehm;
  const std::set<int> &less = castaway_reaches_more ? reached.by_boehm : reached.by_castaway;
  EXPECT_TRUE(std::includes(more.begin(), more.end(), less.begin(), less.end())) << to_cpp(small);
}

} // namespace
} // namespace castaway::testing
