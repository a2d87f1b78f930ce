// The layout behind side_table.h: for the SNAPSHOT walk over all shards.
#pragma once

#include "runtime/spin_lock.h"

namespace castaway::side_table {

inline constexpr size_t kShards = 64;
inline constexpr uint32_t kFirstBuckets = 64, kBuckets = 1 << 14; // per shard, at first and at most
inline constexpr size_t kEntries = size_t{1} << 19;               // per shard; 33 million in all

// A node that was ever used stays in the chain of its entry's address, also while it is dead: most often the allocator
// soon gives out the same address again. Whoever needs a node may take a dead one, under the lock.
struct Node {
  SideEntry entry;
  uint32_t next; // index + 1 in the shard, of the chain
  bool live;
};

struct alignas(128) Shard { // a pair of lines, which processors fetch together
  SpinLock lock;
  uint32_t *buckets = nullptr; // index + 1 of the first node
  uint32_t width = 0;          // buckets in use
  Node *nodes = nullptr;
  uint32_t used = 0;     // nodes ever handed out
  uint32_t hand = 0;     // where dead ones are looked for next
  uint32_t patience = 0; // so many nodes are handed out before they are looked for again
  uint32_t first_buckets[kFirstBuckets] = {};
};

extern Shard shards[kShards];
Shard &shard_of(uintptr_t begin);

template <typename Visit> void for_each(Visit visit) {
  for (const Shard &shard : shards)
    for (uint32_t i = 0; i < shard.used; ++i)
      if (shard.nodes[i].live) visit(shard.nodes[i].entry);
}

} // namespace castaway::side_table
