// What the blocks in a stretch of the heap map come to, without a look at each of them.
//
// Owner: scanner. Context: SNAPSHOT or an image that nobody writes. Thread-safe, but for the bits that it sets.
#pragma once

#include "scanner/heap_map.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

struct HeapTally {
  uint64_t blocks = 0;
  uint64_t bytes = 0;
  uint64_t large = 0;    // of the blocks, those longer than HeapMap::kSmallBytes
  uintptr_t begin = 0;   // of the first one
  uintptr_t reach = 0;   // the furthest end of their granules
  bool overlaps = false; // one begins within the granules of another one

  // Adds what comes behind this in the order of addresses.
  void append(const HeapTally &next);
  bool operator==(const HeapTally &) const = default;
};

// In which pages blocks begin: a bit for each of the pages whose codes are one page, the lowest is the first.
using BegunPages = uint16_t;
// The bit of this granule's page.
inline BegunPages bit_of_page(size_t granule) {
  constexpr size_t kGranules = 4096 / HeapMap::kGranule; // of a page
  static_assert(HeapMap::kPageGranules / kGranules == 8 * sizeof(BegunPages));
  return static_cast<BegunPages>(1u << granule % HeapMap::kPageGranules / kGranules);
}

// Of the blocks that start in `count` granules of a leaf, whose codes these are. `base` is the first granule's address,
// `count` a multiple of HeapMap::kLine. Sets the bits of their pages in `begun`, which counts from `base`, where a page
// of codes begins; null for none of that. `at_once`: see below; the answer is the same.
HeapTally tally(uintptr_t base, const uint8_t *codes, size_t count, BegunPages *begun, bool at_once);
// Whether this processor can look at all of a line at once: AVX-512 VBMI2, Intel's since 2019 and AMD's since 2022.
bool can_tally_at_once();

// Calls visit(Block) for each of them that is longer than HeapMap::kSmallBytes.
template <typename Visit> void visit_large(uintptr_t base, const uint8_t *codes, size_t count, Visit visit) {
  for (size_t at = 0; at < count; at += HeapMap::kLine)
    for (uint64_t large = HeapMap::large_in_line(codes + at); large; large &= large - 1) {
      size_t granule = at + static_cast<size_t>(__builtin_ctzll(large));
      Block block = HeapMap::decode_code(base + (granule << HeapMap::kGranuleBits), codes + granule);
      if (block.size > HeapMap::kSmallBytes) visit(block); // a stale one may say anything
    }
}

} // namespace castaway
