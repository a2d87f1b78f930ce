// The marker: follows pointers from memory to objects to what these point to, and moves each object's state once.
//
// The same walk serves four phases, which differ only in whose state they move and to which:
//
//   live      unreached or watched -> live       from the roots and the live threads; a watched one is remembered
//   retained  unreached -> settled               from the leaked threads, counting
//   refer     unreached -> referred              one step from a leaked block; does not go on, ignores self-pointers
//   flood     referred -> settled                from a directly leaked block, on and on
//
// How phase live is fast: pointers are kept by the window of memory to which they point (window_queue.h), so that one
// window's bits of state, codes and blocks are met in the order of addresses. To find out whether a granule was met
// before takes one bit. Only where few pointers are to be had at all, as from a list, are they followed at once; where
// that goes on for long, scouts (scouts.h) look from many places what else is reached.
//
// The other phases see leaked memory only. Their addresses wait in a queue, fetched some time before they are resolved.
// What lies where objects may overlap is resolved exactly in all phases, and is in no window.
//
// In all of them, found objects wait in a ring, one fetched for each that is read; and whether an address is a pointer
// or an object was found already changes how far an index moves, not which way a branch goes: nobody could predict
// those. Between queue and ring is the work list, last in, first out; what a window has many pointers to goes to the
// ring at once.
//
// The work list cannot overflow: it holds objects, each at most once in a phase, and in phase live granules in which no
// block begins, to which something points. Those come from a group of sparse windows, the queue or the pool, and only
// when the list is empty.
//
// Owner: scanner. Context: SNAPSHOT or a test; one thread, but for drain_together(). Fails: build() returns false when
// the workspace ran out.
#pragma once

#include "scanner/objects.h"
#include "scanner/scanner.h"
#include "scanner/scouts.h"
#include "scanner/window_queue.h"
#include "scanner/words.h"
#include "scanner/work_pool.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

enum class Phase { live, retained, refer, flood };

class Marker {
public:
  // `watches` is the number of objects that may be watched at a time.
  bool build(Objects &objects, WindowQueue &windows, size_t watches, Workspace &workspace);

  // Who helps along thin chains of pointers, where this marker is the only one at work.
  void employ(Scouts &scouts) { scouts_ = &scouts; }

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
  // Phase live, together with others that do the same with markers of their own over the same objects: takes work from
  // the pool and leaves work there, until nobody has any left.
  void drain_together(WorkPool &pool);
  // Takes over what another marker has counted and woken, and a thin chain that it has not followed to its end.
  void merge(Marker &other);
  // Phase refer for one block.
  void refer_from(const Block &block);

  // Watched objects that became live since take_woken() was last empty, one at a time; 0 for none.
  Object take_woken() { return woken_count_ ? woken_[--woken_count_] : 0; }

  // Blocks and bytes that phase retained has found so far, and blocks that phase live has.
  const HeapTotals &retained() const { return retained_; }
  uint64_t live_blocks() const { return live_blocks_; }
  uint64_t words_read() const { return words_read_; }
  // Blocks that scouts have found for it.
  uint64_t scouted() const { return scouted_; }

private:
  // Found by measurement, bench/mark_bench.cc.
  static constexpr size_t kBatch = 16;           // addresses that are fetched together
  static constexpr size_t kRing = 16;            // fetched blocks that wait
  static constexpr size_t kShortWords = 64;      // of a block that is read in one go
  static constexpr size_t kDepth = 64;           // fetched addresses that wait
  static constexpr size_t kAddresses = 512;      // room for addresses
  static constexpr size_t kPageWords = 512;      // of 4 KiB
  static constexpr size_t kPagesAhead = 4;       // when a large range is read
  static constexpr size_t kLine = 64;            // bytes of the processor's cache
  static constexpr size_t kSparseTogether = 512; // pointers from windows with few of them
  static constexpr size_t kThin = 4;             // pointers that are all there is to follow,
  static constexpr size_t kThinSteps = 2048;     // so many times in a row, before scouts are sent out

  template <Phase P> void append(uintptr_t word);
  template <Phase P> void gather(const Word *&at, const Word *end);
  void fetch_page(const Word *at, const Word *end) const;
  void drain_live();
  void read_soon(Object object);
  void read_live(Object object);
  bool goes_thin();
  void send_scouts();
  void take_explored();
  void take_explored_in(size_t window);
  size_t without_own(size_t found);
  template <Phase P> void pump();
  template <Phase P> void resolve(size_t count);
  template <Phase P> bool flush();
  template <Phase P> void mark_exactly(uintptr_t address);
  template <Phase P> void mark_block(uintptr_t begin);
  template <Phase P> void mark_extent(size_t position);
  template <Phase P> bool move(StateBits states, Object object);
  template <Phase P> void read(Object object);
  void scan_in_parts(Range range);
  void share();
  void put_into_windows();
  void fetch_exact();
  void drop_known();
  bool take_windows();
  size_t list_sparse(const WindowQueue::Window &window, uintptr_t *out);
  void mark_granule(uintptr_t address);
  bool meet(uintptr_t address);
  using Met = uint64_t[WindowQueue::kGranules / 64]; // a bit for each granule of a window
  template <typename Visit> void settle(const WindowQueue::Window &window, Met &met, Visit visit);
  void read_window(const WindowQueue::Window &window);
  void make_room();
  void settle_sparse(const WindowQueue::Window &window);
  uintptr_t begin_of(size_t window) const;
  uint64_t set_bits(uint64_t &word, uint64_t bits) const;
  uint64_t clear_bits(uint64_t &word, uint64_t bits) const;
  bool set_bit(uint64_t &word, uint64_t bit) const;
  void fetch(size_t count);
  void fetch_object(Object object) const;
  void count_retained(const Block &block);

  Objects *objects_ = nullptr;
  PointerFilter filter_;
  PointerFilter::Version gather_;
  // The queue: from out_ to fetched_ what has been fetched, up to in_ what has not.
  size_t out_ = 0, fetched_ = 0, in_ = 0;
  uintptr_t addresses_[kAddresses + PointerFilter::kSlack];
  WindowQueue *windows_ = nullptr;
  WindowBuffer buffer_;
  Met read_ = {}, kept_ = {}; // of the window that is read, and of one that only makes room; else zero
  std::span<Object> work_;
  size_t work_count_ = 0;
  // Phase live: what has been fetched and waits to be read, from first_ to next_.
  Object ring_[kRing];
  size_t first_ = 0, next_ = 0;
  std::span<Object> woken_;
  size_t woken_count_ = 0;
  Range self_; // phase refer: the block whose words are looked at
  HeapTotals retained_;
  uint64_t live_blocks_ = 0;
  uint64_t words_read_ = 0;
  WorkPool *pool_ = nullptr; // while others mark as well
  Scouts *scouts_ = nullptr;
  size_t thin_steps_ = 0, most_thin_steps_ = kThinSteps;
  uint64_t scouted_ = 0;
  bool nearly_all_known_ = false; // what is read was found by scouts
};

} // namespace castaway
