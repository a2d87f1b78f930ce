// Wait graphs as worlds: built, scanned, judged by the reference. See wait_graph.h.
#include "tests/wait_graph.h"

#include "tests/scanner_reference.h"

#include <optional>
#include <sstream>

namespace castaway::testing {

namespace {

constexpr int32_t kTidOfNobody = 9999;
constexpr size_t kMostRootWords = 512;

template <typename Wanted, typename Visit> void for_each(const Graph &graph, Visit visit) {
  for (const Fact &fact : graph)
    if (auto *wanted = std::get_if<Wanted>(&fact)) visit(*wanted);
}

size_t noted_size(const World &world, uintptr_t begin, size_t size) {
  for (const BlockNote &note : world.notes)
    if (note.begin == begin) return note.size;
  return size;
}

} // namespace

// Pointers before words: what a word holds is what its thread expects.
GraphWorld::GraphWorld(const Graph &graph) {
  for_each<BlockFact>(graph, [this](const BlockFact &fact) { add(fact); });
  for_each<ThreadFact>(graph, [this](const ThreadFact &fact) { add(fact); });
  for (auto &[number, fact] : edges_) {
    thread(number)->image.mutex_owner = tid(fact.owner);
    thread(number)->image.joined = tid(fact.joined);
  }
  uintptr_t roots = world.roots[0].begin;
  world.roots[0].end = roots + kMostRootWords * sizeof(uintptr_t); // the rest is empty, and slow to read
  for_each<PointerFact>(graph, [this](const PointerFact &fact) { add(fact); });
  for_each<WordFact>(graph, [this](const WordFact &fact) { add(fact); });
}

void GraphWorld::add(const BlockFact &fact) {
  if (blocks.count(fact.block)) return;
  uintptr_t begin = world.block(fact.size, fact.flagged);
  blocks[fact.block] = begin;
  names[begin] = fact.block;
  sizes[begin] = fact.flagged && fact.size <= HeapMap::kGranule ? HeapMap::kGranule : fact.size;
  if (fact.flagged && fact.noted)
    world.notes.push_back({.begin = begin, .size = fact.size, .loader = fact.loader, .ignored = fact.ignored});
}

void GraphWorld::add(const ThreadFact &fact) {
  if (threads.count(fact.thread)) return;
  threads[fact.thread] = world.threads.size();
  Thread &thread = world.running();
  thread.image.is_waiter = fact.waiter;
  thread.image.is_main = fact.main;
  thread.image.wait = fact.wait;
  edges_.emplace_back(fact.thread, fact);
}

void GraphWorld::add(const WordFact &fact) {
  Thread *waiter = thread(fact.thread);
  uintptr_t at = address(fact.at) & ~uintptr_t{3};
  if (!waiter || !at) return;
  World::add_word(*waiter, at);
  waiter->words.back().shared = fact.shared;
  waiter->words.back().expected += fact.woken;
}

void GraphWorld::add(const PointerFact &fact) {
  uintptr_t value = address(fact.to);
  if (!value) return;
  value |= static_cast<uintptr_t>(fact.tag) << 48;
  if (fact.holder == Holder::outside) {
    world.root_values.push_back(value);
  } else if (fact.holder == Holder::in_register) {
    if (Thread *holder = thread(fact.at.of)) holder->registers.push_back(value);
  } else if (uintptr_t at = address(fact.at)) {
    put(at, value);
  }
}

Thread *GraphWorld::thread(int number) {
  auto found = threads.find(number);
  return found == threads.end() ? nullptr : &world.threads[found->second];
}

int32_t GraphWorld::tid(int number) {
  if (number == kNobody) return 0;
  Thread *found = thread(number);
  return found ? found->image.tid : kTidOfNobody;
}

uintptr_t GraphWorld::address(const Place &place) {
  auto offset = static_cast<uintptr_t>(place.offset);
  if (place.in == In::unknown) return world.unknown_word() + offset % World::kThreadMemory;
  if (place.in == In::block) return blocks.count(place.of) ? blocks[place.of] + offset : 0;
  if (place.in == In::root) {
    if (!root_words_.count(place.of) && root_words_.size() < kMostRootWords) root_words_[place.of] = world.root(0);
    return root_words_.count(place.of) ? root_words_[place.of] : 0;
  }
  Thread *owner = thread(place.of);
  if (!owner) return 0;
  const Range &range = place.in == In::stack ? owner->image.stack
                       : place.in == In::tls ? owner->image.tls
                                             : owner->image.descriptor;
  return range.begin + offset;
}

namespace {

// Some of the roots come late, and what was found leaked without that is settled: both change nothing.
class SomeLate final : public LateRoots {
public:
  SomeLate(World &world, size_t words, size_t markers) {
    {
      Scan before(world, markers);
      for (const LeakedBlock &leak : before.scanner.leaked_blocks()) settle(world, leak);
    }
    Range &roots = world.roots[0];
    late_ = {roots.begin + words * sizeof(uintptr_t), roots.end};
    roots.end = late_.begin;
    world.late_roots = this;
  }
  LateAnswer bring(std::span<const Range> &found) override { return found = {&late_, 1}, LateAnswer::brought; }

private:
  static void settle(World &world, const LeakedBlock &leak) {
    auto at = std::lower_bound(world.notes.begin(), world.notes.end(), leak.begin,
                               [](const BlockNote &note, uintptr_t begin) { return note.begin < begin; });
    if (at == world.notes.end() || at->begin != leak.begin)
      at = world.notes.insert(at, {.begin = leak.begin, .size = leak.size});
    at->settled = true;
  }

  Range late_;
};

} // namespace

Findings by_scanner(const Graph &graph) {
  GraphWorld graph_world(graph);
  std::optional<SomeLate> late;
  bool has_loader_blocks = false; // of which it is not asked whether late roots reach them: nobody reports them
  for_each<BlockFact>(graph, [&](const BlockFact &fact) { has_loader_blocks |= fact.loader; });
  if (graph.size() % 2 && !has_loader_blocks)
    late.emplace(graph_world.world, graph.size() / 2 % 4, 1 + graph.size() % 3);
  Scan scan(graph_world.world, 1 + graph.size() % 3); // any number of markers says the same
  if (!scan.complete) abort();
  Findings findings;
  for (auto [number, at] : graph_world.threads) {
    const ThreadVerdict &verdict = scan.scanner.verdicts()[at];
    findings.threads[number] = {verdict.leaked, verdict.reason, verdict.certain, verdict.retained_objects,
                                verdict.retained_bytes};
  }
  for (auto [number, begin] : graph_world.blocks) {
    bool live = scan.scanner.is_live(begin + graph_world.sizes[begin] - 1);
    findings.blocks[number] = {live, false, false, 0};
  }
  for (const LeakedBlock &leak : scan.scanner.leaked_blocks()) {
    Findings::OfBlock &block = findings.blocks[graph_world.names.at(leak.begin)];
    block = {block.live, true, leak.indirect, leak.size};
  }
  return findings;
}

Findings by_reference(const Graph &graph) {
  GraphWorld graph_world(graph);
  Reference reference(graph_world.world.image(), graph_world.sizes);
  auto exact = [&](uintptr_t begin) { return noted_size(graph_world.world, begin, graph_world.sizes[begin]); };
  Findings findings;
  for (auto [number, at] : graph_world.threads) {
    uint64_t bytes = 0;
    for (uintptr_t block : reference.retained[at]) bytes += exact(block);
    findings.threads[number] = {!reference.live(at), reference.reason(at), reference.certain(at),
                                reference.retained[at].size(), bytes};
  }
  for (auto [number, begin] : graph_world.blocks) {
    auto leak = reference.leaks.find(begin);
    bool leaked = leak != reference.leaks.end();
    findings.blocks[number] = {reference.live_objects.count(begin) != 0, leaked, leaked && leak->second,
                               leaked ? exact(begin) : 0};
  }
  return findings;
}

namespace {

std::string text(const Findings::OfThread &thread) {
  static constexpr const char *kReasons[] = {"live", "unreachable", "deadlock", "abandoned", "behind"};
  return std::string(thread.leaked ? "leaked, " : "") + (thread.certain ? "certain, " : "") +
         kReasons[static_cast<int>(thread.reason)] + ", retains " + std::to_string(thread.retained_objects) +
         " blocks, " + std::to_string(thread.retained_bytes) + " bytes";
}
std::string text(const Findings::OfBlock &block) {
  if (!block.leaked) return block.live ? "live" : "retained, or the loader's";
  return std::string(block.indirect ? "indirect" : "direct") + ", " + std::to_string(block.size) + " bytes";
}

template <typename T>
void compare(std::ostream &out, const char *what, const std::map<int, T> &scanner, const std::map<int, T> &reference) {
  for (auto &[number, found] : scanner) {
    auto other = reference.find(number);
    if (other == reference.end() || !(other->second == found))
      out << what << " " << number << ": scanner " << text(found) << "; reference "
          << (other == reference.end() ? "nothing" : text(other->second)) << "\n";
  }
}

} // namespace

std::string difference(const Findings &scanner, const Findings &reference) {
  std::ostringstream out;
  compare(out, "thread", scanner.threads, reference.threads);
  compare(out, "block", scanner.blocks, reference.blocks);
  return out.str();
}

} // namespace castaway::testing
