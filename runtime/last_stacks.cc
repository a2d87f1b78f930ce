// The slots of last_stacks.h. Owners are kept apart from them: to search them must not touch a page for each.
#include "runtime/last_stacks.h"

#include "runtime/memory.h"

namespace castaway::last_stacks {

namespace {

LastRecorded slots[kOwned + kShared];
std::atomic<uintptr_t> owners[kOwned]; // thread pointers, 0: free

size_t hash(uintptr_t thread) { return (thread >> 6) * 0x9e3779b97f4a7c15u >> 32; }

// Whether the slot is this thread's now, or was from before.
bool take(std::atomic<uintptr_t> &owner, uintptr_t thread) {
  uintptr_t known = owner.load(std::memory_order_relaxed);
  return known == thread || (known == 0 && (owner.compare_exchange_strong(known, thread) || known == thread));
}

// Of all slots; not part of the library, which would then take 10 MB of a limited address space. Null: no memory.
FrameRoom *all_rooms() {
  static constinit std::atomic<FrameRoom *> known{nullptr};
  FrameRoom *rooms = known.load(std::memory_order_acquire);
  if (rooms) return rooms;
  constexpr size_t kBytes = (kOwned + kShared) * sizeof(FrameRoom);
  auto *fresh = static_cast<FrameRoom *>(own_memory(kBytes));
  return !fresh || known.compare_exchange_strong(rooms, fresh) ? fresh : rooms; // another thread may have been first
}

LastRecorded &prepared(LastRecorded &slot) {
  FrameRoom *rooms = all_rooms();
  if (!rooms) {
    static constinit LastRecorded none{};
    none.busy.store(true, std::memory_order_relaxed);
    return none;
  }
  slot.room = rooms + (&slot - slots);
  for (size_t i = 0; i < LastRecorded::kStacks; ++i) slot.stacks[i].frames = slot.room->column(i);
  return slot;
}

} // namespace

LastRecorded &claim(uintptr_t thread) {
  for (size_t i = 0; i < kOwned; ++i) {
    size_t index = (hash(thread) + i) % kOwned;
    if (!take(owners[index], thread)) continue;
    LastRecorded &slot = slots[index];
    slot.forget();
    slot.busy.store(false, std::memory_order_relaxed); // should the thread before have ended in its use
    return prepared(slot);
  }
  LastRecorded &slot = slots[kOwned + hash(thread) % kShared];
  slot.shared = true;
  return prepared(slot);
}

void forget_others(const LastRecorded *own) {
  for (size_t i = 0; i < kOwned; ++i)
    if (&slots[i] != own) owners[i].store(0, std::memory_order_relaxed);
  for (size_t i = kOwned; i < kOwned + kShared; ++i)
    if (&slots[i] != own) slots[i].busy.store(false, std::memory_order_relaxed);
}

} // namespace castaway::last_stacks
