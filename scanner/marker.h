// The marker: follows pointers from memory to objects to what these point to, and moves each object's state once.
//
// The same walk serves four phases, which differ only in whose state they move and to which:
//
//   live      unreached or watched -> live       from the roots and the live threads; a watched one is remembered
//   retained  unreached -> settled               from the leaked threads, counting
//   refer     unreached -> referred              one step from a leaked block; does not go on, ignores self-pointers
//   flood     referred -> settled                from a directly leaked block, on and on
//
// How it is fast: an address is resolved with one code byte and one pair of state words, and a block is read with one
// or more lines of its own; each is a likely cache miss. So addresses go through a ring (fetched when they enter,
// resolved when they leave), and found blocks through another before they are read. Behind the rings is the work list,
// last in, first out, which keeps the walk close to where it is. It cannot overflow: a phase pushes an object at most
// once, and there is room for all.
//
// Owner: scanner. Context: SNAPSHOT or a test; one thread. Fails: build() returns false when the workspace ran out.
#pragma once

#include "scanner/objects.h"
#include "scanner/scanner.h"
#include "scanner/words.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

enum class Phase { live, retained, refer, flood };

class Marker {
public:
  // `watches` is the number of objects that may be watched at a time.
  bool build(Objects &objects, size_t watches, Workspace &workspace);

  // Looks at all words of a range, or at these values. What they reach is followed by drain(), at the latest.
  template <Phase P> void scan(Range range);
  template <Phase P> void consider(std::span<const uintptr_t> values);
  // Looks at all that instructions in `range` may hold: words and half words at any byte.
  template <Phase P> void scan_code(Range range);
  // All memory and registers of the thread of this number in the image. A candidate's stack and TLS are marked as the
  // objects that they are.
  template <Phase P> void scan_thread(const ThreadImage &thread, uint32_t number);
  // Marks one object as if something pointed to it.
  template <Phase P> void mark(Object object);
  // Goes on until nothing is left to follow.
  template <Phase P> void drain();
  // Phase refer for one block.
  void refer_from(const Block &block);

  // Watched objects that became live since take_woken() was last empty, one at a time; 0 for none.
  Object take_woken() { return woken_count_ ? woken_[--woken_count_] : 0; }

  // Blocks and bytes that phase retained has found so far, and blocks that phase live has.
  const HeapTotals &retained() const { return retained_; }
  uint64_t live_blocks() const { return live_blocks_; }
  uint64_t words_read() const { return words_read_; }

private:
  // Depths found by measurement, bench/mark_bench.cc: deeper rings cost more instructions than they save misses.
  static constexpr size_t kAddressRing = 64;
  static constexpr size_t kBlockRing = 16;

  // A block or range that is to be read: first granule << 8 | words, words 0 where there are too many for the field;
  // or an Object of the index.
  using Item = uint64_t;
  static Item item_of(const Block &block);

  template <typename T, size_t kSize> class Ring {
  public:
    bool empty() const { return in_ == out_; }
    bool full() const { return in_ - out_ == kSize; }
    void put(T value) { slots_[in_++ % kSize] = value; }
    T take() { return slots_[out_++ % kSize]; }

  private:
    static_assert((kSize & (kSize - 1)) == 0);
    T slots_[kSize];
    uint32_t in_ = 0;
    uint32_t out_ = 0;
  };

  template <Phase P> void consider(uintptr_t word);
  template <Phase P> void resolve(uintptr_t address);
  template <Phase P> void mark_block(const Leaf &leaf, uintptr_t begin);
  template <Phase P> void mark_extent(size_t position);
  template <Phase P> bool move(StateBits &states, uint64_t bit, Object object);
  template <Phase P> void found(const Block &block);
  template <Phase P> void read(Item item);
  bool refill();

  void push(Item item) { work_[work_count_++] = item; }

  Objects *objects_ = nullptr;
  PointerFilter filter_;
  Ring<uintptr_t, kAddressRing> addresses_;
  Ring<Item, kBlockRing> blocks_;
  std::span<Item> work_;
  size_t work_count_ = 0;
  std::span<Object> woken_;
  size_t woken_count_ = 0;
  Range self_; // phase refer: the block whose words are looked at
  HeapTotals retained_;
  uint64_t live_blocks_ = 0;
  uint64_t words_read_ = 0;
};

} // namespace castaway
