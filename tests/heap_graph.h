// Heap graphs: blocks and the words in them and in the roots, as a list of facts that random numbers make, that
// shrinks, and that prints as the C++ that makes it again. A fact about a block that is not there says nothing.
#pragma once

#include <string>
#include <variant>
#include <vector>

namespace castaway::testing {

struct HeapBlock {
  int block = 0;
  size_t size = 16;
  bool freed = false; // given back before any word is written, so that what points to it is stale
  bool late = false;  // allocated after that: may lie where a freed one did
  bool operator==(const HeapBlock &) const = default;
};

inline constexpr int kRoots = -1;

// A pointer to `offset` within block `to`, with this tag in its top 16 bits, written at the byte `at` of a block or of
// the roots. Where `at` is no multiple of 8, or reaches over the block's end, it is none that counts.
struct HeapPointer {
  int in = kRoots;
  size_t at = 0;
  int to = 0;
  size_t offset = 0;
  unsigned tag = 0;
  bool operator==(const HeapPointer &) const = default;
};

using HeapFact = std::variant<HeapBlock, HeapPointer>;
using HeapGraph = std::vector<HeapFact>;

inline constexpr size_t kRootBytes = 4096;

HeapGraph random_heap_graph(unsigned seed);
std::vector<HeapFact> simpler_forms(const HeapFact &fact);
std::string to_cpp(const HeapGraph &graph);

} // namespace castaway::testing
