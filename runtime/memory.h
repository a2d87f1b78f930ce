// The runtime's own memory: regions from mmap, remembered so that they are never taken for roots of the target.
//
// Any context but SNAPSHOT, where what is needed later is mapped freely. Thread-safe. Regions are never given back:
// they are reserved address space, and pages come when touched.
#pragma once

#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

// Zeroed memory of at least `size` bytes, page-aligned; null when the kernel has none or the list of regions is full.
void *own_memory(size_t size);
// The same, shared with all processes that this one forks later, and they fork.
void *own_shared_memory(size_t size);

// All regions handed out so far, and the library's own segments. Writes at most `most`, returns how many.
size_t own_ranges(Range *out, size_t most);

inline constexpr size_t kOwnRegions = 4096;

// The address range of this library's segments, its .bss included.
Range own_module();

} // namespace castaway
