// The objects of an image: heap blocks, and the stacks and TLS blocks of waiters. Which of them an address lies in, and
// the two bits of state that each of them has.
//
// A heap block's bits stand in bitmaps beside its leaf of the heap map: a bit of states tells whether a granule was met
// before, and a code of the map what begins there. What those cannot find, the far granules of large blocks and the
// memory of waiters, is in one index sorted by address, of which each leaf knows its part.
//
// Owner: scanner. Context: SNAPSHOT or a test; one thread, and those of a Crew in build(). Fails: build() returns false
// when the workspace ran out. Invariant: every object lies within bounds() and outside of hole(), and leaf() may be
// asked only of addresses within the bounds.
#pragma once

#include "scanner/crew.h"
#include "scanner/first_access.h"
#include "scanner/heap_tally.h"
#include "scanner/image.h"
#include "scanner/inventory.h"
#include "scanner/scanner.h"
#include "scanner/tables.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

// What the phases make of an object, in this order: Marker says which phase moves what. `watched` belongs to the time
// before the object is found live, `referred` is the same value after; nothing is watched any more by then. In between,
// while live objects are found, `settled` is what was found and has not been read yet.
enum class ObjectState : uint8_t { unreached = 0, watched = 1, referred = 1, live = 2, settled = 3 };

// Where the two bits of an object's state are.
struct StateBits {
  uint64_t &high; // of states live and settled
  uint64_t &low;  // of states watched, referred and settled
  uint64_t bit;

  ObjectState get() const { return static_cast<ObjectState>(((high & bit) ? 2 : 0) | ((low & bit) ? 1 : 0)); }
  void set(ObjectState state) const {
    high = static_cast<unsigned>(state) & 2 ? high | bit : high & ~bit;
    low = static_cast<unsigned>(state) & 1 ? low | bit : low & ~bit;
  }
};

// An entry of the index: a large heap block or a range of a waiter.
struct Extent {
  static constexpr uint32_t kHeap = ~uint32_t{0};

  uintptr_t begin;    // rounded down to a granule: a pointer just below counts as one to it
  uintptr_t end;      // not included
  uintptr_t reach;    // the furthest end of this and all entries before: where a search may stop
  uint32_t thread;    // whose it is: index in the image, or kHeap
  uint64_t states[2]; // high and low, of a waiter's range; a heap block's are beside its leaf

  StateBits state_bits() { return {states[0], states[1], 1}; }
};

// 64 MiB of address space.
struct Leaf {
  const uint8_t *codes; // of the heap map, null where no block starts in it
  uint64_t *states;     // with codes only: a bit for each granule, first all high ones, then all low ones
  uint32_t first;       // the part of the index that overlaps this leaf: from `first` up to
  uint32_t last;        // `last`, not included
  bool layered;         // objects may overlap here: a block found in the codes is not the whole answer
  bool plain;           // it has codes and is not layered
  uint32_t number;      // of those with codes, in the order of addresses

  StateBits state_bits(size_t granule) const {
    static_assert(HeapMap::kLine == 64); // a word for each line of codes
    constexpr size_t kLow = HeapMap::kLeafGranules / 64;
    uint64_t *high = states + granule / 64;
    return {high[0], high[kLow], uint64_t{1} << (granule % 64)};
  }
};

// Names an object: the beginning of a heap block, or kIndexed | position of an Extent that is no heap block.
using Object = uint64_t;
inline constexpr Object kIndexed = uint64_t{1} << 63;

// A thread whose liveness has to be found out. All others are live at once.
inline bool is_candidate(const ThreadImage &thread) { return thread.is_waiter && !thread.is_main; }

class Objects {
public:
  // `crew` may be null.
  bool build(const Image &image, Crew *crew, Workspace &workspace);

  const Range &bounds() const { return bounds_; }
  // The largest part of the bounds in which there is nothing. A heap often lies in two places far from each other, one
  // behind the program and one among the libraries, and what lies between is most of the address space.
  const Range &hole() const { return hole_; }
  const HeapTotals &totals() const { return totals_; }
  const HeapMap &heap() const { return *heap_; }
  std::span<Extent> index() { return index_; }
  size_t count() const { return totals_.blocks + thread_ranges_; }

  // Whether all leaves with codes are plain.
  bool all_plain() const { return all_plain_; }
  // The leaves with codes: where the one of this number begins.
  std::span<const uintptr_t> leaf_begins() const { return leaf_begins_; }
  const Leaf &leaf(uintptr_t address) const { return leaves_[(address >> HeapMap::kLeafBits) - first_leaf_]; }

  // Whether pages are to be accessed before anything is fetched from them: first_access.h.
  bool accesses_pages_first() const { return accesses_pages_first_; }
  // Does so, where this was not done yet and a block begins in the page of this granule. REQUIRES: it lies in `leaf`.
  // Thread-safe; two markers may both do it.
  void access_page_of(uintptr_t granule, const Leaf &leaf) const {
    if (!accesses_pages_first_ || !leaf.codes) return;
    const size_t number = HeapMap::granule_in_leaf(granule);
    BegunPages &pages = to_access_[leaf.number * Inventory::kCodePages + number / HeapMap::kPageGranules];
    const BegunPages bit = bit_of_page(number), before = __atomic_load_n(&pages, __ATOMIC_RELAXED);
    if (__builtin_expect((before & bit) == 0, 1)) return;
    __atomic_store_n(&pages, static_cast<BegunPages>(before & ~bit), __ATOMIC_RELAXED);
    access_page(reinterpret_cast<const void *>(granule));
  }

  // The exact size of a block: the map does not know that of a flagged block of one granule, its note does.
  uint64_t exact_size(const Block &block) const;
  // Whether the dynamic loader owns it: then it is nobody's leak and nobody's to be counted.
  bool is_loaders(const Block &block) const;
  const BlockNote *note_of(uintptr_t begin) const;

  // The thread whose memory this is, Extent::kHeap for a block.
  uint32_t owner_of(Object object) const {
    return object & kIndexed ? index_[object & ~kIndexed].thread : Extent::kHeap;
  }
  ObjectState state(Object object) { return state_bits(object).get(); }
  void set_state(Object object, ObjectState state) { state_bits(object).set(state); }
  // Of the heap block that begins here.
  StateBits block_states(uintptr_t begin) const { return leaf(begin).state_bits(HeapMap::granule_in_leaf(begin)); }

  // Calls visit(Block) for every heap block that is unreached, in address order.
  template <typename Visit> void visit_unreached(Visit visit) const {
    for (uintptr_t begin : leaf_begins_) {
      StateBits states = leaf(begin).state_bits(0);
      const uint64_t *high = &states.high, *low = &states.low;
      auto unreached = [=](size_t line) { return ~(high[line] | low[line]); };
      heap_->sweep_leaf_where(begin >> HeapMap::kLeafBits, unreached, visit);
    }
  }

  // Calls visit(Object) for every object that contains `address`. At most one where nothing overlaps.
  template <typename Visit> void visit_at(uintptr_t address, Visit visit) const {
    if (!bounds_.contains(address)) return;
    Block block = heap_->find(address);
    if (block) visit(Object{block.begin});
    visit_index(leaf(address), address, [&](size_t position) {
      const Extent &extent = index_[position];
      if (extent.thread != Extent::kHeap)
        visit(kIndexed | position);
      else if (extent.begin != block.begin)
        visit(Object{extent.begin});
    });
  }

  // Calls visit(position) for every entry of the index that contains `address`, which lies in `leaf`.
  template <typename Visit> void visit_index(const Leaf &leaf, uintptr_t address, Visit visit) const {
    std::span<const Extent> part = std::span<const Extent>(index_).subspan(leaf.first, leaf.last - leaf.first);
    size_t i = count_before(part, [&](const Extent &extent) { return extent.begin <= address; });
    for (; i > 0 && part[i - 1].reach > address; --i)
      if (part[i - 1].end > address) visit(leaf.first + i - 1);
  }

private:
  void take_totals(const HeapTally &all);
  std::span<Extent> list_thread_memory(const Image &image, Workspace &workspace);
  bool merge_into_index(std::span<Extent> ranges, std::span<const Block> large, Workspace &workspace);
  bool build_leaves(bool for_several, Workspace &workspace);
  void link_index();
  void find_hole();
  Leaf &leaf_of(uintptr_t address) { return leaves_[(address >> HeapMap::kLeafBits) - first_leaf_]; }
  StateBits state_bits(Object object) {
    return object & kIndexed ? index_[object & ~kIndexed].state_bits() : block_states(object);
  }

  const HeapMap *heap_ = nullptr;
  std::span<const BlockNote> notes_;
  HeapTotals totals_;
  Range bounds_, hole_;
  size_t first_leaf_ = 0;
  size_t thread_ranges_ = 0;
  bool overlaps_ = false; // the map has blocks within blocks: some of them are stale, nobody knows which
  bool all_plain_ = true;
  bool accesses_pages_first_ = false;
  std::span<BegunPages> to_access_; // of the leaves with codes, in the order of their numbers
  std::span<Leaf> leaves_;
  std::span<uintptr_t> leaf_begins_;
  std::span<Extent> index_;
};

} // namespace castaway
