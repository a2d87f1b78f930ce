// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/inventory.h"

#include <algorithm>

namespace castaway {

bool Inventory::take(const HeapMap &heap, bool notes_pages, Crew *crew, Workspace &workspace) {
  if (!list_parts(heap, notes_pages, workspace)) return false;
  at_once_ = can_tally_at_once();
  sum_up(crew);
  for (const Part &part : parts_) all_.append(part.tally);
  return list_large(workspace);
}

bool Inventory::list_parts(const HeapMap &heap, bool notes_pages, Workspace &workspace) {
  size_t leaves = 0, count = 0;
  auto visit_parts = [&](auto visit) {
    leaves = count = 0;
    heap.visit_leaves([&](size_t index, const uint8_t *codes) {
      for (size_t at = 0; at < HeapMap::kLeafGranules; at += kPartGranules)
        heap.visit_written(index, at, at + kPartGranules, [&](size_t begin, size_t end) {
          visit(index, codes, begin, end);
          ++count;
        });
      ++leaves;
    });
  };
  visit_parts([](size_t, const uint8_t *, size_t, size_t) {});
  parts_ = take_table<Part>(workspace, count);
  if (notes_pages) begun_ = take_table<BegunPages>(workspace, leaves * kCodePages);
  if (!parts_.data() || (notes_pages && !begun_.data())) return false;
  visit_parts([&](size_t index, const uint8_t *codes, size_t begin, size_t end) {
    uintptr_t base = (index << HeapMap::kLeafBits) + (begin << HeapMap::kGranuleBits);
    BegunPages *begun = notes_pages ? &begun_[leaves * kCodePages + begin / HeapMap::kPageGranules] : nullptr;
    parts_[count] = {base, codes + begin, end - begin, begun, {}};
  });
  return true;
}

// How many are worth their start depends on the heap's bytes, which only this finds out. So it begins with as many as
// an empty heap has, and asks again each time that twice as much was found, where more could come.
void Inventory::sum_up(Crew *crew) {
  constexpr uint64_t kFirst = uint64_t{64} << 20;
  while (next_ < parts_.size()) {
    uint64_t bytes = bytes_;
    size_t count = crew ? crew->size_for(bytes) : 1;
    bool more = crew && crew->size_for(UINT64_MAX) > count;
    enough_ = more ? std::max(kFirst, 2 * bytes) : UINT64_MAX;
    if (count == 1)
      sum_some();
    else
      crew->run(
          count, [](void *inventory, size_t) { static_cast<Inventory *>(inventory)->sum_some(); }, this);
  }
}

void Inventory::sum_some() {
  while (bytes_.load(std::memory_order_relaxed) < enough_) {
    size_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= parts_.size()) return;
    Part &part = parts_[i];
    part.tally = tally(part.base, part.codes, part.granules, part.begun, at_once_);
    bytes_.fetch_add(part.tally.bytes, std::memory_order_relaxed);
  }
}

// Now that it is known how many there are, and where.
bool Inventory::list_large(Workspace &workspace) {
  large_ = take_table<Block>(workspace, all_.large);
  if (!large_.data()) return false;
  size_t count = 0;
  for (const Part &part : parts_)
    if (part.tally.large)
      visit_large(part.base, part.codes, part.granules, [&](const Block &block) { large_[count++] = block; });
  return true;
}

} // namespace castaway
