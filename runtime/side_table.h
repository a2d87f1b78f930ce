// The side table: what is known of flagged blocks beyond their length.
//
// A flagged block (heap_map.h) has an entry here: the stack that allocated it, that the loader owns it, that it was
// declared no leak, or that it was found leaked and is now watched: is it the same block still? Once that is reported,
// its end refutes the report.
//
// HOOK context, thread-safe. What adds to the table takes the spin lock of a shard; what takes an entry out, as each
// free of a flagged block does, needs none. There is room for some ten times what the default sampling needs; when it
// is full, or there is no memory, or a lock cannot be had, the block just stays without an entry.
//
// A block belongs to one thread at a time, and only that thread puts or takes its entry; the agent may mark it
// meanwhile. An entry counts while the heap map has its block flagged: it is put before the flag is set, and taken
// after the flag has gone, so who stops or copies all threads at any point finds no half of one.
#pragma once

#include "scanner/heap_map.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

struct RecordedStack {
  uint32_t id = 0;     // of CallStacks, 0 = not recorded
  uint32_t weight = 1; // how many blocks of its size this one stands for (sampling.h)

  bool operator==(const RecordedStack &) const = default;
};

struct SideEntry {
  // Marks: it was found leaked, and whoever frees it takes this entry away; and, only with that, its end would refute a
  // report; and, as BlockNote::settled.
  static constexpr uint8_t kWatched = 1, kReported = 2, kSettled = 4;

  uintptr_t begin = 0; // 0: unused
  uint64_t size = 0;
  uint64_t time_ns = 0; // of the allocation, 0 = not recorded
  RecordedStack stack = {};
  bool loader = false;
  bool ignored = false;
  uint8_t marks = 0;
  uint8_t shared = 0; // blocks of 8 bytes that share this granule (carried_allocator.cc)
};

namespace side_table {

// Adds or replaces the entry of the block at entry.begin. False when there is no room.
bool put(const SideEntry &entry);
// Removes and returns the entry of the block at `begin`; one with begin == 0 where there is none.
SideEntry take(uintptr_t begin);
// The same; returns only its marks.
uint8_t drop(uintptr_t begin);
// Marks the block at `begin` as watched from now on, adding an entry where there is none.
bool watch(uintptr_t begin, uint64_t size);
// For a watch that came too late, the block was gone: takes it back, and leaves what a new block there has put.
void unwatch(uintptr_t begin);
// Marks the watched block at `begin` as reported, or as settled. False where none is watched there any more.
bool mark_reported(uintptr_t begin);
bool mark_settled(uintptr_t begin);
// No block is settled any more.
void unsettle_all();
// Marks it as declared to be no leak, in the same way.
bool mark_ignored(uintptr_t begin, uint64_t size);
// The entry of the block at `begin`, or one with begin == 0.
SideEntry get(uintptr_t begin);

// Two blocks of at most 8 bytes can share a granule where the allocator aligns them to 8. `map` then has the granule as
// one block. share() adds one, which `stack` allocated; false where there is no room. unshare()
// takes one away; false where the granule is not a shared one. Both keep map and table together under the lock.
bool share(uintptr_t granule, HeapMap &map, RecordedStack stack);
bool unshare(uintptr_t granule, HeapMap &map);

// SNAPSHOT: calls visit(const SideEntry&) for each entry, in no order, without locks.
template <typename Visit> void for_each(Visit visit);
// An upper bound of the number of entries.
size_t size();
// In the child of a fork.
void reset_locks();

} // namespace side_table
} // namespace castaway

#include "runtime/side_table_inl.h"
