// Takes stock of a heap: how many blocks of how many bytes, within which bounds, in which pages, and the large ones one
// by one.
//
// Every leaf of the map has to be read for that, where it was ever written, before anything is known of the heap. Parts
// of leaves are summed up on their own, by all of a crew where the heap is large, and put together in the order of
// addresses: the answer does not depend on who has done what.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: take() returns false when the workspace ran out.
#pragma once

#include "scanner/crew.h"
#include "scanner/heap_tally.h"
#include "scanner/tables.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

class Inventory {
public:
  // To be called once. `crew` may be null.
  bool take(const HeapMap &heap, bool notes_pages, Crew *crew, Workspace &workspace);

  const HeapTally &all() const { return all_; }
  // In the order of their addresses.
  std::span<const Block> large() const { return large_; }
  // In which pages blocks begin, kCodePages for each leaf of the map in the order of addresses; empty where not noted.
  std::span<BegunPages> begun() const { return begun_; }

  static constexpr size_t kPerLeaf = 8; // parts at least: each is some hundred microseconds' work
  static constexpr size_t kPartGranules = HeapMap::kLeafGranules / kPerLeaf;
  static constexpr size_t kCodePages = HeapMap::kLeafGranules / HeapMap::kPageGranules; // of a leaf

private:
  struct Part {
    uintptr_t base;
    const uint8_t *codes;
    size_t granules;
    BegunPages *begun;
    HeapTally tally;
  };

  bool list_parts(const HeapMap &heap, bool notes_pages, Workspace &workspace);
  void sum_up(Crew *crew);
  void sum_some();
  bool list_large(Workspace &workspace);

  bool at_once_ = false;
  std::span<Part> parts_;
  std::atomic<size_t> next_ = 0;    // part
  std::atomic<uint64_t> bytes_ = 0; // of blocks in parts that are done
  uint64_t enough_ = 0;             // bytes, for now
  HeapTally all_;
  std::span<Block> large_;
  std::span<BegunPages> begun_;
};

} // namespace castaway
