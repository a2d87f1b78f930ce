// The walk of the marker. Everything here runs once per word, per pointer or per block of the target.
//
// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/marker.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace castaway {

namespace {

// Calls visit(number) for each bit that is set, the lowest first.
template <typename Visit> void for_each_bit(uint64_t bits, Visit visit) {
  for (; bits; bits &= bits - 1) visit(static_cast<size_t>(std::countr_zero(bits)));
}

// The beginning of the page in which this word lies.
const Word *page_of(const Word *word) {
  constexpr uintptr_t kPage = 4096;
  return reinterpret_cast<const Word *>(reinterpret_cast<uintptr_t>(word) & ~(kPage - 1));
}

// Where to fetch from. A leaf without blocks has no tables, and a place in none is no pointer's sum.
template <typename T> [[gnu::always_inline]] inline const void *place_in(const T *table, size_t index) {
  return reinterpret_cast<const void *>(reinterpret_cast<uintptr_t>(table) + index * sizeof(T));
}

// Of a granule, counted from the beginning of its leaf.
size_t window_of(const Leaf &leaf, size_t granule) {
  return leaf.number * WindowQueue::kPerLeaf + granule / WindowQueue::kGranules;
}

} // namespace

bool Marker::build(Objects &objects, WindowQueue &windows, size_t watches, Workspace &workspace) {
  objects_ = &objects;
  windows_ = &windows;
  if (!objects.bounds().empty()) filter_ = PointerFilter(objects.bounds(), objects.hole());
  gather_ = PointerFilter::fastest();
  size_t most_others = std::max({kSparseTogether, kAddresses, WorkPool::kMostItems});
  work_ = take_table<Object>(workspace, objects.count() + most_others);
  woken_ = take_table<Object>(workspace, watches);
  return work_.data() && woken_.data() && buffer_.build(windows, workspace);
}

template <Phase P> void Marker::scan(Range range) {
  Words words(range);
  words_read_ += words.size();
  const Word *at = words.begin;
  if (words.size() > kPageWords && objects_->accesses_pages_first())
    for (size_t i = 1; i < kPagesAhead; ++i) fetch_page(page_of(at) + i * kPageWords, words.end);
  while (static_cast<size_t>(words.end - at) > kPageWords) {
    const Word *page = page_of(at);
    fetch_page(page + kPagesAhead * kPageWords, words.end);
    gather<P>(at, page + kPageWords);
  }
  gather<P>(at, words.end);
}

// The beginning of a page: the processor reads ahead within pages only, and what it has to look up and to note at the
// first access to one takes long in a copy (first_access.h), unless it is done while others are read. Beyond the end of
// what is read, nobody knows whether there is memory.
[[gnu::always_inline]] inline void Marker::fetch_page(const Word *at, const Word *end) const {
  constexpr size_t kLines = 2;
  if (at < end && objects_->accesses_pages_first()) access_page(at);
  for (size_t i = 0; i < kLines; ++i) __builtin_prefetch(at + i * kLine / sizeof *at);
}

template <Phase P> void Marker::gather(const Word *&at, const Word *end) {
  while (at < end) {
    size_t found = gather_.some(filter_, at, end, addresses_ + in_, kAddresses - in_);
    in_ = P == Phase::refer ? without_own(found) : in_ + found;
    if (in_ - fetched_ >= kBatch) pump<P>();
  }
}

// Drops the pointers of self_ to itself from those just found. Returns the end of the others.
size_t Marker::without_own(size_t found) {
  uintptr_t *begin = addresses_ + in_;
  auto own = [&](uintptr_t address) { return self_.contains(address); };
  return static_cast<size_t>(std::remove_if(begin, begin + found, own) - addresses_);
}

template <Phase P> void Marker::consider(std::span<const uintptr_t> values) {
  for (uintptr_t value : values) append<P>(value);
}

template <Phase P> void Marker::scan_code(Range range) {
  for (uintptr_t at = range.begin; at + sizeof(uint32_t) <= range.end; ++at) {
    uintptr_t word = 0;
    std::memcpy(&word, reinterpret_cast<const void *>(at), std::min(sizeof word, range.end - at));
    append<P>(word);
    append<P>(static_cast<uint32_t>(word));
  }
}

template <Phase P> inline void Marker::append(uintptr_t word) {
  addresses_[in_] = address_in(word);
  in_ += filter_.passes(addresses_[in_]);
  if (in_ - fetched_ >= kBatch) pump<P>();
}

// Fetches what `count` addresses of the queue need to be resolved.
inline void Marker::fetch(size_t count) {
  for (; count > 0; --count) {
    uintptr_t address = addresses_[fetched_++];
    __builtin_prefetch(place_in(objects_->leaf(address).states, HeapMap::granule_in_leaf(address) / 64), 1);
  }
}

// Fetches what is read of a found object first. Most small blocks lie in two lines; to the second level of the cache
// only, where more may be on their way at a time. GCC 12 takes a function that only fetches for one that does nothing,
// and drops calls of it.
[[gnu::always_inline]] inline void Marker::fetch_object(Object object) const {
  if (object & kIndexed) return;
  const Leaf &leaf = objects_->leaf(object);
  objects_->access_page_of(object, leaf);
  __builtin_prefetch(place_in(leaf.codes, HeapMap::granule_in_leaf(object)));
  constexpr int kReads = 0, kSecondLevel = 2;
  __builtin_prefetch(reinterpret_cast<const void *>(object), kReads, kSecondLevel);
  __builtin_prefetch(reinterpret_cast<const void *>(object + kLine - 1), kReads, kSecondLevel);
}

// Moves the queue on by whole batches. What is left leaves at least a batch's room.
template <Phase P> void Marker::pump() {
  if (P == Phase::live) return put_into_windows();
  while (in_ - fetched_ >= kBatch) {
    fetch(kBatch);
    if (fetched_ - out_ > kDepth) resolve<P>(kBatch);
  }
  if (in_ < kAddresses / 2) return;
  std::memmove(addresses_, addresses_ + out_, (in_ - out_) * sizeof *addresses_);
  in_ -= out_, fetched_ -= out_, out_ = 0;
}

// Where there is nothing else to do, all of the queue. Whoever follows a list waits for one block after the other, so
// the block itself is fetched with what tells whether it is new. False: there was nothing in the queue.
template <Phase P> bool Marker::flush() {
  if (in_ == out_) return false;
  for (size_t i = fetched_; i < in_; ++i) fetch_object(addresses_[i]);
  fetch(in_ - fetched_);
  resolve<P>(in_ - out_);
  in_ = fetched_ = out_ = 0;
  return true;
}

template <Phase P> void Marker::resolve(size_t count) {
  for (; count > 0; --count) {
    uintptr_t address = addresses_[out_++];
    if (P == Phase::live && objects_->leaf(address).plain)
      mark_granule(address);
    else
      mark_exactly<P>(address);
  }
}

template <Phase P> [[gnu::noinline]] void Marker::mark_exactly(uintptr_t address) {
  const Leaf &leaf = objects_->leaf(address);
  uintptr_t begin = objects_->heap().find(address).begin;
  if (begin) mark_block<P>(begin);
  if (begin && !leaf.layered) return;
  objects_->visit_index(leaf, address, [&](size_t position) { mark_extent<P>(position); });
}

template <Phase P> void Marker::mark_block(uintptr_t begin) {
  if (P == Phase::live && objects_->leaf(begin).plain) return mark_granule(begin);
  if (move<P>(objects_->block_states(begin), begin) && P != Phase::refer) work_[work_count_++] = begin;
}

template <Phase P> void Marker::mark_extent(size_t position) {
  Extent &extent = objects_->index()[position];
  if (extent.thread == Extent::kHeap) return mark_block<P>(extent.begin);
  if (move<P>(extent.state_bits(), kIndexed | position) && P != Phase::refer)
    work_[work_count_++] = kIndexed | position;
}

template <Phase P> inline bool Marker::move(StateBits states, Object object) {
  ObjectState state = P == Phase::live ? ObjectState::unreached : states.get();
  switch (P) {
  case Phase::live:
    if (!set_bit(states.high, states.bit)) return false;
    if (__atomic_load_n(&states.low, __ATOMIC_RELAXED) & states.bit) {
      __atomic_fetch_and(&states.low, ~states.bit, __ATOMIC_RELAXED);
      woken_[woken_count_++] = object;
    }
    return true;
  case Phase::retained:
    if (state != ObjectState::unreached) return false;
    states.set(ObjectState::settled);
    return true;
  case Phase::refer:
    if (state != ObjectState::unreached) return false;
    states.set(ObjectState::referred);
    return true;
  case Phase::flood:
    if (state != ObjectState::referred) return false;
    states.set(ObjectState::settled);
    return true;
  }
  return false;
}

template <Phase P> void Marker::mark(Object object) {
  if (object & kIndexed) return mark_extent<P>(object & ~kIndexed);
  mark_block<P>(object);
}

template <Phase P> void Marker::drain() {
  if (P == Phase::live) return drain_live();
  Object ring[kRing];
  size_t first = 0, next = 0; // those between have been fetched and wait
  for (;;) {
    if (work_count_ > 0) {
      Object object = ring[next++ % kRing] = work_[--work_count_];
      fetch_object(object);
      if (next - first < kRing) continue;
    } else if (next == first) {
      if (!flush<P>()) return;
      continue;
    }
    read<P>(ring[first++ % kRing]);
  }
}

template <Phase P> void Marker::read(Object object) {
  if (object & kIndexed) {
    const Extent &extent = objects_->index()[object & ~kIndexed];
    return scan<P>({extent.begin, extent.end});
  }
  const Block block = objects_->heap().decode(object);
  if (!block) return mark_exactly<P>(object);
  if (P == Phase::live) ++live_blocks_;
  if (P == Phase::retained) count_retained(block);
  if (P == Phase::live && pool_ && block.size > WorkPool::kStep)
    return scan_in_parts({block.begin, block.begin + block.size});
  scan<P>({block.begin, block.begin + block.size});
}

// --- phase live ------------------------------------------------------------------------------------------------------
//
// Where no other objects than heap blocks lie, the high bit of a granule says all that is wanted: who is the first one
// to point to it reads it, and whether a block begins there is found out then. Bits of granules in which none begins
// mean nothing to others. A low bit beside a high one says that the granule has not been read yet, a low bit alone that
// somebody waits for the block to be found live; so whoever finds it leaves the bit, and the window in the queue.

void Marker::drain_live() {
  for (;;) {
    if (work_count_ > 0) {
      read_soon(work_[--work_count_]);
      if (pool_ && next_ % kBatch == 0) share();
    } else if (take_windows()) {
      thin_steps_ = 0;
    } else if (first_ != next_) {
      read_live(ring_[first_++ % kRing]);
    } else if (goes_thin()) {
      if (pool_) return; // to whoever goes on alone
      send_scouts();
    } else if (!flush<Phase::live>()) {
      return;
    }
  }
}

// Whether there is next to nothing to follow, again, and nobody else has anything either.
bool Marker::goes_thin() {
  nearly_all_known_ = false;
  if (in_ == out_) return false;
  thin_steps_ = in_ - out_ <= kThin ? thin_steps_ + 1 : 0;
  return thin_steps_ >= most_thin_steps_ && (pool_ ? pool_->others_wait() : scouts_ != nullptr);
}

void Marker::send_scouts() {
  constexpr uint64_t kEnough = 8; // times what the marker had found meanwhile
  constexpr size_t kLonger = 4;   // where it was less: not so soon again
  uint64_t wanted = scouted_ + kEnough * std::exchange(thin_steps_, 0);
  Scouts::Found found = scouts_->explore(filter_, std::span(addresses_ + out_, in_ - out_));
  if (found == Scouts::Found::all) take_explored();
  if (found == Scouts::Found::heads) scouts_->visit_heads([&](Object head) { mark_block<Phase::live>(head); });
  if (scouted_ < wanted) most_thin_steps_ *= kLonger;
}

// What was explored has been found and is to be read.
void Marker::take_explored() {
  for (size_t number = 0; number < objects_->leaf_begins().size(); ++number)
    objects_->heap().visit_written(objects_->leaf_begins()[number] >> HeapMap::kLeafBits, 0, HeapMap::kLeafGranules,
                                   [&](size_t begin, size_t end) {
                                     for (size_t at = begin / WindowQueue::kGranules; at * WindowQueue::kGranules < end;
                                          ++at)
                                       take_explored_in(number * WindowQueue::kPerLeaf + at);
                                   });
  nearly_all_known_ = true; // until all that has been read
  consider<Phase::live>(scouts_->loose_ends());
}

void Marker::take_explored_in(size_t window) {
  scouts_->copy_explored(window, kept_);
  bool any = false;
  settle({.number = window}, kept_, [&](uintptr_t, uint64_t &low, uint64_t fresh, uint64_t waiting) {
    set_bits(low, fresh);
    scouted_ += static_cast<uint64_t>(std::popcount(fresh | waiting));
    any |= (fresh | waiting) != 0;
  });
  if (any) windows_->hold(window);
}

// Fetches an object, and reads the one that has been waiting longest.
[[gnu::always_inline]] inline void Marker::read_soon(Object object) {
  fetch_object(object);
  ring_[next_++ % kRing] = object;
  if (next_ - first_ == kRing) read_live(ring_[first_++ % kRing]);
}

// read(), made short for short blocks, as most are.
void Marker::read_live(Object object) {
  static_assert(kBatch + kShortWords <= kAddresses);
  if (object & kIndexed) return read<Phase::live>(object);
  Block block = HeapMap::decode_code(object, objects_->leaf(object).codes + HeapMap::granule_in_leaf(object));
  if (!block || block.size > kShortWords * sizeof(Word)) return read<Phase::live>(object);
  ++live_blocks_;
  Words words({block.begin, block.begin + block.size});
  words_read_ += words.size();
  const Word *begin = words.begin;
  if (nearly_all_known_) {
    if (const Word *lead = scouts_->lead_of(block)) { // which they have followed already
      in_ += gather_.all(filter_, begin, lead, addresses_ + in_);
      begin = lead + 1;
    }
  }
  in_ += gather_.all(filter_, begin, words.end, addresses_ + in_);
  if (in_ >= kBatch) put_into_windows();
}

void Marker::put_into_windows() {
  if (!objects_->all_plain()) fetch_exact();
  if (nearly_all_known_) drop_known();
  for (size_t i = 0; i < in_; ++i) {
    const Leaf &leaf = objects_->leaf(addresses_[i]);
    size_t granule = HeapMap::granule_in_leaf(addresses_[i]);
    if (__builtin_expect(!leaf.plain, 0)) {
      mark_exactly<Phase::live>(addresses_[i]);
      continue;
    }
    while (__builtin_expect(!buffer_.add(window_of(leaf, granule), granule % WindowQueue::kGranules), 0)) make_room();
  }
  in_ = fetched_ = out_ = 0;
}

// What scouts have found points to what they have found as well: to keep all that would take more memory, and time.
void Marker::drop_known() {
  fetched_ = 0;
  fetch(in_);
  auto is_known = [&](uintptr_t address) {
    const Leaf &leaf = objects_->leaf(address);
    if (!leaf.plain) return false;
    StateBits states = leaf.state_bits(HeapMap::granule_in_leaf(address));
    return (states.high & states.bit) != 0;
  };
  in_ = static_cast<size_t>(std::remove_if(addresses_, addresses_ + in_, is_known) - addresses_);
}

// Fetches what addresses need that are to be resolved exactly.
void Marker::fetch_exact() {
  for (uintptr_t address : std::span(addresses_, in_)) {
    const Leaf &leaf = objects_->leaf(address);
    if (leaf.plain || !leaf.codes) continue;
    size_t granule = HeapMap::granule_in_leaf(address);
    __builtin_prefetch(leaf.codes + granule);
    __builtin_prefetch(leaf.states + granule / 64, 1);
  }
}

// Work from one window to which there are many pointers, or from several to which there are few. False: there is none.
bool Marker::take_windows() {
  if (!windows_
           ->ready()) { // others may take what was ready: only who has given all of his own may say that there is none
    buffer_.give_all();
    bool others_work = pool_ && !pool_->others_wait();
    if (!windows_->ready() && (others_work || !windows_->start_round())) return false;
  }
  uintptr_t sparse[kSparseTogether];
  size_t count = 0;
  WindowQueue::Window window;
  bool dense = false;
  while (!dense && count + WindowQueue::kSparse <= kSparseTogether && windows_->take(window)) {
    buffer_.give_to(window);
    dense = !window.is_sparse();
    if (!dense) count += list_sparse(window, sparse + count);
  }
  while (count > 0) mark_granule(sparse[--count]); // read in the order of addresses
  if (dense) read_window(window);
  return true;
}

// Writes the pointers to `out`, and fetches what they need to be resolved.
size_t Marker::list_sparse(const WindowQueue::Window &window, uintptr_t *out) {
  uintptr_t begin = begin_of(window.number);
  const uint64_t *states = &objects_->block_states(begin).high;
  for (size_t i = 0; i < window.chunks->count; ++i) {
    size_t granule = window.chunks->granules[i];
    __builtin_prefetch(states + granule / 64, 1);
    out[i] = begin + granule * HeapMap::kGranule;
  }
  size_t count = window.chunks->count;
  windows_->release(window.chunks);
  return count;
}

inline void Marker::mark_granule(uintptr_t address) {
  work_[work_count_] = address & ~(HeapMap::kGranule - 1);
  work_count_ += meet(address);
}

// Sets the high bit of the granule. Whether that is new, and the caller has to see to it that the granule is read:
// where somebody waits for the block, the window has to be taken for that.
inline bool Marker::meet(uintptr_t address) {
  const Leaf &leaf = objects_->leaf(address);
  size_t granule = HeapMap::granule_in_leaf(address);
  StateBits states = leaf.state_bits(granule);
  bool watched = !woken_.empty() && __atomic_load_n(&states.low, __ATOMIC_RELAXED) & states.bit; // before the next line
  bool fresh = set_bit(states.high, states.bit);
  if (__builtin_expect(!(fresh && watched), 1)) return fresh;
  woken_[woken_count_++] = address & ~(HeapMap::kGranule - 1);
  windows_->hold(window_of(leaf, granule));
  return false;
}

// Sets the bits for all pointers to a window. Then calls visit(begin, low, fresh, waiting) for every 64 granules in
// which there is something to read: `fresh` have just been found; `waiting` were found before, or watched until now,
// and their bits in `low` are set. What visit() reads may lead to this window again, which then waits for another turn.
template <typename Visit> void Marker::settle(const WindowQueue::Window &window, Met &met, Visit visit) {
  for (const auto *chunk = window.chunks; chunk; chunk = chunk->next)
    for (uint16_t granule : std::span(chunk->granules, chunk->count)) met[granule / 64] |= uint64_t{1} << granule % 64;
  windows_->release(window.chunks);
  uintptr_t begin = begin_of(window.number);
  StateBits states = objects_->block_states(begin);
  uint64_t *high = &states.high, *low = &states.low;
  for (size_t i = 0; i < std::size(met); ++i) {
    uint64_t bits = std::exchange(met[i], 0);
    uint64_t set = __atomic_load_n(&low[i], __ATOMIC_RELAXED); // before high bits make others look at it
    if (!(bits | set)) continue;
    uint64_t before = set_bits(high[i], bits);
    uint64_t fresh = bits & ~before;
    uintptr_t at = begin + i * 64 * HeapMap::kGranule;
    for_each_bit(fresh & set, [&](size_t bit) { woken_[woken_count_++] = at + bit * HeapMap::kGranule; });
    visit(at, low[i], fresh & ~set, set & (before | bits));
  }
}

// Reads all that is to be read of a window, but for the last ones, which wait in the ring.
void Marker::read_window(const WindowQueue::Window &window) {
  settle(window, read_, [&](uintptr_t begin, uint64_t &low, uint64_t fresh, uint64_t waiting) {
    if (waiting) waiting &= clear_bits(low, waiting); // another marker may have been faster
    for_each_bit(fresh | waiting, [&](size_t bit) { read_soon(begin + bit * HeapMap::kGranule); });
  });
}

// All chunks are in use: turns those of all windows into bits, which take no room.
void Marker::make_room() {
  buffer_.give_all();
  windows_->start_round();
  WindowQueue::Window window;
  for (size_t count = windows_->ready(); count > 0 && windows_->take(window); --count) {
    if (window.is_sparse())
      settle_sparse(window);
    else if (window.chunks)
      settle(window, kept_, [&](uintptr_t, uint64_t &low, uint64_t fresh, uint64_t) {
        if (fresh) set_bits(low, fresh);
      });
    windows_->hold(window.number);
  }
}

// The same, bit by bit.
void Marker::settle_sparse(const WindowQueue::Window &window) {
  uintptr_t begin = begin_of(window.number);
  for (size_t granule : std::span(window.chunks->granules, window.chunks->count)) {
    uintptr_t at = begin + granule * HeapMap::kGranule;
    StateBits states = objects_->block_states(at);
    if (meet(at)) set_bits(states.low, states.bit);
  }
  windows_->release(window.chunks);
}

uintptr_t Marker::begin_of(size_t window) const {
  return objects_->leaf_begins()[window / WindowQueue::kPerLeaf] +
         (window % WindowQueue::kPerLeaf << WindowQueue::kWindowBits);
}

// Both return what the word was before. Of several markers, whoever sees a high bit set by another one sees the low bit
// as that one saw it.
inline uint64_t Marker::set_bits(uint64_t &word, uint64_t bits) const {
  return pool_ ? __atomic_fetch_or(&word, bits, __ATOMIC_ACQ_REL) : std::exchange(word, word | bits);
}

inline uint64_t Marker::clear_bits(uint64_t &word, uint64_t bits) const {
  return pool_ ? __atomic_fetch_and(&word, ~bits, __ATOMIC_ACQ_REL) : std::exchange(word, word & ~bits);
}

// Whether it was not set before. Of several markers one is told so.
inline bool Marker::set_bit(uint64_t &word, uint64_t bit) const {
  if (pool_ && (__atomic_load_n(&word, __ATOMIC_RELAXED) & bit)) return false;
  return !(set_bits(word, bit) & bit);
}

// --- several markers -------------------------------------------------------------------------------------------------

void Marker::drain_together(WorkPool &pool) {
  pool_ = &pool;
  drain<Phase::live>();
  while (WorkPool::Work work = pool.take(work_.data())) {
    work_count_ = work.items;
    if (!work.range.empty()) scan_in_parts(work.range);
    drain<Phase::live>();
  }
  pool_ = nullptr;
}

// Leaves half of what is still to be read to whoever waits.
void Marker::scan_in_parts(Range range) {
  while (range.size() > WorkPool::kStep) {
    uintptr_t middle = (range.begin + range.size() / 2) & ~(HeapMap::kGranule - 1);
    if (pool_->hungry() && pool_->give({middle, range.end})) range.end = middle;
    uintptr_t next = std::min(range.begin + WorkPool::kStep, range.end);
    scan<Phase::live>({range.begin, next});
    range.begin = next;
  }
  scan<Phase::live>(range);
}

// The older half of the work list: who gets it has more before him than with what was found last.
void Marker::share() {
  constexpr size_t kLeast = 64;
  size_t count = std::min(work_count_ / 2, WorkPool::kMostItems);
  if (count < kLeast || !pool_->hungry()) return;
  if (!pool_->give(work_.first(count))) return;
  work_count_ -= count;
  std::memmove(work_.data(), work_.data() + count, work_count_ * sizeof(Object));
}

void Marker::merge(Marker &other) {
  live_blocks_ += std::exchange(other.live_blocks_, 0);
  words_read_ += std::exchange(other.words_read_, 0);
  while (Object object = other.take_woken()) woken_[woken_count_++] = object;
  consider<Phase::live>(std::span(other.addresses_ + other.out_, other.in_ - other.out_));
  other.in_ = other.fetched_ = other.out_ = 0;
}

void Marker::count_retained(const Block &block) {
  if (objects_->is_loaders(block)) return;
  ++retained_.blocks;
  retained_.bytes += objects_->exact_size(block);
}

template <Phase P> void Marker::scan_thread(const ThreadImage &thread, uint32_t number) {
  for (const Range &range : {thread.stack, thread.tls}) {
    if (range.empty()) continue;
    if (!is_candidate(thread))
      scan<P>(range);
    else
      objects_->visit_at(range.begin, [&](Object object) {
        if (objects_->owner_of(object) == number) mark<P>(object);
      });
  }
  scan<P>(thread.descriptor);
  consider<P>(thread.registers);
}

void Marker::refer_from(const Block &block) {
  self_ = {block.begin, block.granule_end()};
  scan<Phase::refer>({block.begin, block.begin + block.size});
}

#define CASTAWAY_PHASE(P)                                                                                              \
  template void Marker::scan<P>(Range);                                                                                \
  template void Marker::scan_thread<P>(const ThreadImage &, uint32_t);                                                 \
  template void Marker::consider<P>(std::span<const uintptr_t>);                                                       \
  template void Marker::scan_code<P>(Range);                                                                           \
  template void Marker::mark<P>(Object);                                                                               \
  template void Marker::drain<P>();
CASTAWAY_PHASE(Phase::live)
CASTAWAY_PHASE(Phase::retained)
CASTAWAY_PHASE(Phase::refer)
CASTAWAY_PHASE(Phase::flood)
#undef CASTAWAY_PHASE

} // namespace castaway
