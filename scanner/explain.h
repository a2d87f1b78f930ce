// Explains a verdict: finds the chain that keeps a block or a thread alive.
//
// A breadth-first walk after the scan, over the same objects, that remembers for each object where the pointer was that
// led to it; so chains are short. Threads join the walk in the order in which the fixpoint found them live: whatever
// made one live is found from those before it, and explanations cannot go in a circle. Leaked threads come last.
//
// Not fast and not small (24 bytes per object reached): only for who asks.
//
// Owner: scanner. Context: SNAPSHOT or a test; one thread. Fails: false when the workspace ran out.
#pragma once

#include "scanner/chain.h"
#include "scanner/fixpoint.h"
#include "scanner/image.h"
#include "scanner/objects.h"
#include "scanner/scanner.h"
#include "scanner/tables.h"
#include "scanner/words.h"

#include <cstdint>
#include <span>

namespace castaway {

class Explainer {
public:
  // All outlive it and stay as they are after the scan.
  Explainer(const Image &image, Objects &objects, const Fixpoint &fixpoint, Workspace &workspace)
      : image_(image), objects_(objects), fixpoint_(fixpoint), workspace_(workspace) {}

  bool explain(const Question &question);
  // At most kMostLinks; the last one is then no end.
  std::span<const ChainLink> chain() const { return links_.all(); }

private:
  static constexpr uint32_t kNone = ~uint32_t{0};

  // An object that the walk has reached, and where the pointer to it was: in object `from` of the walk, or, where that
  // is kNone, in `holder`.
  struct Reached {
    Object object;
    uintptr_t word;
    uint32_t from;
    uint32_t holder; // a thread, or one of the two below
  };
  static constexpr uint32_t kRoot = kNone;
  static constexpr uint32_t kKernel = kNone - 1;
  static constexpr uint32_t kDeclared = kNone - 2;

  // Whether one of two subjects is asked about: a thread, or an object.
  struct Subject {
    uint32_t thread = kNone;
    Object object = 0;
  };

  Subject find_subject(const Question &question);
  bool explain_object(Subject &subject, bool &ends);
  bool explain_thread(Subject &subject, bool &ends);
  bool walk(Object goal, uint32_t &found);
  bool walk_from(std::span<const uint32_t> threads, Object goal, uint32_t &found);
  bool walk_from_leaked(Object goal, uint32_t &found);
  bool scan_thread(uint32_t thread);
  bool drain(Object goal, uint32_t &found);
  bool scan(Range range, uint32_t from, uint32_t holder);
  bool scan_code(Range range);
  bool reach(uintptr_t address, uintptr_t word, uint32_t from, uint32_t holder);
  bool add(Object object, uintptr_t word, uint32_t from, uint32_t holder);
  bool add_path(uint32_t found, Subject &next, bool &ends);
  bool add_link(const ChainLink &link);
  bool add_object(Object object);
  Range range_of(Object object) const;
  uint32_t thread_at(uintptr_t address) const;
  size_t first_leaf() const { return objects_.bounds().begin >> HeapMap::kLeafBits; }

  const Image &image_;
  Objects &objects_;
  const Fixpoint &fixpoint_;
  Workspace &workspace_;
  PointerFilter filter_;
  std::span<std::span<uint64_t>> seen_blocks_; // by leaf, a bit for each granule
  std::span<bool> seen_extents_;
  GrowingTable<Reached> reached_; // first to be reached, first to be read
  size_t read_ = 0;
  GrowingTable<ChainLink> links_;
};

} // namespace castaway
