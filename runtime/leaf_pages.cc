// Which pages of the heap map have been written; see leaf_pages.h. Source: proc_pid_pagemap(5).
#include "runtime/leaf_pages.h"

#include "runtime/tracking.h"

namespace castaway {

namespace {

constexpr uintptr_t kPage = 4096;
constexpr size_t kPages = HeapMap::kLeafGranules / kPage;

// False where that is not known of all pages.
bool read_pages(int pagemap, const uint8_t *codes, HeapMap::WrittenPages &written) {
  static_assert(HeapMap::kPageGranules == kPage);
  static uint64_t entries[kPages];
  auto at = reinterpret_cast<uintptr_t>(codes);
  if (at % kPage != 0) return false;
  if (sys::call(SYS_pread64, pagemap, entries, sizeof entries, at / kPage * sizeof *entries) != sizeof entries)
    return false;
  for (size_t i = 0; i < kPages; ++i)
    if (is_page_here(entries[i])) written.bits[i / 64] |= uint64_t{1} << (i % 64);
  return true;
}

} // namespace

void note_written_pages(const Proc &self) {
  using WrittenPages = HeapMap::WrittenPages;
  size_t leaves = 0;
  heap_map.visit_leaves([&](size_t, const uint8_t *) { ++leaves; });
  if (leaves == 0) return;
  auto **table = static_cast<const WrittenPages **>(sys::map_memory(HeapMap::kLeaves * sizeof(WrittenPages *)));
  auto *pages = static_cast<WrittenPages *>(sys::map_memory(leaves * sizeof(WrittenPages)));
  int pagemap = self.open("pagemap");
  if (table && pages && pagemap >= 0)
    heap_map.visit_leaves([&](size_t index, const uint8_t *codes) {
      if (read_pages(pagemap, codes, *pages)) table[index] = pages++;
    });
  sys::close(pagemap);
  heap_map.set_written(table);
}

} // namespace castaway
