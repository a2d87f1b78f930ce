// Leaked memory. A leaked block to which another leaked block points is indirect; where leaked blocks point to each
// other in cycles, the first by address stands for all that it reaches.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: false when the workspace ran out.
//
// States: a leaked block is `unreached` while nobody is known to point to it, `referred` once somebody does, `settled`
// once a direct leak reaches it. So at the end the direct ones are unreached and the indirect ones settled.
#include "scanner/leaks.h"

#include "scanner/tables.h"

namespace castaway {

bool all_settled(const Image &image, const Objects &objects) {
  bool all = true;
  size_t at = 0;
  objects.visit_unreached([&](const Block &block) {
    const BlockNote *note = entry_at(image.notes, at, block.begin);
    all = all && note && (note->settled || note->loader);
  });
  return all;
}

bool Leaks::collect(const Image &image, Objects &objects, Marker &marker, Workspace &workspace) {
  image_ = &image;
  objects_ = &objects;
  marker_ = &marker;
  uint64_t others = marker.live_blocks() + marker.retained().blocks + settle_loader_blocks();
  blocks_ = take_table<LeakedBlock>(workspace, objects.totals().blocks - others);
  if (!blocks_.data()) return false;
  if (blocks_.empty()) return true;
  list_unreached();
  find_referred();
  flood_from_unreferred();
  break_cycles();
  add_notes();
  add_past();
  return true;
}

// The loader's unreached blocks are nobody's leaks, and what they point to is not less lost for that.
uint64_t Leaks::settle_loader_blocks() {
  uint64_t settled = 0;
  for (const BlockNote &note : image_->notes) {
    if (!note.loader || !objects_->heap().decode(note.begin)) continue;
    if (objects_->state(note.begin) != ObjectState::unreached) continue;
    objects_->set_state(note.begin, ObjectState::settled);
    ++settled;
  }
  return settled;
}

void Leaks::list_unreached() {
  size_t count = 0;
  objects_->visit_unreached([&](const Block &block) {
    if (count < blocks_.size()) blocks_[count++] = {block.begin, block.size, false, image_->safepoint, nullptr};
  });
  blocks_ = blocks_.first(count);
}

void Leaks::find_referred() {
  for (const LeakedBlock &leak : blocks_) marker_->refer_from(block_at(leak));
  marker_->drain<Phase::refer>();
}

void Leaks::flood_from_unreferred() {
  for (const LeakedBlock &leak : blocks_)
    if (objects_->state(leak.begin) == ObjectState::unreached)
      marker_->scan<Phase::flood>({leak.begin, leak.begin + block_at(leak).size});
  marker_->drain<Phase::flood>();
}

// What is still referred is so from a cycle. The one taken as direct must not be reached again: unreached it is.
void Leaks::break_cycles() {
  for (LeakedBlock &leak : blocks_) {
    if (objects_->state(leak.begin) == ObjectState::referred) {
      objects_->set_state(leak.begin, ObjectState::unreached);
      marker_->scan<Phase::flood>({leak.begin, leak.begin + block_at(leak).size});
      marker_->drain<Phase::flood>();
    }
    leak.indirect = objects_->state(leak.begin) == ObjectState::settled;
  }
}

void Leaks::add_notes() {
  size_t at = 0;
  for (LeakedBlock &leak : blocks_) {
    leak.note = entry_at(image_->notes, at, leak.begin);
    if (leak.note) leak.size = objects_->exact_size(block_at(leak));
  }
}

void Leaks::add_past() {
  size_t at = 0;
  for (LeakedBlock &leak : blocks_) {
    if (const PastLeak *past = entry_at(image_->past, at, leak.begin)) leak.first_safepoint = past->first_safepoint;
  }
}

void Leaks::keep_known() {
  size_t kept = 0, at = 0;
  for (const LeakedBlock &leak : blocks_) {
    const PastLeak *past = entry_at(image_->past, at, leak.begin);
    bool settled = leak.note && leak.note->settled;
    if (!past && !settled) continue;
    blocks_[kept] = leak;
    if (!settled) blocks_[kept].first_safepoint = past->first_in_doubt;
    ++kept;
  }
  blocks_ = blocks_.first(kept);
}

} // namespace castaway
