// What each wait depends on, and the loop that lets live threads and live memory make more of both live.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: build() returns false when the workspace ran out.
#include "scanner/fixpoint.h"

#include <cstring>

namespace castaway {

namespace {

bool starts_before(const Range &a, const Range &b) { return a.begin < b.begin; }

// Sleeping on a word that has changed means that it was woken and has not run yet.
bool has_changed(const WaitWord &word) {
  uint32_t value;
  std::memcpy(&value, reinterpret_cast<const void *>(word.address), sizeof value);
  return value != word.expected;
}

// Why the wait ends, or may end for all that is known, whatever other threads do; Cause::none if that matters.
Cause cause_by_itself(const ThreadImage &thread) {
  if (!is_candidate(thread) || thread.words.empty()) return Cause::no_waiter;
  for (const WaitWord &word : thread.words)
    if (has_changed(word)) return Cause::woken;
  // glibc joins without FUTEX_PRIVATE_FLAG, because the kernel wakes without it; but only that thread's end wakes.
  if (thread.wait == WaitKind::join && thread.joined) return Cause::none;
  for (const WaitWord &word : thread.words)
    if (word.shared) return Cause::shared;
  return Cause::none;
}

} // namespace

bool Fixpoint::build(const Image &image, Objects &objects, Workspace &workspace) {
  image_ = &image;
  objects_ = &objects;
  nodes_ = take_table<Node>(workspace, image.threads.size());
  queue_ = take_table<uint32_t>(workspace, image.threads.size());
  if (!nodes_.data() || !queue_.data() || !build_lookups(workspace)) return false;
  for (Node &node : nodes_) node.waits_for = kNobody;
  for (uint32_t i = 0; i < image.threads.size(); ++i)
    if (!enlist(i, workspace)) return false;
  set_watches();
  return true;
}

bool Fixpoint::build_lookups(Workspace &workspace) {
  std::span<const ThreadImage> threads = image_->threads;
  ids_ = take_table<ThreadId>(workspace, threads.size());
  descriptors_ = take_table<Descriptor>(workspace, threads.size());
  roots_ = take_table<Range>(workspace, image_->roots.size());
  if (!ids_.data() || !descriptors_.data() || !roots_.data()) return false;
  size_t candidates = 0;
  for (uint32_t i = 0; i < threads.size(); ++i) {
    ids_[i] = {threads[i].tid, i};
    if (is_candidate(threads[i]) && !threads[i].descriptor.empty())
      descriptors_[candidates++] = {threads[i].descriptor, i};
  }
  descriptors_ = descriptors_.first(candidates);
  for (size_t i = 0; i < roots_.size(); ++i) roots_[i] = image_->roots[i];
  sort_table(ids_, [](const ThreadId &a, const ThreadId &b) { return a.tid < b.tid; });
  sort_table(descriptors_, [](const Descriptor &a, const Descriptor &b) { return starts_before(a.range, b.range); });
  sort_table(roots_, starts_before);
  return true;
}

// Notes what makes this thread live, or that it is.
bool Fixpoint::enlist(uint32_t thread, Workspace &workspace) {
  const ThreadImage &image = image_->threads[thread];
  ++checks_;
  if (Cause cause = cause_by_itself(image); cause != Cause::none) return wake(thread, {cause}), true;
  if (image.wait == WaitKind::mutex && image.mutex_owner) return depend_on_tid(thread, image.mutex_owner, workspace);
  if (image.wait == WaitKind::join && image.joined) return depend_on_tid(thread, image.joined, workspace);
  for (const WaitWord &word : image.words)
    if (!depend_on_word(thread, word.address, workspace)) return false;
  return true;
}

// A mutex whose owner has exited is never unlocked; the end of a thread that has exited is on its way.
bool Fixpoint::depend_on_tid(uint32_t thread, int32_t tid, Workspace &workspace) {
  uint32_t other = thread_of_tid(tid);
  nodes_[thread].waits_for = other == kNobody ? kExited : other;
  if (other != kNobody) return depend_on_thread(thread, other, workspace);
  if (image_->threads[thread].wait == WaitKind::join) wake(thread, {Cause::woken});
  return true;
}

// Memory in which nothing is known that could be unreachable counts as reachable.
bool Fixpoint::depend_on_word(uint32_t thread, uintptr_t address, Workspace &workspace) {
  ++checks_;
  if (in_roots(address)) return wake(thread, {Cause::in_root}), true;
  bool complete = true;
  bool known = false;
  objects_->visit_at(address, [&](Object object) {
    known = true;
    complete &= watches_.push(workspace, {object, thread});
  });
  uint32_t other = thread_of_descriptor(address);
  // Its own descriptor: the threads library finds that through lists of its own and wakes it.
  if (other == thread || (other == kNobody && !known))
    wake(thread, {Cause::unknown});
  else if (other != kNobody)
    complete &= depend_on_thread(thread, other, workspace);
  return complete;
}

bool Fixpoint::depend_on_thread(uint32_t thread, uint32_t other, Workspace &workspace) {
  if (!edges_.push(workspace, {thread, nodes_[other].dependents})) return false;
  nodes_[other].dependents = static_cast<uint32_t>(edges_.size());
  return true;
}

void Fixpoint::set_watches() {
  sort_table(watches_.all(), [](const Watch &a, const Watch &b) { return a.object < b.object; });
  for (const Watch &watch : watches_.all()) objects_->set_state(watch.object, ObjectState::watched);
}

void Fixpoint::admit_all(Marker &marker) {
  while (admitted_ < queue_end_) admit(queue_[admitted_++], marker);
}

void Fixpoint::run(Marker &marker) {
  for (;;) {
    marker.drain<Phase::live>();
    if (Object object = marker.take_woken())
      wake_watchers(object);
    else if (admitted_ < queue_end_)
      admit(queue_[admitted_++], marker);
    else
      break;
  }
}

void Fixpoint::clear_watches() {
  for (const Watch &watch : watches_.all())
    if (objects_->state(watch.object) == ObjectState::watched)
      objects_->set_state(watch.object, ObjectState::unreached);
}

void Fixpoint::wake(uint32_t thread, Liveness liveness) {
  if (nodes_[thread].live) return;
  nodes_[thread].live = true;
  nodes_[thread].liveness = liveness;
  queue_[queue_end_++] = thread;
}

void Fixpoint::wake_watchers(Object object) {
  std::span<Watch> watches = watches_.all();
  size_t i = count_before(watches, [&](const Watch &watch) { return watch.object < object; });
  for (; i < watches.size() && watches[i].object == object; ++i, ++checks_)
    wake(watches[i].thread, {Cause::in_object, 0, object});
}

void Fixpoint::admit(uint32_t thread, Marker &marker) {
  marker.scan_thread<Phase::live>(image_->threads[thread], thread);
  for (uint32_t at = nodes_[thread].dependents; at; at = edges_[at - 1].next, ++checks_)
    wake(edges_[at - 1].dependent, {Cause::other_thread, thread, 0});
}

uint32_t Fixpoint::thread_of_tid(int32_t tid) const {
  size_t i = count_before(ids_, [&](const ThreadId &id) { return id.tid < tid; });
  return i < ids_.size() && ids_[i].tid == tid ? ids_[i].thread : kNobody;
}

uint32_t Fixpoint::thread_of_descriptor(uintptr_t address) const {
  size_t i = count_before(descriptors_, [&](const Descriptor &other) { return other.range.begin <= address; });
  return i && descriptors_[i - 1].range.contains(address) ? descriptors_[i - 1].thread : kNobody;
}

bool Fixpoint::in_roots(uintptr_t address) const {
  size_t i = count_before(roots_, [&](const Range &root) { return root.begin <= address; });
  return i && roots_[i - 1].contains(address);
}

} // namespace castaway
