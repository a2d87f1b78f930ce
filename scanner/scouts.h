// Scouts: what lies along a linked list, found out from many places at a time.
//
// Who follows a list waits for each block until it has come from memory, and can fetch nothing meanwhile: only the
// block tells where the next one lies. That is some hundred nanoseconds a block, for any marker and for the program
// itself. So where nothing is left to follow but a list, scouts go ahead: each begins at a block that nobody has met
// yet (a head), and they follow the list from there by turns, so that a block for each of them is on its way at any
// time. Who comes to a block that was explored already goes no further. If that block is a head, the one chain of
// blocks continues in the other. Then the scout begins at a new head.
//
// Whether a head is reached at all nobody knows when a scout sets out. The first chain is the marker's own, and is
// reached; so is the one in which that continues, and so on. When it comes to its end, then
//
//   if no chain is left over, all that was explored is reached, and the marker reads it;
//   else some heads were nobody's (leaked, or reached from elsewhere later), and nobody knows which blocks were
//   explored from there. The marker goes on from the heads that are reached, from all of them at once.
//
// Scouts only follow one pointer of each block, the one that leads on. Each step is a pointer that the marker would
// follow as well, so what they find reached is reached; to read it, with all its other pointers, is left to the marker.
// What they do not find, it finds as ever.
//
// Owner: scanner. Context: SNAPSHOT or a test; one thread, while no other one marks. Fails: explore() finds nothing
// where its tables cannot be had.
#pragma once

#include "scanner/objects.h"
#include "scanner/window_queue.h"
#include "scanner/words.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

class Scouts {
public:
  // Both outlive the scouts. Tables are not taken before they are needed.
  void prepare(const Objects &objects, Workspace &workspace) {
    objects_ = &objects;
    workspace_ = &workspace;
  }

  // Explores the list to which one of these addresses points. To be asked when everything that is known to be live has
  // been read, but for what they point to.
  enum class Found { nothing, heads, all };
  Found explore(const PointerFilter &filter, std::span<const uintptr_t> addresses);

  // After Found::all: writes a bit for each granule of the window with this number, of blocks that were explored or met
  // before.
  void copy_explored(size_t window, std::span<uint64_t, WindowQueue::kGranules / 64> to) const;
  // After Found::all: what the pointers that lead on point to where that is nothing of the list's, to be looked at.
  std::span<const uintptr_t> loose_ends() const { return loose_ends_.first(loose_count_); }
  // After Found::all: the pointer that leads on in this block, where that has been followed, to what was explored or
  // met before or is a loose end; null where it has not. Inlined: it is asked of every block.
  const Word *lead_of(const Block &block) const {
    if (block.size != size_ || !objects_->leaf(block.begin).plain || place_at(block.begin).is_new()) return nullptr;
    return reinterpret_cast<const Word *>(block.begin + lead_);
  }
  // After Found::heads: calls visit(Object) for each head that is reached.
  template <typename Visit> void visit_heads(Visit visit) const {
    for (uint32_t chain = chains_[0].next; chain != kNone; chain = chains_[chain].next) visit(chains_[chain].head);
  }

private:
  static constexpr size_t kLeafWords = HeapMap::kLeafGranules / 64;
  static constexpr size_t kScouts = 32;      // who are on their way at a time: found by measurement
  static constexpr size_t kChains = 1 << 14; // at most
  static constexpr size_t kLessons = 32;     // blocks that are read to find out which pointer leads on
  static constexpr size_t kEnough = 24;      // of these, those in which it has to be the same one
  static constexpr uint32_t kNone = ~uint32_t{0};

  struct Chain {
    Object head;
    uint32_t next; // in which it continues
    bool ended, reached;
  };
  struct Scout {
    uint32_t chain;
    bool active, at_head;
    uintptr_t address; // fetched, and to be looked at next
  };
  // Where a block of the list's kind begins, or none; and the bit that is set while nobody has met it.
  struct Place {
    uintptr_t begin = 0;
    uint64_t *word = nullptr;
    uint64_t bit = 0;

    bool is_new() const { return (*word & bit) != 0; }
    void explore() const { *word &= ~bit; }
  };

  bool learn(std::span<const uintptr_t> addresses);
  Block block_of(uintptr_t address) const;
  bool is_met(const Block &block) const;
  uintptr_t find_lead(const Block &block, std::span<const Object> before, std::span<uint32_t> votes) const;
  bool take_tables();
  void begin(std::span<const Object> met);
  uint64_t starts_like(const uint8_t *codes) const;
  // REQUIRES: `begin` lies within the bounds.
  Place place_at(uintptr_t begin) const {
    const Leaf &leaf = objects_->leaf(begin);
    size_t granule = HeapMap::granule_in_leaf(begin);
    return {begin, &open_[leaf.number * kLeafWords + granule / 64], uint64_t{leaf.codes != nullptr} << granule % 64};
  }
  Place find_place(uintptr_t address) const;
  static void send(Scout &scout, uintptr_t address);
  void fetch() const;
  void send_out(Scout &scout);
  void turn(Scout &scout);
  void end(Scout &scout, uint32_t next);
  void move_front();
  Object find_head();
  uint32_t &slot_of(Object head);

  const Objects *objects_ = nullptr;
  Workspace *workspace_ = nullptr;
  PointerFilter filter_;
  std::span<uint64_t> open_; // for each granule, whether a block of the list's kind begins there that nobody has met
  std::span<Scout> scouts_;
  std::span<Chain> chains_;
  std::span<uintptr_t> loose_ends_;
  std::span<uint32_t> slots_; // a hash table of heads: number of the chain, 0 for none
  uint32_t chain_count_ = 0, loose_count_ = 0;
  uint32_t front_ = 0;   // the chain that is reached and has not ended
  uint32_t reached_ = 0; // how many are
  size_t size_ = 0;      // of the list's blocks
  size_t lead_ = 0;      // where in each of them the pointer is that leads on, in bytes
  size_t aims_at_ = 0;   // where it points to in the next one
  uint64_t place_ = 0;   // where heads are looked for next
  size_t vain_ = 0;      // places in a row where there was none
};

} // namespace castaway
