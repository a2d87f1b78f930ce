// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/scouts.h"

#include "scanner/tables.h"

#include <algorithm>
#include <type_traits>

namespace castaway {

namespace {

constexpr size_t kSlots = size_t{1} << 15;
constexpr size_t kMostWords = HeapMap::kSmallBytes / sizeof(Word);

} // namespace

// What the next turn of each of them needs. All together: what is fetched from a page that the processor does not know
// yet holds up what comes behind, but for some hundred instructions. (GCC 12 takes a function that only fetches for one
// that does nothing, and drops calls of it.)
[[gnu::always_inline]] inline void Scouts::fetch() const {
  for (const Scout &scout : scouts_) {
    if (!scout.active) continue;
    const Leaf &leaf = objects_->leaf(scout.address);
    __builtin_prefetch(reinterpret_cast<const void *>(scout.address - aims_at_ + lead_));
    if (!leaf.codes) continue;
    size_t granule = HeapMap::granule_in_leaf(scout.address);
    __builtin_prefetch(leaf.codes + granule);
    __builtin_prefetch(&explored_[leaf.number * kLeafWords + granule / 64], 1);
  }
}

Scouts::Found Scouts::explore(const PointerFilter &filter, std::span<const uintptr_t> addresses) {
  filter_ = filter;
  if (!take_tables()) return Found::nothing;
  begin();
  if (!learn(addresses)) return Found::nothing;
  while (front_ != kNone) {
    for (Scout &scout : scouts_) scout.active ? turn(scout) : send_out(scout);
    fetch();
  }
  return reached_ == chain_count_ ? Found::all : Found::heads;
}

bool Scouts::take_tables() {
  auto take = [this](auto &table, size_t count) {
    using Table = std::remove_reference_t<decltype(table)>;
    if (!table.data()) table = take_table<typename Table::element_type>(*workspace_, count);
    return table.data() != nullptr;
  };
  return take(scouts_, kScouts) && take(chains_, kChains) && take(slots_, kSlots) &&
         take(explored_, objects_->leaf_begins().size() * kLeafWords);
}

// What is live counts as explored. No more is looked at than may have blocks.
void Scouts::begin() {
  uint64_t *to = explored_.data();
  for (uintptr_t leaf : objects_->leaf_begins()) {
    const uint64_t *from = objects_->leaf(leaf).states; // high bits come first
    objects_->heap().visit_written(
        leaf >> HeapMap::kLeafBits, 0, HeapMap::kLeafGranules,
        [&](size_t begin, size_t end) { std::copy(from + begin / 64, from + end / 64, to + begin / 64); });
    to += kLeafWords;
  }
  std::fill(slots_.begin(), slots_.end(), 0);
  for (Scout &scout : scouts_) scout.active = false;
  chain_count_ = 0;
  vain_ = 0;
}

// Follows the list for some blocks, to see which pointer leads on. That is how chain 0 begins.
bool Scouts::learn(std::span<const uintptr_t> addresses) {
  for (uintptr_t address : addresses) {
    uint32_t votes[kMostWords] = {};
    Place place = place_of(address);
    size_ = place.block.size;
    size_t lessons = 0;
    for (; lessons < kLessons && place && !place.explored(); ++lessons) {
      place.explore();
      address = find_lead(place.block, votes);
      place = address ? place_of(address) : Place{};
    }
    const uint32_t *best = std::max_element(votes, votes + kMostWords);
    if (lessons < kLessons || *best < kEnough || !place) continue;
    lead_ = static_cast<size_t>(best - votes) * sizeof(Word);
    aims_at_ = address - place.block.begin;
    chains_[0] = {.head = 0, .next = kNone, .ended = false, .reached = true};
    chain_count_ = reached_ = 1;
    front_ = 0;
    scouts_[0].chain = 0;
    send(scouts_[0], address);
    return true;
  }
  return false;
}

// The first pointer of the block to one as long that was not explored; 0 if there is none. Votes for all such words.
uintptr_t Scouts::find_lead(const Block &block, std::span<uint32_t> votes) const {
  const Words words({block.begin, block.begin + block.size});
  uintptr_t lead = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    uintptr_t address = address_in(words.begin[i]);
    if (!filter_.passes(address)) continue;
    const Place place = place_of(address);
    if (!place || place.explored() || place.block.size != size_) continue;
    ++votes[i];
    if (!lead) lead = address;
  }
  return lead;
}

// The short block at this address, where only blocks lie; none for anything else.
Scouts::Place Scouts::place_of(uintptr_t address) const {
  if (!objects_->leaf(address).plain) return {};
  const Block block = objects_->heap().find(address);
  if (!block || block.size > HeapMap::kSmallBytes) return {};
  const Leaf &leaf = objects_->leaf(block.begin);
  if (!leaf.plain) return {};
  size_t granule = HeapMap::granule_in_leaf(block.begin);
  return {block, &explored_[leaf.number * kLeafWords + granule / 64], uint64_t{1} << granule % 64};
}

// --- on their way ----------------------------------------------------------------------------------------------------

inline void Scouts::send(Scout &scout, uintptr_t address) {
  scout.active = true;
  scout.at_head = false;
  scout.address = address;
}

void Scouts::turn(Scout &scout) {
  const Place place = place_of(scout.address);
  if (!place) return end(scout, kNone);
  if (place.explored() && !scout.at_head) {
    uint32_t chain = slot_of(place.block.begin);
    return end(scout, chain ? chain : kNone);
  }
  place.explore();
  if (place.block.size != size_) return end(scout, kNone);
  uintptr_t next = address_in(*reinterpret_cast<const Word *>(place.block.begin + lead_));
  if (!filter_.passes(next)) return end(scout, kNone);
  send(scout, next);
}

void Scouts::end(Scout &scout, uint32_t next) {
  scout.active = false;
  chains_[scout.chain].ended = true;
  chains_[scout.chain].next = next;
  if (scout.chain == front_) move_front();
}

// To the first chain in which it continues and that has not ended.
void Scouts::move_front() {
  while (front_ != kNone && chains_[front_].ended) {
    uint32_t &next = chains_[front_].next;
    if (next != kNone && chains_[next].reached) next = kNone; // it is a ring
    front_ = next;
    if (front_ == kNone) return;
    chains_[front_].reached = true;
    ++reached_;
  }
}

uint32_t &Scouts::slot_of(Object head) {
  size_t slot = (head >> HeapMap::kGranuleBits) * 0x9e3779b97f4a7c15u >> 32;
  while (slots_[slot % kSlots] != 0 && chains_[slots_[slot % kSlots]].head != head) ++slot;
  return slots_[slot % kSlots];
}

// --- heads -----------------------------------------------------------------------------------------------------------

// Begins a chain at a new head, if there is one to be found.
void Scouts::send_out(Scout &scout) {
  if (chain_count_ == kChains) return;
  const Place head = find_head();
  if (!head) return;
  chains_[chain_count_] = {.head = head.block.begin, .next = kNone, .ended = false, .reached = false};
  slot_of(head.block.begin) = chain_count_;
  scout.chain = chain_count_++;
  head.explore(); // from now on others end here
  send(scout, head.block.begin);
  scout.at_head = true;
}

// The next block behind one of places that are spread evenly however many there will be (Weyl: multiples of an
// irrational number), so that in a list that lies in the order of addresses all scouts have long ways to go. None where
// there is none near, or where there was none near to many places before.
Scouts::Place Scouts::find_head() {
  constexpr size_t kMostVain = 64, kLines = 64;
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;
  if (vain_ >= kMostVain) return {};
  size_t lines = objects_->leaf_begins().size() * kLeafWords;
  place_ += kGolden;
  auto first = static_cast<size_t>(static_cast<unsigned __int128>(place_) * lines >> 64);
  for (size_t line = first; line < std::min(first + kLines, lines); ++line) {
    const Leaf &leaf = objects_->leaf(objects_->leaf_begins()[line / kLeafWords]);
    if (!leaf.plain) continue;
    if (const Place head = find_head_in(leaf, line % kLeafWords)) return vain_ = 0, head;
  }
  ++vain_;
  return {};
}

// A block like those of the list, that is not explored.
Scouts::Place Scouts::find_head_in(const Leaf &leaf, size_t line) const {
  const uint8_t *codes = leaf.codes + line * HeapMap::kLine;
  uintptr_t first = objects_->leaf_begins()[leaf.number] + (line * HeapMap::kLine << HeapMap::kGranuleBits);
  uint64_t *word = &explored_[leaf.number * kLeafWords + line];
  for (uint64_t starts = HeapMap::starts_in_line(codes) & ~*word; starts; starts &= starts - 1) {
    auto granule = static_cast<size_t>(__builtin_ctzll(starts));
    uintptr_t begin = first + (granule << HeapMap::kGranuleBits);
    const Block block = HeapMap::decode_code(begin, codes + granule);
    if (block.size == size_) return {block, word, starts & -starts};
  }
  return {};
}

} // namespace castaway
