// Recorded call stacks; see call_stacks.h. Records lie one behind the other in reserved memory, chained by hash.
#include "runtime/call_stacks.h"

#include "runtime/memory.h"

#include <atomic>
#include <cstring>

namespace castaway::call_stacks {

namespace {

constexpr size_t kBytes = size_t{256} << 20; // reserved; 250 000 stacks of 128 frames, or millions of usual ones
constexpr size_t kBuckets = size_t{1} << 16;

// In units of 8 bytes; an id is the index of a record + 1.
struct Record {
  uint32_t next; // id of the next one in the chain
  uint32_t depth;
  uint64_t hash;
  uintptr_t pcs[];
};

GrowingMemory storage(kBytes);
std::atomic<size_t> used; // in units of 8 bytes
std::atomic<uint32_t> buckets[kBuckets];

Record &record(uint32_t id) { return *reinterpret_cast<Record *>(static_cast<uint64_t *>(storage.begin()) + (id - 1)); }

uint64_t hash_of(std::span<const uintptr_t> pcs) {
  uint64_t hash = pcs.size();
  for (uintptr_t pc : pcs) hash = (hash ^ pc) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
  return hash;
}

} // namespace

uint32_t intern(std::span<const uintptr_t> pcs) {
  if (pcs.empty()) return 0;
  if (pcs.size() > kDeepest) pcs = pcs.first(kDeepest);
  uint64_t hash = hash_of(pcs);
  std::atomic<uint32_t> &bucket = buckets[hash & (kBuckets - 1)];
  uint32_t head = bucket.load(std::memory_order_acquire);
  for (uint32_t id = head; id != 0; id = record(id).next) {
    const Record &known = record(id);
    if (known.hash == hash && known.depth == pcs.size() && !std::memcmp(known.pcs, pcs.data(), pcs.size_bytes()))
      return id;
  }
  size_t units = sizeof(Record) / 8 + pcs.size();
  size_t at = used.load(std::memory_order_relaxed);
  do
    if (!storage.grow((at + units) * 8)) return 0;
  while (!used.compare_exchange_weak(at, at + units, std::memory_order_relaxed));
  uint32_t id = static_cast<uint32_t>(at + 1);
  Record &fresh = record(id);
  fresh.depth = static_cast<uint32_t>(pcs.size());
  fresh.hash = hash;
  std::memcpy(fresh.pcs, pcs.data(), pcs.size_bytes());
  // Two threads may record the same stack at once: the same frames under two numbers do no harm.
  fresh.next = head;
  while (!bucket.compare_exchange_weak(head, id, std::memory_order_acq_rel)) fresh.next = head;
  return id;
}

std::span<const uintptr_t> frames(uint32_t id) {
  if (id == 0) return {};
  const Record &known = record(id);
  return {known.pcs, known.depth};
}

} // namespace castaway::call_stacks
