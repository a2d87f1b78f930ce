// Wait graphs: a made-up process as a list of facts, from which worlds are built, which random numbers make, which
// shrink, and which print as the C++ that makes them again.
//
// Facts name blocks, threads and words of the roots by numbers of the graph's own. A fact about something that is not
// there says nothing, so that any list of facts is a graph.
#pragma once

#include "tests/scanner_world.h"

#include <map>
#include <string>
#include <variant>
#include <vector>

namespace castaway::testing {

// What an address lies in. root: a word of the roots. unknown: memory that the image does not mention.
enum class In { block, stack, tls, descriptor, root, unknown };

struct Place {
  In in = In::block;
  int of = 0; // the block, thread or word
  long offset = 0;
  bool operator==(const Place &) const = default;
};

struct BlockFact {
  int block = 0;
  size_t size = 16;
  bool flagged = false, noted = false, loader = false, ignored = false;
  bool operator==(const BlockFact &) const = default;
};

inline constexpr int kNobody = -1, kExited = -2;
struct ThreadFact {
  int thread = 0;
  bool waiter = false, main = false;
  WaitKind wait = WaitKind::futex;
  int owner = kNobody, joined = kNobody;
  bool operator==(const ThreadFact &) const = default;
};

// A word that a thread waits on.
struct WordFact {
  int thread = 0;
  Place at;
  bool shared = false, woken = false;
  bool operator==(const WordFact &) const = default;
};

// A pointer in memory; in_register: of the thread at.of; outside: held by the kernel.
enum class Holder { memory, in_register, outside };
struct PointerFact {
  Holder holder = Holder::memory;
  Place at, to;
  unsigned tag = 0; // its top 16 bits
  bool operator==(const PointerFact &) const = default;
};

using Fact = std::variant<BlockFact, ThreadFact, WordFact, PointerFact>;
using Graph = std::vector<Fact>;

std::vector<Fact> simpler_forms(const Fact &fact);
std::string to_cpp(const Graph &graph);
Graph random_graph(unsigned seed);

// The world that a graph describes, and what is called what in it.
class GraphWorld {
public:
  explicit GraphWorld(const Graph &graph);

  World world;
  std::map<int, uintptr_t> blocks;
  std::map<uintptr_t, int> names;    // of blocks
  std::map<uintptr_t, size_t> sizes; // of blocks, as the scanner reads them: a flagged granule is 16 bytes long
  std::map<int, size_t> threads;     // positions in world.threads

private:
  void add(const BlockFact &fact);
  void add(const ThreadFact &fact);
  void add(const WordFact &fact);
  void add(const PointerFact &fact);
  Thread *thread(int number);
  int32_t tid(int number);
  uintptr_t address(const Place &place); // 0 where there is no such thing

  std::map<int, uintptr_t> root_words_;
  std::vector<std::pair<int, ThreadFact>> edges_;
};

// What is said of a graph, in the graph's own names.
struct Findings {
  struct OfThread {
    bool leaked;
    Reason reason;
    bool certain;
    uint64_t retained_objects, retained_bytes;
    bool operator==(const OfThread &) const = default;
  };
  struct OfBlock {
    bool live, leaked, indirect;
    uint64_t size; // where leaked
    bool operator==(const OfBlock &) const = default;
  };
  std::map<int, OfThread> threads;
  std::map<int, OfBlock> blocks;
  bool operator==(const Findings &) const = default;
};
Findings by_scanner(const Graph &graph);
Findings by_reference(const Graph &graph);
// What one of them says that the other one does not; empty where they agree.
std::string difference(const Findings &scanner, const Findings &reference);

} // namespace castaway::testing
