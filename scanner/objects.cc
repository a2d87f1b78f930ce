// Finds an image's objects: takes the inventory of the heap, then adds the ranges of waiters.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: false when the workspace ran out.
#include "scanner/objects.h"

#include "scanner/inventory.h"

#include <algorithm>

namespace castaway {

namespace {

Extent extent_of(const Block &large) { return {large.begin, large.granule_end(), 0, Extent::kHeap, {}}; }

} // namespace

bool Objects::build(const Image &image, Crew *crew, Workspace &workspace) {
  heap_ = image.heap;
  notes_ = image.notes;
  Inventory inventory;
  accesses_pages_first_ = image.accesses_pages_first;
  if (!inventory.take(*heap_, accesses_pages_first_, crew, workspace)) return false;
  take_totals(inventory.all());
  to_access_ = inventory.begun();
  std::span<Extent> ranges = list_thread_memory(image, workspace);
  if (!ranges.data() || !merge_into_index(ranges, inventory.large(), workspace)) return false;
  if (!build_leaves(crew && crew->size_for(totals_.bytes) > 1, workspace)) return false;
  link_index();
  find_hole();
  return true;
}

// The map does not know the size of some blocks: their notes do.
void Objects::take_totals(const HeapTally &all) {
  totals_ = {all.blocks, all.bytes};
  bounds_ = {all.begin, all.reach};
  overlaps_ = all.overlaps;
  for (const BlockNote &note : notes_)
    if (Block block = heap_->decode(note.begin)) totals_.bytes -= block.size - exact_size(block);
}

// Of waiters. Without data() when the workspace ran out.
std::span<Extent> Objects::list_thread_memory(const Image &image, Workspace &workspace) {
  std::span<Extent> ranges = take_table<Extent>(workspace, 2 * image.threads.size());
  if (!ranges.data()) return {};
  for (size_t i = 0; i < image.threads.size(); ++i) {
    if (!is_candidate(image.threads[i])) continue;
    for (const Range &range : {image.threads[i].stack, image.threads[i].tls}) {
      if (range.empty()) continue;
      ranges[thread_ranges_++] = {range.begin & ~(HeapMap::kGranule - 1), range.end, 0, static_cast<uint32_t>(i), {}};
    }
  }
  return ranges.first(thread_ranges_);
}

// Large blocks are sorted by address already; so is what comes out.
bool Objects::merge_into_index(std::span<Extent> ranges, std::span<const Block> large, Workspace &workspace) {
  sort_table(ranges, [](const Extent &a, const Extent &b) { return a.begin < b.begin; });
  index_ = take_table<Extent>(workspace, ranges.size() + large.size());
  if (!index_.data()) return false;
  uintptr_t reach = 0;
  for (size_t i = 0, range = 0, block = 0; i < index_.size(); ++i) {
    bool take_range = block == large.size() || (range < ranges.size() && ranges[range].begin < large[block].begin);
    index_[i] = take_range ? ranges[range++] : extent_of(large[block++]);
    index_[i].reach = reach = std::max(reach, index_[i].end);
  }
  if (index_.empty()) return true;
  bool any = totals_.blocks != 0;
  bounds_.begin = any ? std::min(bounds_.begin, index_[0].begin) : index_[0].begin;
  bounds_.end = std::max(bounds_.end, reach);
  return true;
}

bool Objects::build_leaves(bool for_several, Workspace &workspace) {
  if (bounds_.empty()) return true;
  first_leaf_ = bounds_.begin >> HeapMap::kLeafBits;
  size_t last_leaf = (bounds_.end - 1) >> HeapMap::kLeafBits;
  leaves_ = take_table<Leaf>(workspace, last_leaf - first_leaf_ + 1);
  auto visit_used = [&](auto visit) {
    heap_->visit_leaves([&](size_t number, const uint8_t *codes) {
      if (number >= first_leaf_ && number <= last_leaf) visit(number, codes); // the others hold no block
    });
  };
  uint32_t used = 0, before = 0;
  visit_used([&](size_t, const uint8_t *) { ++used; });
  heap_->visit_leaves([&](size_t number, const uint8_t *) { before += number < first_leaf_; });
  if (accesses_pages_first_) to_access_ = to_access_.subspan(before * Inventory::kCodePages);
  leaf_begins_ = take_table<uintptr_t>(workspace, used);
  if (!leaves_.data() || !leaf_begins_.data()) return false;
  bool complete = true;
  used = 0;
  visit_used([&](size_t number, const uint8_t *codes) {
    Leaf &leaf = leaves_[number - first_leaf_];
    leaf.number = used;
    leaf_begins_[used++] = number << HeapMap::kLeafBits;
    leaf.codes = codes;
    leaf.layered = overlaps_;
    leaf.plain = !overlaps_;
    all_plain_ &= leaf.plain;
    leaf.states = take_table<uint64_t>(workspace, 2 * HeapMap::kLeafGranules / 64, for_several).data();
    complete &= leaf.states != nullptr;
  });
  return complete;
}

// Tells each leaf its part of the index. Entries come sorted, so the part is without gaps but for such that end early,
// which a search passes over.
void Objects::link_index() {
  for (size_t i = 0; i < index_.size(); ++i) {
    size_t last = ((index_[i].end - 1) >> HeapMap::kLeafBits) - first_leaf_;
    for (size_t at = (index_[i].begin >> HeapMap::kLeafBits) - first_leaf_; at <= last; ++at) {
      Leaf &leaf = leaves_[at];
      if (leaf.first == leaf.last) leaf.first = static_cast<uint32_t>(i);
      leaf.last = static_cast<uint32_t>(i + 1);
      if (index_[i].thread != Extent::kHeap) leaf.layered = true, leaf.plain = false;
      all_plain_ &= leaf.plain || !leaf.codes;
    }
  }
}

// Between leaves in which blocks begin, and entries of the index, which reach over other leaves. Both come sorted.
void Objects::find_hole() {
  if (bounds_.empty()) return;
  uintptr_t reach = bounds_.begin;
  size_t next = 0;
  auto pass = [&](uintptr_t begin, uintptr_t end) {
    if (begin > reach && begin - reach > hole_.size()) hole_ = {reach, begin};
    reach = std::max(reach, end);
  };
  auto pass_index_before = [&](uintptr_t begin) {
    for (; next < index_.size() && index_[next].begin < begin; ++next) pass(index_[next].begin, index_[next].end);
  };
  heap_->visit_leaves([&](size_t number, const uint8_t *) {
    uintptr_t begin = number << HeapMap::kLeafBits, end = begin + (uintptr_t{1} << HeapMap::kLeafBits);
    if (begin >= bounds_.end || end <= bounds_.begin) return; // it holds no block
    pass_index_before(begin);
    pass(begin, end);
  });
  pass_index_before(bounds_.end);
}

const BlockNote *Objects::note_of(uintptr_t begin) const {
  size_t at = count_before(notes_, [&](const BlockNote &note) { return note.begin < begin; });
  return at < notes_.size() && notes_[at].begin == begin ? &notes_[at] : nullptr;
}

uint64_t Objects::exact_size(const Block &block) const {
  if (!block.flagged || block.size != HeapMap::kGranule) return block.size;
  const BlockNote *note = note_of(block.begin);
  // A note that fits no such block is of no use; an empty request counts as one byte, as in the map.
  return note && note->size <= HeapMap::kGranule ? std::max<uint64_t>(note->size, 1) : block.size;
}

bool Objects::is_loaders(const Block &block) const {
  const BlockNote *note = block.flagged ? note_of(block.begin) : nullptr;
  return note && note->loader;
}

} // namespace castaway
