// The walk that explains; see explain.h.
//
// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/explain.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace castaway {

bool Explainer::explain(const Question &question) {
  if (!objects_.bounds().empty()) filter_ = PointerFilter(objects_.bounds(), objects_.hole());
  Subject subject = find_subject(question);
  if (subject.thread == kNone && subject.object == 0)
    return add_link({LinkKind::nowhere, Cause::none, question.tid, 0, question.address, 0, 0});
  for (bool ends = false; !ends && links_.size() < kMostLinks;)
    if (!(subject.thread != kNone ? explain_thread(subject, ends) : explain_object(subject, ends))) return false;
  return true;
}

Explainer::Subject Explainer::find_subject(const Question &question) {
  if (question.tid) {
    for (uint32_t i = 0; i < image_.threads.size(); ++i)
      if (image_.threads[i].tid == question.tid) return {i, 0};
    return {};
  }
  Subject subject;
  subject.thread = thread_at(question.address);
  if (subject.thread != kNone) return subject;
  objects_.visit_at(question.address, [&](Object object) { subject.object = object; });
  return subject;
}

// The thread whose stack, TLS or descriptor is there.
uint32_t Explainer::thread_at(uintptr_t address) const {
  for (uint32_t i = 0; i < image_.threads.size(); ++i) {
    const ThreadImage &thread = image_.threads[i];
    if (thread.stack.contains(address) || thread.tls.contains(address) || thread.descriptor.contains(address)) return i;
  }
  return kNone;
}

bool Explainer::explain_object(Subject &subject, bool &ends) {
  uint32_t found = kNone;
  if (!add_object(subject.object) || !walk(subject.object, found)) return false;
  if (found != kNone) return add_path(found, subject, ends);
  ends = true;
  return add_link({image_.pointers_hidden ? LinkKind::hidden : LinkKind::nothing, Cause::none, 0, 0, 0, 0, 0});
}

bool Explainer::explain_thread(Subject &subject, bool &ends) {
  const ThreadImage &thread = image_.threads[subject.thread];
  const Liveness &liveness = fixpoint_.liveness(subject.thread);
  if (!add_link({LinkKind::thread, Cause::none, thread.tid, 0, 0, 0, 0})) return false;
  LinkKind verdict = liveness.cause == Cause::none ? LinkKind::leaked : LinkKind::lives;
  uintptr_t word = thread.words.empty() ? 0 : thread.words[0].address;
  if (!add_link({verdict, liveness.cause, thread.tid, 0, word, 0, 0})) return false;
  ends = liveness.cause != Cause::in_object && liveness.cause != Cause::other_thread;
  subject = {liveness.cause == Cause::other_thread ? liveness.thread : kNone, liveness.object};
  return true;
}

// From the goal back to where the walk began. `next`: the thread that it began in, where it did.
bool Explainer::add_path(uint32_t found, Subject &next, bool &ends) {
  for (; reached_[found].from != kNone && links_.size() < kMostLinks; found = reached_[found].from) {
    const Reached &step = reached_[found];
    Object holder = reached_[step.from].object;
    uint32_t owner = objects_.owner_of(holder);
    Range range = range_of(holder);
    LinkKind kind = owner == Extent::kHeap ? LinkKind::in_block : LinkKind::in_waiter;
    int32_t tid = owner == Extent::kHeap ? 0 : image_.threads[owner].tid;
    if (!add_link({kind, Cause::none, tid, 0, step.word, range.begin, range.size()})) return false;
    if (owner == Extent::kHeap && !add_object(holder)) return false;
  }
  if (links_.size() >= kMostLinks) return ends = true;
  const Reached &first = reached_[found];
  if (first.holder < kDeclared && objects_.owner_of(first.object) == first.holder) // its own memory
    return next = {first.holder, 0}, true;
  bool in_thread = first.holder < kDeclared;
  LinkKind kind = in_thread                 ? LinkKind::in_thread
                  : first.holder == kRoot   ? LinkKind::in_root
                  : first.holder == kKernel ? LinkKind::in_kernel
                                            : LinkKind::declared;
  next = {in_thread ? first.holder : kNone, 0};
  ends = !in_thread;
  return add_link({kind, Cause::none, in_thread ? image_.threads[first.holder].tid : 0, 0, first.word, 0, 0});
}

// Looks for `goal`: first from what is live in any case, then from the live threads, then from the leaked ones.
// `found`: its position among what was reached, or kNone.
bool Explainer::walk(Object goal, uint32_t &found) {
  reached_ = {};
  read_ = 0;
  const Range &bounds = objects_.bounds();
  size_t leaves = bounds.empty() ? 0 : ((bounds.end - 1) >> HeapMap::kLeafBits) - first_leaf() + 1;
  seen_blocks_ = take_table<std::span<uint64_t>>(workspace_, leaves);
  seen_extents_ = take_table<bool>(workspace_, objects_.index().size());
  if (!seen_blocks_.data() || !seen_extents_.data()) return false;
  for (const Range &root : image_.roots)
    if (!scan(root, kNone, kRoot)) return false;
  for (const Range &code : image_.code)
    if (!scan_code(code)) return false;
  for (uintptr_t value : image_.root_values)
    if (!reach(value, 0, kNone, kKernel)) return false;
  for (const BlockNote &note : image_.notes)
    if (note.ignored && objects_.heap().decode(note.begin) && !add(note.begin, 0, kNone, kDeclared)) return false;
  if (!drain(goal, found)) return false;
  if (found == kNone && !walk_from(fixpoint_.live_threads(), goal, found)) return false;
  return found != kNone || walk_from_leaked(goal, found);
}

bool Explainer::walk_from(std::span<const uint32_t> threads, Object goal, uint32_t &found) {
  for (uint32_t thread : threads) {
    if (!scan_thread(thread) || !drain(goal, found)) return false;
    if (found != kNone) break;
  }
  return true;
}

bool Explainer::walk_from_leaked(Object goal, uint32_t &found) {
  for (uint32_t i = 0; i < image_.threads.size() && found == kNone; ++i)
    if (!fixpoint_.is_live(i) && !walk_from({&i, 1}, goal, found)) return false;
  return true;
}

bool Explainer::scan_thread(uint32_t number) {
  const ThreadImage &thread = image_.threads[number];
  for (const Range &range : {thread.stack, thread.tls, thread.descriptor}) {
    if (!scan(range, kNone, number)) return false;
    bool complete = true;
    objects_.visit_at(range.begin, [&](Object object) {
      if (!range.empty() && objects_.owner_of(object) == number) complete &= add(object, 0, kNone, number);
    });
    if (!complete) return false;
  }
  for (uintptr_t value : thread.registers)
    if (!reach(value, 0, kNone, number)) return false;
  return true;
}

bool Explainer::drain(Object goal, uint32_t &found) {
  for (; read_ < reached_.size(); ++read_) {
    if (reached_[read_].object == goal) {
      found = static_cast<uint32_t>(read_);
      return true;
    }
    if (!scan(range_of(reached_[read_].object), static_cast<uint32_t>(read_), 0)) return false;
  }
  return true;
}

bool Explainer::scan(Range range, uint32_t from, uint32_t holder) {
  for (const Word *at = Words(range).begin, *end = Words(range).end; at < end; ++at)
    if (!reach(*at, reinterpret_cast<uintptr_t>(at), from, holder)) return false;
  return true;
}

// As the marker does it.
bool Explainer::scan_code(Range range) {
  for (uintptr_t at = range.begin; at + sizeof(uint32_t) <= range.end; ++at) {
    uintptr_t word = 0;
    std::memcpy(&word, reinterpret_cast<const void *>(at), std::min(sizeof word, range.end - at));
    if (!reach(word, at, kNone, kRoot) || !reach(static_cast<uint32_t>(word), at, kNone, kRoot)) return false;
  }
  return true;
}

bool Explainer::reach(uintptr_t value, uintptr_t word, uint32_t from, uint32_t holder) {
  uintptr_t address = address_in(value);
  if (!filter_.passes(address)) return true;
  bool complete = true;
  objects_.visit_at(address, [&](Object object) { complete &= add(object, word, from, holder); });
  return complete;
}

bool Explainer::add(Object object, uintptr_t word, uint32_t from, uint32_t holder) {
  if (object & kIndexed) {
    bool &seen = seen_extents_[object & ~kIndexed];
    return std::exchange(seen, true) || reached_.push(workspace_, {object, word, from, holder});
  }
  std::span<uint64_t> &leaf = seen_blocks_[(object >> HeapMap::kLeafBits) - first_leaf()];
  if (!leaf.data()) leaf = take_table<uint64_t>(workspace_, HeapMap::kLeafGranules / 64);
  if (!leaf.data()) return false;
  size_t granule = HeapMap::granule_in_leaf(object);
  uint64_t bit = uint64_t{1} << (granule % 64);
  bool seen = leaf[granule / 64] & bit;
  leaf[granule / 64] |= bit;
  return seen || reached_.push(workspace_, {object, word, from, holder});
}

Range Explainer::range_of(Object object) const {
  if (object & kIndexed) {
    const Extent &extent = objects_.index()[object & ~kIndexed];
    return {extent.begin, extent.end};
  }
  return {object, object + objects_.heap().decode(object).size};
}

bool Explainer::add_object(Object object) {
  if (object & kIndexed)
    return add_link({LinkKind::thread, Cause::none, image_.threads[objects_.owner_of(object)].tid, 0, 0, 0, 0});
  Block block = objects_.heap().decode(object);
  const BlockNote *note = block.flagged ? objects_.note_of(object) : nullptr;
  return add_link({LinkKind::block, Cause::none, 0, note ? note->stack : 0, 0, object, objects_.exact_size(block)});
}

bool Explainer::add_link(const ChainLink &link) { return links_.size() >= kMostLinks || links_.push(workspace_, link); }

} // namespace castaway
