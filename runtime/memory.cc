// The runtime's own memory; see memory.h.
#include "runtime/memory.h"

#include "runtime/sys.h"

#include <algorithm>
#include <atomic>
#include <cstring>

extern "C" {
[[gnu::visibility("hidden")]] extern const char __ehdr_start[]; // the linker's names for this library's first
[[gnu::visibility("hidden")]] extern const char _end[];         // and last byte
}

namespace castaway {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kGrowth = size_t{1} << 20; // less than a huge page, so that the first touch does not bring one

std::atomic<bool> locks_what_is_mapped; // the program does, from now on

struct Region {
  std::atomic<uintptr_t> begin;
  std::atomic<uintptr_t> end; // 0 until the entry is complete
};
Region regions[kOwnRegions];
std::atomic<size_t> region_count;

// Whether it is among the regions now.
bool remember(uintptr_t begin, size_t size) {
  size_t slot = region_count.fetch_add(1, std::memory_order_relaxed);
  if (slot >= kOwnRegions) return region_count.store(kOwnRegions, std::memory_order_relaxed), false;
  regions[slot].begin.store(begin, std::memory_order_relaxed);
  regions[slot].end.store(begin + size, std::memory_order_release);
  return true;
}

// Calls visit(Range) for all that are complete.
template <typename Visit> void for_each_region(Visit visit) {
  const size_t used = region_count.load(std::memory_order_acquire);
  for (size_t i = 0; i < used && i < kOwnRegions; ++i)
    if (uintptr_t end = regions[i].end.load(std::memory_order_acquire))
      visit(Range{regions[i].begin.load(std::memory_order_relaxed), end});
}

bool make_accessible(void *memory, size_t size) {
  return sys::call(SYS_mprotect, memory, size, PROT_READ | PROT_WRITE) == 0;
}

// In a program that locks what it maps the kernel brings all pages of what is accessible: it is made so when it is no
// longer locked.
void *map_unlocked(size_t size, int kind, bool accessible) {
  const bool locked = locks_what_is_mapped.load(std::memory_order_relaxed);
  void *memory = sys::map_memory(size, kind, accessible && !locked ? PROT_READ | PROT_WRITE : PROT_NONE);
  if (!memory || !locked) return memory;
  sys::call(SYS_munlock, memory, size);
  if (accessible && !make_accessible(memory, size)) return sys::unmap_memory(memory, size), nullptr;
  return memory;
}

void *map_own(size_t size, int kind, bool accessible = true) {
  size = (size + kPage - 1) & ~(kPage - 1);
  void *memory = map_unlocked(size, kind, accessible);
  if (memory && !remember(reinterpret_cast<uintptr_t>(memory), size)) return sys::unmap_memory(memory, size), nullptr;
  return memory;
}

} // namespace

void *own_memory(size_t size) { return map_own(size, MAP_PRIVATE); }
void *own_shared_memory(size_t size) { return map_own(size, MAP_SHARED); }

void clear_own_memory(void *at, size_t size) {
  if (sys::call(SYS_madvise, at, size, MADV_DONTNEED) == 0) return;
  sys::call(SYS_munlock, at, size); // locked pages are not given back
  if (sys::call(SYS_madvise, at, size, MADV_DONTNEED) != 0) std::memset(at, 0, size);
}

void expect_locking() { locks_what_is_mapped.store(true, std::memory_order_relaxed); }

void unlock_own_memory() {
  for_each_region([](Range region) { sys::call(SYS_munlock, region.begin, region.size()); });
}

void *GrowingMemory::grow_slowly(size_t size) {
  if (size > most_) return nullptr;
  void *memory = begin();
  if (!memory) {
    void *fresh = map_own(most_, MAP_PRIVATE, false);
    if (!fresh) return nullptr;
    memory = begin_.compare_exchange_strong(memory, fresh) ? fresh : memory; // another thread may have been first
  }
  size = std::min((size + kGrowth - 1) & ~(kGrowth - 1), most_);
  if (!make_accessible(memory, size)) return nullptr;
  for (size_t usable = usable_.load(); usable < size && !usable_.compare_exchange_weak(usable, size);) {
  }
  return memory;
}

void GrowingMemory::clear() {
  if (size_t usable = usable_.load(); usable > 0) clear_own_memory(begin(), usable);
}

size_t own_ranges(Range *out, size_t most) {
  size_t count = 0;
  auto write = [&](Range range) {
    if (count < most) out[count++] = range;
  };
  write(own_module());
  for_each_region(write);
  return count;
}

Range own_module() {
  uintptr_t begin = reinterpret_cast<uintptr_t>(__ehdr_start) & ~(kPage - 1);
  uintptr_t end = (reinterpret_cast<uintptr_t>(_end) + kPage - 1) & ~(kPage - 1);
  return {begin, end};
}

} // namespace castaway
