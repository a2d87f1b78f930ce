// The side table; see side_table.h. Chained hashing with index links, one spin lock a shard.
#include "runtime/side_table.h"

#include "runtime/memory.h"

namespace castaway::side_table {

Shard shards[kShards];

namespace {

uint64_t hash(uint64_t number) { return number * 0x9e3779b97f4a7c15u; }
// Blocks near each other are in one shard: those of one thread, as most allocators give them out, so that threads
// seldom write to the same shard.
Shard &shard_of(uintptr_t begin) {
  constexpr int kRegionBits = 12; // wider, and who frees what another thread allocates would meet it too often
  return shards[hash(begin >> kRegionBits) >> 58];
}
uint32_t &bucket_of(Shard &shard, uintptr_t begin) { return shard.buckets[(hash(begin >> 4) >> 40) & (kBuckets - 1)]; }

bool ready(Shard &shard) {
  if (shard.nodes) return true;
  if (!shard.buckets) shard.buckets = static_cast<uint32_t *>(own_memory(kBuckets * sizeof(uint32_t)));
  if (shard.buckets) shard.nodes = static_cast<Node *>(own_memory(kEntries * sizeof(Node)));
  return shard.nodes != nullptr;
}

// The link that leads to the node of `begin`, or the 0 at the end of its chain.
uint32_t *find(Shard &shard, uintptr_t begin) {
  uint32_t *link = &bucket_of(shard, begin);
  while (*link != 0 && shard.nodes[*link - 1].entry.begin != begin) link = &shard.nodes[*link - 1].next;
  return link;
}

uint32_t new_node(Shard &shard) {
  if (uint32_t index = shard.free) return shard.free = shard.nodes[index - 1].next, index;
  return shard.used < kEntries ? ++shard.used : 0;
}

// The number of a node for `begin`, which has none, in its chain; 0 when there is no room. Its entry is still to be
// written. The lock is held.
uint32_t add(Shard &shard, uintptr_t begin) {
  uint32_t index = new_node(shard);
  if (index == 0) return 0;
  uint32_t &bucket = bucket_of(shard, begin);
  shard.nodes[index - 1].next = bucket;
  return bucket = index;
}

// The entry of `begin`, made if there is none; null when there is no room. The lock is held.
SideEntry *entry_for(Shard &shard, uintptr_t begin) {
  if (!ready(shard)) return nullptr;
  if (uint32_t index = *find(shard, begin)) return &shard.nodes[index - 1].entry;
  uint32_t index = add(shard, begin);
  if (index == 0) return nullptr;
  SideEntry &entry = shard.nodes[index - 1].entry;
  entry = {.begin = begin};
  return &entry;
}

// Removes and returns the entry of `begin`, if there is one. The lock is held.
SideEntry remove(Shard &shard, uintptr_t begin) {
  uint32_t *link = find(shard, begin);
  uint32_t index = *link;
  if (index == 0) return {};
  Node &node = shard.nodes[index - 1];
  SideEntry entry = node.entry;
  *link = node.next;
  node.entry.begin = 0;
  node.next = shard.free;
  shard.free = index;
  return entry;
}

} // namespace

bool put(const SideEntry &entry) {
  Shard &shard = shard_of(entry.begin);
  SpinGuard guard(shard.lock);
  if (!guard || !ready(shard)) return false;
  uint32_t index = *find(shard, entry.begin);
  if (index == 0) index = add(shard, entry.begin);
  if (index != 0) shard.nodes[index - 1].entry = entry;
  return index != 0;
}

SideEntry take(uintptr_t begin) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  return guard && shard.nodes ? remove(shard, begin) : SideEntry{};
}

SideEntry get(uintptr_t begin) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  if (!guard || !shard.nodes) return {};
  uint32_t index = *find(shard, begin);
  return index ? shard.nodes[index - 1].entry : SideEntry{};
}

bool mark_reported(uintptr_t begin, uint64_t size) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  SideEntry *entry = guard ? entry_for(shard, begin) : nullptr;
  if (!entry) return false;
  entry->size = size;
  entry->reported = true;
  return true;
}

bool mark_ignored(uintptr_t begin, uint64_t size) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  SideEntry *entry = guard ? entry_for(shard, begin) : nullptr;
  if (!entry) return false;
  if (entry->size == 0) entry->size = size;
  entry->ignored = true;
  return true;
}

bool share(uintptr_t granule, HeapMap &map, RecordedStack stack) {
  Shard &shard = shard_of(granule);
  SpinGuard guard(shard.lock);
  SideEntry *entry = guard ? entry_for(shard, granule) : nullptr;
  if (!entry) return false;
  entry->size = 8u * ++entry->shared;
  if (stack.id != 0) entry->stack = stack;
  return map.insert(granule, HeapMap::kGranule, true);
}

bool unshare(uintptr_t granule, HeapMap &map) {
  Shard &shard = shard_of(granule);
  SpinGuard guard(shard.lock);
  uint32_t index = guard && shard.nodes ? *find(shard, granule) : 0;
  if (index == 0 || shard.nodes[index - 1].entry.shared == 0) return false;
  SideEntry &entry = shard.nodes[index - 1].entry;
  entry.size = 8u * --entry.shared;
  if (entry.shared > 0) return true;
  map.erase(granule);
  remove(shard, granule);
  return true;
}

size_t size() {
  size_t total = 0;
  for (const Shard &shard : shards) total += shard.used;
  return total;
}

void reset_locks() {
  for (Shard &shard : shards) shard.lock.reset();
}

} // namespace castaway::side_table
