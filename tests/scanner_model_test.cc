// The scanner's verdicts on random wait graphs against a slow, obviously right reference. A graph on which they differ
// is made small and printed as C++.
//
//   CASTAWAY_SEEDS=FIRST:COUNT   other graphs, or more of them
//
// That the graphs are of use is shown by mistakes: the reference judges the graph without one rule, and soon disagrees.
#include "tests/seeds.h"
#include "tests/shrink.h"
#include "tests/wait_graph.h"

#include <cstdio>
#include <functional>
#include <gtest/gtest.h>
#include <set>

namespace castaway::testing {
namespace {

bool disagree(const Graph &graph) { return by_scanner(graph) != by_reference(graph); }

// Returns what the scanner says.
Findings expect_agreement(const Graph &graph) {
  Findings findings = by_scanner(graph);
  if (findings == by_reference(graph)) return findings;
  Graph small = shrink(graph, disagree);
  ADD_FAILURE() << difference(by_scanner(small), by_reference(small)) << to_cpp(small) << "  expect_agreement(graph);";
  return findings;
}

// Graphs that once were of interest are pasted here.
TEST(Model, AgreesOnTheEmptyGraph) { expect_agreement({}); }

struct Census {
  size_t leaked = 0, live_waiters = 0, retaining = 0, direct = 0, indirect = 0;
  size_t reasons[5] = {};

  void add(const Graph &graph, const Findings &findings) {
    for (auto &[number, thread] : findings.threads) {
      leaked += thread.leaked;
      retaining += thread.retained_objects != 0;
      ++reasons[static_cast<int>(thread.reason)];
    }
    for (const Fact &fact : graph)
      if (auto *thread = std::get_if<ThreadFact>(&fact))
        live_waiters += thread->waiter && !findings.threads.at(thread->thread).leaked;
    for (auto &[number, block] : findings.blocks) (block.indirect ? indirect : direct) += block.leaked;
  }
};

TEST(Model, AgreesOnRandomGraphs) {
  constexpr unsigned kGraphs = 2000;
  const Seeds wanted = seeds(kGraphs);
  Census census;
  for (unsigned i = 0; i < wanted.count && !HasFailure(); ++i) {
    SCOPED_TRACE("seed " + std::to_string(wanted.first + i));
    Graph graph = random_graph(wanted.first + i);
    census.add(graph, expect_agreement(graph));
  }
  std::printf(
      "seeds %u to %u: leaked threads %zu (unreachable %zu, deadlock %zu, abandoned %zu, behind %zu; %zu retain "
      "memory), live waiters %zu, direct leaks %zu, indirect %zu\n",
      wanted.first, wanted.last(), census.leaked, census.reasons[1], census.reasons[2], census.reasons[3],
      census.reasons[4], census.retaining, census.live_waiters, census.direct, census.indirect);
  // The graphs are of use only while they are mixed.
  for (size_t count : {census.leaked, census.live_waiters, census.direct, census.indirect})
    EXPECT_GT(count, wanted.count / 2);
  for (size_t reason = 1; reason < 5; ++reason) EXPECT_GT(census.reasons[reason], wanted.count / 20) << reason;
}

// A mistake: the facts as somebody would see them who does not know one rule.
struct Mistake {
  const char *name;
  std::function<void(Graph &)> make;
};

template <typename Wanted> auto change(void (*edit)(Wanted &)) {
  return [edit](Graph &graph) {
    for (Fact &fact : graph)
      if (auto *wanted = std::get_if<Wanted>(&fact)) edit(*wanted);
  };
}
template <typename Wanted> auto drop(bool (*unknown)(const Wanted &)) {
  return [unknown](Graph &graph) {
    std::erase_if(graph, [unknown](const Fact &fact) {
      auto *wanted = std::get_if<Wanted>(&fact);
      return wanted && unknown(*wanted);
    });
  };
}
bool in_thread(const Place &place) { return place.in == In::stack || place.in == In::tls; }
void keep_first_words(Graph &graph) {
  std::set<int> seen;
  std::erase_if(graph, [&](const Fact &fact) {
    auto *word = std::get_if<WordFact>(&fact);
    return word && !seen.insert(word->thread).second;
  });
}

const Mistake kMistakes[] = {
    {"main", change<ThreadFact>([](auto &fact) { fact.main = false; })},
    {"woken", change<WordFact>([](auto &fact) { fact.woken = false; })},
    {"shared_words", change<WordFact>([](auto &fact) { fact.shared = false; })},
    {"several_words", keep_first_words},
    {"unknown_memory", change<WordFact>([](auto &fact) {
       if (fact.at.in == In::unknown) fact.at = {In::tls, fact.thread, 0};
     })},
    {"words_in_roots", change<WordFact>([](auto &fact) {
       if (fact.at.in == In::root) fact.at = {In::tls, fact.thread, 0};
     })},
    {"owners", change<ThreadFact>([](auto &fact) {
       if (fact.owner >= 0) fact.owner = kNobody;
     })},
    {"dead_owners", change<ThreadFact>([](auto &fact) {
       if (fact.owner == kExited) fact.owner = kNobody;
     })},
    {"joins", change<ThreadFact>([](auto &fact) {
       if (fact.joined >= 0) fact.joined = kNobody;
     })},
    {"joins_of_the_dead", change<ThreadFact>([](auto &fact) {
       if (fact.joined == kExited) fact.joined = kNobody;
     })},
    {"registers", drop<PointerFact>([](auto &fact) { return fact.holder == Holder::in_register; })},
    {"kernel_pointers", drop<PointerFact>([](auto &fact) { return fact.holder == Holder::outside; })},
    {"high_tags", drop<PointerFact>([](auto &fact) { return fact.tag != 0; })},
    {"interior_pointers", drop<PointerFact>([](auto &fact) { return fact.to.offset != 0; })},
    {"pointers_to_stacks", drop<PointerFact>([](auto &fact) { return in_thread(fact.to); })},
    {"pointers_on_stacks",
     drop<PointerFact>([](auto &fact) { return in_thread(fact.at) && fact.holder == Holder::memory; })},
    {"pointers_in_descriptors", drop<PointerFact>([](auto &fact) { return fact.at.in == In::descriptor; })},
    {"pointers_in_blocks",
     drop<PointerFact>([](auto &fact) { return fact.at.in == In::block && fact.holder == Holder::memory; })},
    {"ignored_blocks", change<BlockFact>([](auto &fact) { fact.ignored = false; })},
    {"loader_blocks", change<BlockFact>([](auto &fact) { fact.loader = false; })},
    {"noted_sizes", change<BlockFact>([](auto &fact) { fact.noted = fact.noted && fact.size > 16; })},
};

class Mistakes : public ::testing::TestWithParam<Mistake> {};
void PrintTo(const Mistake &mistake, std::ostream *out) { *out << mistake.name; }
INSTANTIATE_TEST_SUITE_P(Model, Mistakes, ::testing::ValuesIn(kMistakes),
                         [](const auto &each) { return std::string(each.param.name); });

TEST_P(Mistakes, AreFoundAndMadeSmall) {
  constexpr unsigned kSeeds = 500;
  constexpr size_t kFewFacts = 7; // two threads, their words, a block, and two pointers
  auto shows = [](const Graph &graph) {
    Graph other = graph;
    GetParam().make(other);
    return other != graph && by_scanner(graph) != by_reference(other);
  };
  unsigned seed = 1;
  while (seed < kSeeds && !shows(random_graph(seed))) ++seed;
  ASSERT_LT(seed, kSeeds);
  Graph small = shrink(random_graph(seed), shows);
  EXPECT_LE(small.size(), kFewFacts) << "seed " << seed << "\n" << to_cpp(small);
}

} // namespace
} // namespace castaway::testing
