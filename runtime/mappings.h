// Which anonymous memory is the application's own and which the allocator's.
//
// The kernel merges neighbouring anonymous mappings, so an application's own mmap (Python's arenas, JIT and GC heaps)
// can disappear into one that the allocator made; scanned as heap only, what it points to would look leaked. So mmap,
// mremap and munmap are hooked (they are rare) and told apart by the module of the caller.
#pragma once

#include "runtime/range_set.h"

namespace castaway {

extern RangeSet application_memory; // roots
extern RangeSet
    allocator_memory; // of an allocator that maps through the hooks: blocks in it are known, the rest is no root

// Before main, when the allocator's module is known: mappings that it made before that are its own too.
void classify_early_mappings();

} // namespace castaway
