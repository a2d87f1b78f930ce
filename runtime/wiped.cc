// Whether a fork has emptied a mapping; see wiped.h. Sources: madvise(2), mremap(2) ("EFAULT [...] mappings that cover
// the whole address space requested, but those mappings are of different types"), proc_pid_pagemap(5).
#include "runtime/wiped.h"

#include "runtime/sys.h"

#include <algorithm>

namespace castaway {

namespace {

constexpr uintptr_t kPage = 4096;

// Whether one of the first pages is there: a fork leaves none where it wipes.
bool has_pages(Range range, int pagemap) {
  constexpr size_t kMost = 64;
  uint64_t entries[kMost];
  size_t bytes = std::min(kMost, range.size() / kPage) * sizeof *entries;
  long got = sys::call(SYS_pread64, pagemap, entries, bytes, range.begin / kPage * sizeof *entries);
  return got > 0 && std::any_of(entries, entries + got / sizeof *entries, is_page_here);
}

// Of two pages at least, in one mapping.
Wiped ask_by_splitting(uintptr_t begin) {
  constexpr size_t kTooMuch = size_t{1} << 46; // no room for it, wherever that would be
  if (sys::call(SYS_madvise, begin, kPage, MADV_WIPEONFORK) != 0) return Wiped::unknown;
  long answer = sys::call(SYS_mremap, begin, 2 * kPage, kTooMuch, 0);
  if (answer == -ENOMEM) return Wiped::yes;
  if (answer != -EFAULT) return Wiped::unknown;
  return sys::call(SYS_madvise, begin, kPage, MADV_KEEPONFORK) == 0 ? Wiped::no : Wiped::unknown;
}

// A single page cannot be split: it is made two, elsewhere if need be, and an empty one takes its place.
Wiped ask_single(const Vma &vma) {
  long moved = sys::call(SYS_mremap, vma.range.begin, kPage, 2 * kPage, MREMAP_MAYMOVE);
  if (moved < 0) return Wiped::unknown;
  Wiped answer = ask_by_splitting(static_cast<uintptr_t>(moved));
  sys::call(SYS_munmap, moved, 2 * kPage);
  int protection = (vma.readable ? PROT_READ : 0) | (vma.writable ? PROT_WRITE : 0) | (vma.executable ? PROT_EXEC : 0);
  sys::call(SYS_mmap, vma.range.begin, kPage, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return answer;
}

} // namespace

Wiped find_wiped(const Vma &vma, int pagemap) {
  if (has_pages(vma.range, pagemap)) return Wiped::no;
  return vma.range.size() < 2 * kPage ? ask_single(vma) : ask_by_splitting(vma.range.begin);
}

} // namespace castaway
