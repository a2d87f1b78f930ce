// The rare paths of the heap map: a new leaf, flags set from outside the owning thread, and the way back to where a
// long block begins.
#include "scanner/heap_map.h"

namespace castaway {

bool HeapMap::new_leaf(size_t index) {
  uint8_t *fresh = source_ ? source_() : nullptr;
  if (!fresh) return false;
  uintptr_t fresh_origin = reinterpret_cast<uintptr_t>(fresh) - index * kLeafGranules;
  if (fresh_origin == 0) return false; // memory at a sixteenth of the address of what it describes: nothing maps there
  uintptr_t expected = 0;
  // Before the leaf itself: a snapshot that has the leaf must find it.
  size_t page = index / kSummaryLeaves;
  summary_[page / 64].fetch_or(uint64_t{1} << (page % 64), std::memory_order_acq_rel);
  // Two threads may meet here; the loser's leaf stays untouched address space.
  __atomic_compare_exchange_n(&origins_[index], &expected, fresh_origin, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
  return true;
}

bool HeapMap::set_flag(uintptr_t begin, size_t size) {
  Block block = decode(begin);
  if (!block || block.flagged) return block.flagged;
  if (block.size != size) return false;
  uint8_t *code = code_of(begin);
  if (size <= kGranule) {
    uint8_t expected = static_cast<uint8_t>(size);
    return __atomic_compare_exchange_n(code, &expected, kFlaggedGranule, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  }
  // The byte with the flag: the second one of a small block, the last one of a large block.
  uint8_t *holder = size <= kSmallBytes ? code + 1 : code + kLargeFlagByte;
  uint8_t bit = size <= kSmallBytes ? static_cast<uint8_t>(kSmallFlag) : kLargeFlag;
  uint8_t expected = *holder;
  if (expected < kContinuation) return false; // freed since
  uint8_t desired = static_cast<uint8_t>(expected | bit);
  // The short ways to erase leave the continuation as it was: the first byte tells whether the block was freed
  // meanwhile, and then a flag behind it does no harm: it makes no start of a byte, and a block that needs the byte
  // writes it whole.
  return __atomic_compare_exchange_n(holder, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED) &&
         __atomic_load_n(code, __ATOMIC_SEQ_CST) != 0;
}

// By page, of which most were never written, and by line.
size_t HeapMap::last_start(size_t index, size_t begin, size_t end) const {
  const uint8_t *codes = leaf(index);
  if (!codes) return end;
  const WrittenPages *pages = written_pages(index);
  for (size_t past = end; past > begin;) {
    size_t page = (past - 1) / kPageGranules, line = (past - 1) / kLine * kLine;
    if (pages && !pages->contains(page)) {
      past = page * kPageGranules;
      continue;
    }
    uint64_t wanted = ~uint64_t{0} >> (kLine - (past - line));
    if (line < begin) wanted &= ~uint64_t{0} << (begin - line);
    if (uint64_t starts = starts_in_line(codes + line) & wanted) return line + kLine - 1 - std::countl_zero(starts);
    past = line;
  }
  return end;
}

Block HeapMap::last_begun(uintptr_t address, size_t reach) const {
  uintptr_t granule = address >> kGranuleBits, first = (address - std::min(address, reach)) >> kGranuleBits;
  for (uintptr_t past = granule + 1; past > first;) {
    size_t index = (past - 1) / kLeafGranules, leaf_begin = index * kLeafGranules;
    size_t begin = std::max(first, leaf_begin) - leaf_begin, end = past - leaf_begin;
    size_t start = index < kLeaves ? last_start(index, begin, end) : end;
    if (start < end) return decode((leaf_begin + start) << kGranuleBits);
    past = leaf_begin;
  }
  return {};
}

} // namespace castaway
