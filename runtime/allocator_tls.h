// The allocator's own thread-local memory, where that holds numbers that look like pointers into the heap.
//
// jemalloc keeps, in each thread, the keys of its latest look-ups: addresses of which the low 30 bits are cleared
// (rtree_ctx_t, rtree.h). A block of hundreds of MiB contains such an address as likely as not, and would live by it.
// Nobody points into a block with nothing but a multiple of 1 GiB, least of all from there.
#pragma once

#include "runtime/stop.h"
#include "runtime/vmas.h"

#include <span>

namespace castaway {

// Where it lies, relative to the thread pointer. Context: the library's start, after resolve_real().
void learn_allocator_tls();

// Clears such keys. Context: SNAPSHOT, in its private copy.
void forget_lookup_keys(std::span<const StoppedThread> threads, const Vmas &vmas);

} // namespace castaway
