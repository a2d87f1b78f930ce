// The walk of the marker. Everything here runs once per word, per pointer or per block of the target.
//
// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/marker.h"

#include <algorithm>
#include <cstring>

namespace castaway {

bool Marker::build(Objects &objects, size_t watches, Workspace &workspace) {
  objects_ = &objects;
  if (!objects.bounds().empty()) filter_ = PointerFilter(objects.bounds());
  work_ = take_table<Item>(workspace, objects.count());
  woken_ = take_table<Object>(workspace, watches);
  return work_.data() && woken_.data();
}

template <Phase P> void Marker::scan(Range range) {
  Words words(range);
  words_read_ += words.size();
  const Word *at = words.begin;
  for (; at + PointerFilter::kGroup <= words.end; at += PointerFilter::kGroup)
    for (uint32_t found = filter_.candidates(at); found; found &= found - 1) consider<P>(at[__builtin_ctz(found)]);
  for (; at < words.end; ++at) consider<P>(*at);
}

template <Phase P> void Marker::consider(std::span<const uintptr_t> values) {
  for (uintptr_t value : values) consider<P>(value);
}

template <Phase P> void Marker::scan_code(Range range) {
  for (uintptr_t at = range.begin; at + sizeof(uint32_t) <= range.end; ++at) {
    uintptr_t word = 0;
    std::memcpy(&word, reinterpret_cast<const void *>(at), std::min(sizeof word, range.end - at));
    consider<P>(word);
    consider<P>(static_cast<uint32_t>(word));
  }
}

template <Phase P> inline void Marker::consider(uintptr_t word) {
  uintptr_t address = address_in(word);
  if (!filter_.passes(address)) return;
  if (P == Phase::refer && self_.contains(address)) return;
  // Not in a function of its own: GCC takes one that only prefetches for one without effects and drops the call.
  const Leaf &leaf = objects_->leaf(address);
  if (leaf.codes) {
    size_t granule = HeapMap::granule_in_leaf(address);
    __builtin_prefetch(leaf.codes + granule);
    __builtin_prefetch(leaf.states + granule / 64, 1);
  }
  if (addresses_.full()) resolve<P>(addresses_.take());
  addresses_.put(address);
}

template <Phase P> void Marker::resolve(uintptr_t address) {
  const Leaf &leaf = objects_->leaf(address);
  uintptr_t begin = 0;
  if (leaf.codes) {
    bool at_start = HeapMap::is_start(leaf.codes[HeapMap::granule_in_leaf(address)]);
    begin = at_start ? address & ~(HeapMap::kGranule - 1) : objects_->heap().find(address).begin;
    if (begin) mark_block<P>(at_start ? leaf : objects_->leaf(begin), begin);
  }
  if (begin && !leaf.layered) return;
  objects_->visit_index(leaf, address, [&](size_t position) { mark_extent<P>(position); });
}

template <Phase P> inline void Marker::mark_block(const Leaf &leaf, uintptr_t begin) {
  size_t granule = HeapMap::granule_in_leaf(begin);
  if (move<P>(leaf.states[granule / 64], uint64_t{1} << (granule % 64), begin))
    found<P>(HeapMap::decode_code(begin, leaf.codes + granule));
}

template <Phase P> void Marker::mark_extent(size_t position) {
  Extent &extent = objects_->index()[position];
  if (extent.thread == Extent::kHeap) return mark_block<P>(objects_->leaf(extent.begin), extent.begin);
  if (move<P>(extent.states, 1, kIndexed | position) && P != Phase::refer) push(kIndexed | position);
}

template <Phase P> inline bool Marker::move(StateBits &states, uint64_t bit, Object object) {
  switch (P) {
  case Phase::live:
    if (states.high & bit) return false;
    states.high |= bit;
    if (states.low & bit) {
      states.low &= ~bit;
      woken_[woken_count_++] = object;
    }
    return true;
  case Phase::retained:
    if ((states.high | states.low) & bit) return false;
    states.high |= bit;
    states.low |= bit;
    return true;
  case Phase::refer:
    if ((states.high | states.low) & bit) return false;
    states.low |= bit;
    return true;
  case Phase::flood:
    if ((states.high & bit) || !(states.low & bit)) return false;
    states.high |= bit;
    return true;
  }
  return false;
}

// A block whose state has just been moved.
template <Phase P> inline void Marker::found(const Block &block) {
  if (P == Phase::refer) return;
  if (P == Phase::live) ++live_blocks_;
  if (P == Phase::retained && !objects_->is_loaders(block)) {
    ++retained_.blocks;
    retained_.bytes += objects_->exact_size(block);
  }
  if (block.size >= sizeof(Word)) push(item_of(block));
}

inline Marker::Item Marker::item_of(const Block &block) {
  static_assert(HeapMap::kSmallBytes / sizeof(Word) < 256 && HeapMap::kGranule == 16);
  return block.begin << 4 | (block.size > HeapMap::kSmallBytes ? 0 : block.size / sizeof(Word));
}

template <Phase P> void Marker::mark(Object object) {
  if (object & kIndexed) return mark_extent<P>(object & ~kIndexed);
  mark_block<P>(objects_->leaf(object), object);
}

template <Phase P> void Marker::drain() {
  for (;;) {
    if (refill())
      read<P>(blocks_.take());
    else if (!addresses_.empty())
      resolve<P>(addresses_.take());
    else
      return;
  }
}

// Moves work into the ring of blocks, fetching their first lines. False when there is nothing to read.
inline bool Marker::refill() {
  while (work_count_ && !blocks_.full()) {
    Item item = work_[--work_count_];
    if (!(item & kIndexed)) __builtin_prefetch(reinterpret_cast<const void *>((item >> 8) << 4));
    blocks_.put(item);
  }
  return !blocks_.empty();
}

template <Phase P> void Marker::read(Item item) {
  if (item & kIndexed) {
    const Extent &extent = objects_->index()[item & ~kIndexed];
    return scan<P>({extent.begin, extent.end});
  }
  uintptr_t begin = (item >> 8) << 4;
  size_t size = (item & 0xff) * sizeof(Word);
  scan<P>({begin, begin + (size ? size : objects_->heap().decode(begin).size)});
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
