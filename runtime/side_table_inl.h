// The layout behind side_table.h: for the SNAPSHOT walk over all shards.
#pragma once

#include "runtime/memory.h"
#include "runtime/spin_lock.h"

#include <atomic>

namespace castaway::side_table {

inline constexpr size_t kShards = 64;
inline constexpr uint32_t kFirstBuckets = 64, kBuckets = 1 << 14; // per shard, at first and at most
inline constexpr uint32_t kEntries = 1 << 19;                     // per shard; 33 million in all
inline constexpr uint32_t kTogether = 64;                         // nodes of a shard that lie together
inline constexpr uint32_t kInRegion = 1 << 13;                    // nodes of a shard in a region

// Leads to a node: where it is in all regions, + 1. 0 leads to none.
using Link = uint32_t;

// A node that was ever used stays in the chain of its entry's address, also while it is dead: most often the allocator
// soon gives out the same address again. Whoever needs a node may take a dead one, under the lock.
struct Node {
  SideEntry entry;
  Link next; // of the chain
  bool live;
};

struct alignas(128) Shard { // a pair of lines, which processors fetch together
  SpinLock lock;
  Link *buckets = nullptr; // to the first nodes
  uint64_t extent = 0;     // how many buckets are in use, and a mask for their numbers in the upper half; 0 at first
  uint32_t used = 0;       // nodes ever handed out
  uint32_t hand = 0;       // where dead ones are looked for next
  uint32_t patience = 0;   // so many nodes are handed out before they are looked for again
  Link first_buckets[kFirstBuckets] = {};

  uint32_t width() const { return static_cast<uint32_t>(extent); }
};

extern Shard shards[kShards];
Shard &shard_of(uintptr_t begin);

// In a region the shards take turns, kTogether nodes each: so that few nodes are on few pages, and these in one page
// table.
inline constexpr uint32_t kRegionNodes = kShards * kInRegion;
struct NodeMemory : GrowingMemory {
  constexpr NodeMemory() : GrowingMemory(kRegionNodes * sizeof(Node)) {}
};
extern NodeMemory node_memory[kEntries / kInRegion];

// To the shard's node of this number, from 0 on.
inline Link link_to(const Shard &shard, uint32_t number) {
  size_t turn = number / kTogether; // regions lie one behind the other in this count
  size_t run = turn * kShards + static_cast<size_t>(&shard - shards);
  return static_cast<Link>(run * kTogether + number % kTogether + 1);
}
// Of a node that was handed out.
[[gnu::always_inline]] inline Node &node_at(Link link) {
  uint32_t position = link - 1;
  void *region = node_memory[0].begin(); // most often, and then without waiting for the link
  if (__builtin_expect(position >= kRegionNodes, 0)) region = node_memory[position / kRegionNodes].begin();
  return static_cast<Node *>(region)[position % kRegionNodes];
}

template <typename Visit> void for_each(Visit visit) {
  for (const Shard &shard : shards)
    for (uint32_t i = 0; i < shard.used; ++i)
      if (const Node &node = node_at(link_to(shard, i)); node.live) visit(node.entry);
}

} // namespace castaway::side_table
