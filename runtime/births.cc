// Who created which thread; see births.h. Open addressing, entries never move or go.
#include "runtime/births.h"

#include "runtime/memory.h"

#include <atomic>

namespace castaway::births {

namespace {

std::atomic<Birth *> table;

Birth *ready() {
  Birth *known = table.load(std::memory_order_acquire);
  if (known) return known;
  auto *fresh = static_cast<Birth *>(own_memory(kMost * sizeof(Birth)));
  if (!fresh) return nullptr;
  return table.compare_exchange_strong(known, fresh, std::memory_order_acq_rel) ? fresh : known;
}

size_t slot_of(uintptr_t descriptor) { return ((descriptor >> 6) * 0x9e3779b97f4a7c15u) >> 47; }
static_assert(kMost == size_t{1} << (64 - 47));

} // namespace

void note(const Birth &birth) {
  Birth *births = ready();
  if (!births) return;
  size_t slot = slot_of(birth.descriptor);
  for (size_t tries = 0; tries < kMost; ++tries, slot = (slot + 1) & (kMost - 1)) {
    std::atomic_ref<uintptr_t> key(births[slot].descriptor);
    uintptr_t there = key.load(std::memory_order_acquire);
    if (there == 0) key.compare_exchange_strong(there, birth.descriptor, std::memory_order_acq_rel);
    if (there != 0 && there != birth.descriptor) continue;
    births[slot].stack = birth.stack;
    births[slot].creator = birth.creator;
    births[slot].own_stack = birth.own_stack;
    births[slot].inherited = false;
    return;
  }
}

const Birth *find(uintptr_t descriptor) {
  const Birth *births = table.load(std::memory_order_acquire);
  if (!births || descriptor == 0) return nullptr;
  size_t slot = slot_of(descriptor);
  for (size_t tries = 0; tries < kMost && births[slot].descriptor != 0; ++tries, slot = (slot + 1) & (kMost - 1))
    if (births[slot].descriptor == descriptor) return &births[slot];
  return nullptr;
}

const Birth *begin() { return table.load(std::memory_order_acquire); }
const Birth *end() {
  const Birth *births = begin();
  return births ? births + kMost : nullptr;
}

void inherit() {
  for (Birth *birth = table.load(std::memory_order_acquire), *last = birth ? birth + kMost : birth; birth != last;
       ++birth)
    if (birth->descriptor != 0) birth->inherited = true;
}

} // namespace castaway::births
