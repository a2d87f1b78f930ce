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
    uintptr_t begin = scout.address - aims_at_;
    __builtin_prefetch(reinterpret_cast<const void *>(begin + lead_));
    __builtin_prefetch(&open_[leaf.number * kLeafWords + HeapMap::granule_in_leaf(begin) / 64], 1);
  }
}

Scouts::Found Scouts::explore(const PointerFilter &filter, std::span<const uintptr_t> addresses) {
  filter_ = filter;
  if (!learn(addresses)) return Found::nothing;
  while (front_ != kNone) {
    for (Scout &scout : scouts_) scout.active ? turn(scout) : send_out(scout);
    fetch();
  }
  return reached_ == chain_count_ ? Found::all : Found::heads;
}

// --- what the list is like -------------------------------------------------------------------------------------------

// Follows the list for some blocks, to see which pointer leads on. That is how chain 0 begins.
bool Scouts::learn(std::span<const uintptr_t> addresses) {
  for (uintptr_t address : addresses) {
    uint32_t votes[kMostWords] = {};
    Object lessons[kLessons];
    Block block = block_of(address);
    size_ = block.size;
    size_t count = 0;
    for (; count < kLessons && block && !is_met(block); block = block_of(address)) {
      lessons[count++] = block.begin;
      address = find_lead(block, std::span(lessons, count), votes);
      if (!address) break;
    }
    const uint32_t *best = std::max_element(votes, votes + kMostWords);
    if (count < kLessons || !address || *best < kEnough || !take_tables()) continue;
    lead_ = static_cast<size_t>(best - votes) * sizeof(Word);
    aims_at_ = address - block_of(address).begin;
    begin(lessons);
    send(scouts_[0], address);
    return true;
  }
  return false;
}

// The short block at this address, where only blocks lie; an empty one for anything else.
Block Scouts::block_of(uintptr_t address) const {
  if (!filter_.passes(address) || !objects_->leaf(address).plain) return {};
  const Block block = objects_->heap().find(address);
  return block && block.size <= HeapMap::kSmallBytes && objects_->leaf(block.begin).plain ? block : Block{};
}

bool Scouts::is_met(const Block &block) const {
  StateBits states = objects_->block_states(block.begin);
  return (states.high & states.bit) != 0;
}

// The first pointer of the block to one as long that was not met, before either; 0 if there is none. Votes for all such
// words.
uintptr_t Scouts::find_lead(const Block &block, std::span<const Object> before, std::span<uint32_t> votes) const {
  const Words words({block.begin, block.begin + block.size});
  uintptr_t lead = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    uintptr_t address = address_in(words.begin[i]);
    const Block next = block_of(address);
    if (!next || next.size != size_ || is_met(next)) continue;
    if (std::find(before.begin(), before.end(), next.begin) != before.end()) continue;
    ++votes[i];
    if (!lead) lead = address;
  }
  return lead;
}

bool Scouts::take_tables() {
  auto take = [this](auto &table, size_t count) {
    using Table = std::remove_reference_t<decltype(table)>;
    if (!table.data()) table = take_table<typename Table::element_type>(*workspace_, count);
    return table.data() != nullptr;
  };
  return take(scouts_, kScouts) && take(chains_, kChains) && take(slots_, kSlots) &&
         take(loose_ends_, kLessons + kChains) && take(open_, objects_->leaf_begins().size() * kLeafWords);
}

// No more is looked at than may have blocks. `met`: by chain 0.
void Scouts::begin(std::span<const Object> met) {
  uint64_t *to = open_.data();
  for (uintptr_t begin : objects_->leaf_begins()) {
    const Leaf &leaf = objects_->leaf(begin);
    if (leaf.plain)
      objects_->heap().visit_written(
          begin >> HeapMap::kLeafBits, 0, HeapMap::kLeafGranules, [&](size_t at, size_t last) {
            for (; at < last; at += HeapMap::kLine)
              to[at / 64] = starts_like(leaf.codes + at) & ~leaf.states[at / 64]; // high bits come first
          });
    to += kLeafWords;
  }
  loose_count_ = 0;
  for (Object block : met) {
    place_at(block).explore();
    loose_ends_[loose_count_++] = address_in(*reinterpret_cast<const Word *>(block + lead_)); // perhaps not followed
  }
  std::fill(slots_.begin(), slots_.end(), 0);
  for (Scout &scout : scouts_) scout.active = false;
  scouts_[0].chain = 0;
  chains_[0] = {.head = 0, .next = kNone, .ended = false, .reached = true};
  chain_count_ = reached_ = 1;
  front_ = 0;
  vain_ = 0;
}

// A bit for each granule of a line of the heap map in which a block of the list's size begins.
uint64_t Scouts::starts_like(const uint8_t *codes) const {
  if (HeapMap::is_medium(size_)) return HeapMap::starts_in_line_of(codes, size_);
  uint64_t like = 0;
  for (uint64_t starts = HeapMap::starts_in_line(codes); starts; starts &= starts - 1) {
    uint64_t same = HeapMap::decode_code(1, codes + __builtin_ctzll(starts)).size == size_;
    like |= (starts & -starts) * same;
  }
  return like;
}

void Scouts::copy_explored(size_t window, std::span<uint64_t, WindowQueue::kGranules / 64> to) const {
  const Leaf &leaf = objects_->leaf(objects_->leaf_begins()[window / WindowQueue::kPerLeaf]);
  size_t first = window % WindowQueue::kPerLeaf * to.size();
  for (size_t i = 0; i < to.size(); ++i)
    to[i] = leaf.plain ? starts_like(leaf.codes + (first + i) * HeapMap::kLine) & ~open_[window * to.size() + i] : 0;
}

// --- on their way ----------------------------------------------------------------------------------------------------

inline void Scouts::send(Scout &scout, uintptr_t address) {
  scout.active = true;
  scout.at_head = false;
  scout.address = address;
}

// Where this pointer leads; no place where that is no block of the list's kind. Most often it points to where the
// others point to, to one that nobody has met.
inline Scouts::Place Scouts::find_place(uintptr_t address) const {
  uintptr_t begin = address - aims_at_;
  if (filter_.passes(begin) && begin % HeapMap::kGranule == 0)
    if (const Place place = place_at(begin); place.is_new()) return place;
  const Block block = block_of(address);
  return block.size == size_ ? place_at(block.begin) : Place{};
}

void Scouts::turn(Scout &scout) {
  const Place place = find_place(scout.address);
  if (!place.begin) {
    loose_ends_[loose_count_++] = scout.address;
    return end(scout, kNone);
  }
  if (!place.is_new() && !scout.at_head) {
    uint32_t chain = slot_of(place.begin);
    return end(scout, chain ? chain : kNone);
  }
  place.explore();
  uintptr_t next = address_in(*reinterpret_cast<const Word *>(place.begin + lead_));
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
  const Object head = find_head();
  if (!head) return;
  chains_[chain_count_] = {.head = head, .next = kNone, .ended = false, .reached = false};
  slot_of(head) = chain_count_;
  scout.chain = chain_count_++;
  place_at(head).explore(); // from now on others end here
  send(scout, head + aims_at_);
  scout.at_head = true;
}

// The next block behind one of places that are spread evenly however many there will be (Weyl: multiples of an
// irrational number), so that in a list that lies in the order of addresses all scouts have long ways to go. 0: there
// is none near, or there was none near to many places before.
Object Scouts::find_head() {
  constexpr size_t kMostVain = 64, kLines = 64;
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;
  if (vain_ >= kMostVain) return 0;
  size_t lines = open_.size();
  place_ += kGolden;
  auto first = static_cast<size_t>(static_cast<unsigned __int128>(place_) * lines >> 64);
  for (size_t line = first; line < std::min(first + kLines, lines); ++line) {
    if (!open_[line]) continue;
    vain_ = 0;
    size_t granule = line % kLeafWords * 64 + static_cast<size_t>(__builtin_ctzll(open_[line]));
    return objects_->leaf_begins()[line / kLeafWords] + (granule << HeapMap::kGranuleBits);
  }
  ++vain_;
  return 0;
}

} // namespace castaway
