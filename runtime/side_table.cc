// The side table; see side_table.h. Chained hashing, one spin lock a shard.
//
// The buckets in use grow with the nodes, one at a time (linear hashing: W. Litwin, VLDB 1980): a process of which few
// blocks are recorded, as most are, would else have a page of buckets for every four of them, and each fork copies
// that.
//
// Entries are taken out without the lock: the search may be led astray by nodes that move to other chains meanwhile, so
// what it finds is true and what it does not find is looked for again under the lock. It finds only a live node with
// the right address, and that is the block's own: nobody makes another one for this address, or gives this node away,
// but the thread that owns the block, and that is the one that searches. To take the entry out is then one store: the
// node is dead. Its chain, and the node's new use, are the business of who holds the lock.
#include "runtime/side_table.h"

#include "runtime/memory.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

namespace castaway::side_table {

Shard shards[kShards];
constinit NodeMemory node_memory[kEntries / kInRegion];

namespace {
[[gnu::always_inline]] inline uint64_t hash(uint64_t number) { return number * 0x9e3779b97f4a7c15u; }
} // namespace

// Blocks near each other are in one shard: those of one thread, as most allocators give them out, so that threads
// seldom write to the same shard.
[[gnu::hot]] Shard &shard_of(uintptr_t begin) {
  constexpr int kRegionBits = 12; // wider, and who frees what another thread allocates would meet it too often
  return shards[hash(begin >> kRegionBits) >> 58];
}

namespace {

// What is read without the lock, or written beside such readers.
template <typename T> [[gnu::always_inline]] inline T load(const T &word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}
template <typename T> [[gnu::always_inline]] inline void store(T &word, T value) {
  __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}

// Field by field, also where a register would hold several: what was just written in parts is not read as a whole
// before it has reached the cache.
[[gnu::always_inline]] inline void write(SideEntry &to, const SideEntry &from) {
  store(to.size, from.size);
  store(to.time_ns, from.time_ns);
  store(to.stack.id, from.stack.id);
  store(to.stack.weight, from.stack.weight);
  store(to.loader, from.loader);
  store(to.ignored, from.ignored);
  store(to.marks, from.marks);
  store(to.shared, from.shared);
}

SideEntry read(const SideEntry &entry) {
  return {.begin = load(entry.begin),
          .size = load(entry.size),
          .time_ns = load(entry.time_ns),
          .stack = {load(entry.stack.id), load(entry.stack.weight)},
          .loader = load(entry.loader),
          .ignored = load(entry.ignored),
          .marks = load(entry.marks),
          .shared = load(entry.shared)};
}

// Of so many in use: the mask has as many bits as the number of the last one.
uint64_t extent_of(uint32_t width) { return width | uint64_t{~uint32_t{0} >> __builtin_clz(width - 1)} << 32; }

[[gnu::always_inline]] inline uint32_t bucket_of(uintptr_t begin, uint64_t extent) {
  uint32_t bucket = static_cast<uint32_t>(hash(begin >> 4) >> 40) & static_cast<uint32_t>(extent >> 32);
  return bucket < static_cast<uint32_t>(extent) ? bucket : bucket & static_cast<uint32_t>(extent >> 33);
}

void make_ready(Shard &shard) {
  shard.buckets = shard.first_buckets;
  store(shard.extent, extent_of(kFirstBuckets));
}

// The node of this address, live or dead, without the lock. Null: perhaps there is none.
[[gnu::always_inline]] inline Node *find_soon(const Shard &shard, uintptr_t begin) {
  constexpr int kMostSteps = 64;        // a chain that is being changed could lead in a circle
  uint64_t extent = load(shard.extent); // before the buckets, of which there may be more by then
  if (extent == 0) return nullptr;
  Link link = load(load(shard.buckets)[bucket_of(begin, extent)]);
  for (int i = 0; link != 0 && i < kMostSteps; ++i) {
    Node &node = node_at(link);
    if (load(node.entry.begin) == begin) return &node;
    link = load(node.next);
  }
  return nullptr;
}

// --- the lock is held ------------------------------------------------------------------------------------------------

// The link that begins the chain of this address.
Link &chain_of(Shard &shard, uintptr_t begin) { return shard.buckets[bucket_of(begin, shard.extent)]; }

// The link, in the chain of this address, that leads to the first node that is wanted; null where none is.
template <typename Wanted> Link *find_link(Shard &shard, uintptr_t begin, Wanted is_wanted) {
  Link *link = &chain_of(shard, begin);
  for (uint32_t left = shard.used; *link != 0 && left > 0; --left) { // no more than there are: see link_all()
    Node &node = node_at(*link);
    if (is_wanted(node)) return link;
    link = &node.next;
  }
  return nullptr;
}

// Takes a node out of its chain.
void unlink(Shard &shard, Node &node) {
  Link *link = find_link(shard, node.entry.begin, [&](const Node &each) { return &each == &node; });
  if (link) store(*link, node.next);
}

// Puts one more bucket to use, and into it what belongs there of the one that had it so far.
void widen(Shard &shard) {
  const uint32_t added = shard.width();
  const uint64_t extent = extent_of(added + 1);
  if (added == kFirstBuckets) {
    auto *buckets = static_cast<Link *>(own_memory(kBuckets * sizeof(Link)));
    if (!buckets) return;
    std::copy_n(shard.first_buckets, kFirstBuckets, buckets);
    store(shard.buckets, buckets);
  }
  Link *kept_end = &shard.buckets[added - std::bit_floor(added)], *moved_end = &shard.buckets[added];
  store(shard.extent, extent);
  for (Link link = *kept_end, next; link != 0; link = next) {
    Node &node = node_at(link);
    next = node.next;
    Link *&end = bucket_of(node.entry.begin, extent) == added ? moved_end : kept_end;
    store(*end, link);
    end = &node.next;
  }
  store(*kept_end, Link{0}), store(*moved_end, Link{0});
}

// All chains anew, where the lock was held when the process was forked: whoever held it is not here to go on. Unless it
// was this very thread, and a signal handler forked: then it goes on with what it knew, and a chain may become too
// short, or a circle, which nobody may follow for ever.
void link_all(Shard &shard) {
  std::fill_n(shard.buckets, shard.width(), 0);
  for (uint32_t i = 0; i < shard.used; ++i) {
    const Link link = link_to(shard, i);
    Node &node = node_at(link);
    node.next = std::exchange(chain_of(shard, node.entry.begin), link);
  }
}

// A dead node out of its chain, 0 if none was found soon. Where entries are only added, hardly any time is lost.
Link reclaim(Shard &shard) {
  constexpr uint32_t kProbes = 16, kPatience = 8;
  if (shard.patience > 0 && shard.used < kEntries) return --shard.patience, 0;
  for (uint32_t i = 0; i < kProbes && i < shard.used; ++i) {
    if (shard.hand >= shard.used) shard.hand = 0;
    const Link link = link_to(shard, shard.hand++);
    if (Node &node = node_at(link); !load(node.live)) return unlink(shard, node), link;
  }
  shard.patience = kPatience;
  return 0;
}

// Whether there is memory for the node of this number.
bool has_memory(uint32_t number) {
  constexpr size_t kTurn = size_t{kShards} * kTogether * sizeof(Node); // bytes of a turn of all shards
  return node_memory[number / kInRegion].grow((number % kInRegion / kTogether + 1) * kTurn) != nullptr;
}

Link new_node(Shard &shard) {
  if (Link link = reclaim(shard)) return link;
  if (shard.used == kEntries) return 0;
  if (!has_memory(shard.used)) return shard.patience = 0; // dead ones are all there is
  const Link link = link_to(shard, shard.used);
  store(shard.used, shard.used + 1);
  return link;
}

// The node of this address, live or dead; null where there is none.
Node *find(Shard &shard, uintptr_t begin) {
  Link *link = find_link(shard, begin, [&](const Node &node) { return node.entry.begin == begin; });
  return link ? &node_at(*link) : nullptr;
}
Node *find_live(Shard &shard, uintptr_t begin) {
  Node *node = shard.width() != 0 ? find(shard, begin) : nullptr;
  return node && load(node->live) ? node : nullptr;
}

// A node for `begin`, which has none, in its chain and dead; null when there is no room.
Node *add(Shard &shard, uintptr_t begin) {
  if (shard.used > shard.width() && shard.width() < kBuckets) widen(shard);
  const Link *dead = find_link(shard, begin, [](const Node &node) { return !load(node.live); });
  const Link link = dead ? *dead : new_node(shard);
  if (link == 0) return nullptr;
  Node &node = node_at(link);
  store(node.entry.begin, begin);
  if (dead) return &node;
  Link &bucket = chain_of(shard, begin);
  store(node.next, bucket);
  store(bucket, link);
  return &node;
}

[[gnu::noinline]] Node *node_for(Shard &shard, uintptr_t begin) {
  if (__builtin_expect(shard.width() == 0, 0)) make_ready(shard);
  Node *node = find(shard, begin);
  return node ? node : add(shard, begin);
}

// The entry of `begin`, made if there is none; null when there is no room.
SideEntry *entry_for(Shard &shard, uintptr_t begin) {
  Node *node = node_for(shard, begin);
  if (!node) return nullptr;
  if (!load(node->live)) write(node->entry, {}), store(node->live, true);
  return &node->entry;
}

// --- the lock is taken -----------------------------------------------------------------------------------------------

[[gnu::noinline]] Node *find_surely(Shard &shard, uintptr_t begin) {
  SpinGuard guard(shard.lock);
  return guard ? find_live(shard, begin) : nullptr;
}

// The live node of the caller's own block; null where there is none, or the lock cannot be had. A dead node may become
// another block's at any time: which one a live node is about is asked last.
[[gnu::always_inline]] inline Node *find_own(uintptr_t begin) {
  Shard &shard = shard_of(begin);
  Node *node = find_soon(shard, begin);
  bool is_own = node && load(node->live) && load(node->entry.begin) == begin;
  return __builtin_expect(is_own, 1) ? node : find_surely(shard, begin);
}

} // namespace

[[gnu::hot]] bool put(const SideEntry &entry) {
  Shard &shard = shard_of(entry.begin);
  Node *node =
      find_soon(shard, entry.begin); // before the lock: what is read behind a locked operation has to wait for it
  SpinGuard guard(shard.lock);
  if (!guard) return false;
  if (__builtin_expect(!node || load(node->entry.begin) != entry.begin, 0)) node = node_for(shard, entry.begin);
  if (!node) return false;
  write(node->entry, entry);
  store(node->live, true); // last: who walks over all nodes sees the whole entry
  return true;
}

SideEntry take(uintptr_t begin) {
  Node *node = find_own(begin);
  if (!node) return {};
  SideEntry entry = read(node->entry);
  store(node->live, false);
  return entry;
}

[[gnu::hot]] uint8_t drop(uintptr_t begin) {
  Node *node = find_own(begin);
  if (!node) return 0;
  uint8_t marks = load(node->entry.marks);
  store(node->live, false);
  return marks;
}

SideEntry get(uintptr_t begin) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  Node *node = guard ? find_live(shard, begin) : nullptr;
  return node ? read(node->entry) : SideEntry{};
}

bool watch(uintptr_t begin, uint64_t size) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  SideEntry *entry = guard ? entry_for(shard, begin) : nullptr;
  if (!entry) return false;
  store(entry->size, size);
  store(entry->marks, SideEntry::kWatched);
  return true;
}

void unwatch(uintptr_t begin) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  Node *node = guard ? find_live(shard, begin) : nullptr;
  if (!node) return;
  SideEntry entry = read(node->entry);
  store(node->entry.marks, uint8_t{0});
  if (entry.stack.id == 0 && !entry.loader && !entry.ignored && entry.shared == 0) store(node->live, false);
}

namespace {

bool mark_watched(uintptr_t begin, uint8_t mark) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  Node *node = guard ? find_live(shard, begin) : nullptr;
  uint8_t marks = node ? load(node->entry.marks) : 0;
  if (!(marks & SideEntry::kWatched)) return false;
  store(node->entry.marks, static_cast<uint8_t>(marks | mark));
  return true;
}

} // namespace

bool mark_reported(uintptr_t begin) { return mark_watched(begin, SideEntry::kReported); }
bool mark_settled(uintptr_t begin) { return mark_watched(begin, SideEntry::kSettled); }

void unsettle_all() {
  for (Shard &shard : shards)
    for (uint32_t i = 0; i < load(shard.used); ++i)
      __atomic_fetch_and(&node_at(link_to(shard, i)).entry.marks, static_cast<uint8_t>(~SideEntry::kSettled),
                         __ATOMIC_RELAXED);
}

bool mark_ignored(uintptr_t begin, uint64_t size) {
  Shard &shard = shard_of(begin);
  SpinGuard guard(shard.lock);
  SideEntry *entry = guard ? entry_for(shard, begin) : nullptr;
  if (!entry) return false;
  if (load(entry->size) == 0) store(entry->size, size);
  store(entry->ignored, true);
  return true;
}

bool share(uintptr_t granule, HeapMap &map, RecordedStack stack) {
  Shard &shard = shard_of(granule);
  SpinGuard guard(shard.lock);
  SideEntry *entry = guard ? entry_for(shard, granule) : nullptr;
  if (!entry) return false;
  store(entry->shared, static_cast<uint8_t>(entry->shared + 1));
  store(entry->size, uint64_t{8} * entry->shared);
  if (stack.id != 0) store(entry->stack.id, stack.id), store(entry->stack.weight, stack.weight);
  return map.insert(granule, HeapMap::kGranule, true);
}

bool unshare(uintptr_t granule, HeapMap &map) {
  Shard &shard = shard_of(granule);
  SpinGuard guard(shard.lock);
  Node *node = guard ? find_live(shard, granule) : nullptr;
  if (!node || node->entry.shared == 0) return false;
  SideEntry &entry = node->entry;
  store(entry.shared, static_cast<uint8_t>(entry.shared - 1));
  store(entry.size, uint64_t{8} * entry.shared);
  if (entry.shared > 0) return true;
  map.erase(granule);
  store(node->live, false);
  return true;
}

size_t size() {
  size_t total = 0;
  for (const Shard &shard : shards) total += shard.used;
  return total;
}

void reset_locks() {
  for (Shard &shard : shards) {
    if (shard.lock.is_held() && shard.width() != 0) link_all(shard);
    shard.lock.reset();
  }
}

} // namespace castaway::side_table
