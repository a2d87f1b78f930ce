// The runtime's own memory; see memory.h.
#include "runtime/memory.h"

#include "runtime/sys.h"

#include <atomic>

extern "C" {
[[gnu::visibility("hidden")]] extern const char __ehdr_start[]; // the linker's names for this library's first
[[gnu::visibility("hidden")]] extern const char _end[];         // and last byte
}

namespace castaway {

namespace {

constexpr size_t kPage = 4096;

struct Region {
  std::atomic<uintptr_t> begin;
  std::atomic<uintptr_t> end; // 0 until the entry is complete
};
Region regions[kOwnRegions];
std::atomic<size_t> region_count;

void *map_own(size_t size, int kind) {
  size = (size + kPage - 1) & ~(kPage - 1);
  void *memory = sys::map_memory(size, kind);
  if (!memory) return nullptr;
  size_t slot = region_count.fetch_add(1, std::memory_order_relaxed);
  if (slot >= kOwnRegions) {
    region_count.store(kOwnRegions, std::memory_order_relaxed);
    return sys::unmap_memory(memory, size), nullptr;
  }
  uintptr_t begin = reinterpret_cast<uintptr_t>(memory);
  regions[slot].begin.store(begin, std::memory_order_relaxed);
  regions[slot].end.store(begin + size, std::memory_order_release);
  return memory;
}

} // namespace

void *own_memory(size_t size) { return map_own(size, MAP_PRIVATE); }
void *own_shared_memory(size_t size) { return map_own(size, MAP_SHARED); }

size_t own_ranges(Range *out, size_t most) {
  size_t count = 0;
  size_t used = region_count.load(std::memory_order_acquire);
  if (count < most) out[count++] = own_module();
  for (size_t i = 0; i < used && i < kOwnRegions && count < most; ++i)
    if (uintptr_t end = regions[i].end.load(std::memory_order_acquire))
      out[count++] = {regions[i].begin.load(std::memory_order_relaxed), end};
  return count;
}

Range own_module() {
  uintptr_t begin = reinterpret_cast<uintptr_t>(__ehdr_start) & ~(kPage - 1);
  uintptr_t end = (reinterpret_cast<uintptr_t>(_end) + kPage - 1) & ~(kPage - 1);
  return {begin, end};
}

} // namespace castaway
