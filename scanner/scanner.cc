// The scan, step by step.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: run() returns false when the workspace ran out.
#include "scanner/scanner.h"

#include "scanner/explain.h"
#include "scanner/fixpoint.h"
#include "scanner/leaks.h"
#include "scanner/marker.h"
#include "scanner/objects.h"
#include "scanner/tables.h"
#include "scanner/verdicts.h"

#include <new>

namespace castaway {

struct Scanner::State {
  Objects objects;
  Fixpoint fixpoint;
  WindowQueue windows;
  Scouts scouts;
  Marker marker;
  Leaks leaks;
  std::span<uint32_t> paths;
  WorkPool pool;
  size_t markers = 1;
  std::span<Marker> others; // of a crew

  bool build(const Image &image, Crew *crew, Workspace &workspace);
  bool mark_roots(const Image &image, Crew *crew, Workspace &workspace);
  void mark_all();
  bool mark_together(std::span<const Range> roots, Crew &crew, Workspace &workspace);
  bool needs_late_roots(const Image &image);
};

bool Scanner::run() {
  if (!start() || !state_->build(image_, crew_, workspace_)) return false;
  if (!state_->mark_roots(image_, crew_, workspace_)) return false;
  state_->fixpoint.run(state_->marker);
  if (image_.late_roots && state_->needs_late_roots(image_)) mark_late_roots();
  state_->fixpoint.clear_watches();
  judge(state_->fixpoint, state_->paths, verdicts_);
  count_retained(image_, state_->marker, verdicts_);
  if (!state_->leaks.collect(image_, state_->objects, state_->marker, workspace_)) return false;
  if (in_doubt_) state_->leaks.keep_known();
  leaked_ = state_->leaks.blocks();
  heap_ = state_->objects.totals();
  return true;
}

void Scanner::mark_late_roots() {
  std::span<const Range> late;
  LateAnswer answer = image_.late_roots->bring(late);
  in_doubt_ = answer == LateAnswer::later;
  if (answer == LateAnswer::hidden) state_->mark_all();
  for (const Range &root : late) state_->marker.scan<Phase::live>(root);
  state_->fixpoint.run(state_->marker);
}

bool Scanner::start() {
  static_assert(std::is_trivially_destructible_v<State>);
  void *memory = workspace_.take(sizeof(State));
  state_ = memory ? new (memory) State : nullptr;
  verdicts_ = take_table<ThreadVerdict>(workspace_, image_.threads.size());
  return state_ && verdicts_.data();
}

bool Scanner::State::build(const Image &image, Crew *crew, Workspace &workspace) {
  if (!objects.build(image, crew, workspace) || !fixpoint.build(image, objects, workspace)) return false;
  markers = crew ? crew->size_for(objects.totals().bytes) : 1;
  size_t all = objects.leaf_begins().size() * WindowQueue::kPerLeaf;
  paths = take_table<uint32_t>(workspace, image.threads.size());
  scouts.prepare(objects, workspace);
  marker.employ(scouts);
  return paths.data() && windows.build(all, objects.count(), markers, workspace) &&
         marker.build(objects, windows, fixpoint.watches(), workspace);
}

bool Scanner::State::mark_roots(const Image &image, Crew *crew, Workspace &workspace) {
  for (const Range &code : image.code) marker.scan_code<Phase::live>(code);
  marker.consider<Phase::live>(image.root_values);
  for (const BlockNote &note : image.notes)
    if (note.ignored && objects.heap().decode(note.begin)) marker.mark<Phase::live>(note.begin);
  if (image.pointers_hidden) mark_all();
  if (markers > 1) return mark_together(image.roots, *crew, workspace);
  for (const Range &root : image.roots) marker.scan<Phase::live>(root);
  return true;
}

void Scanner::State::mark_all() {
  objects.heap().sweep([&](const Block &block) { marker.mark<Phase::live>(block.begin); });
  for (size_t i = 0; i < objects.index().size(); ++i)
    if (objects.index()[i].thread != Extent::kHeap) marker.mark<Phase::live>(kIndexed | i);
}

bool Scanner::State::mark_together(std::span<const Range> roots, Crew &crew, Workspace &workspace) {
  others = take_table<Marker>(workspace, markers - 1);
  if (!others.data() || !pool.build(crew, objects.count(), roots, windows, workspace)) return false;
  for (Marker &other : others)
    if (!(new (&other) Marker)->build(objects, windows, fixpoint.watches(), workspace)) return false;
  fixpoint.admit_all(marker);
  pool.join(); // as number 0, which has work already
  crew.run(
      markers,
      [](void *context, size_t number) {
        auto &state = *static_cast<State *>(context);
        if (number > 0) state.pool.join();
        (number == 0 ? state.marker : state.others[number - 1]).drain_together(state.pool);
      },
      this);
  for (Marker &other : others) marker.merge(other);
  return true;
}

// More roots can only make more of it live. So they change nothing where all threads are live, and all blocks that are
// not have been looked for in them before.
bool Scanner::State::needs_late_roots(const Image &image) {
  if (!fixpoint.all_live()) return true;
  fixpoint.clear_watches(); // nobody is left to be woken, and what is watched is not looked at as unreached
  return marker.live_blocks() != objects.totals().blocks && !all_settled(image, objects);
}

bool Scanner::is_live(uintptr_t address) const {
  if (!state_) return false;
  bool live = false;
  state_->objects.visit_at(address, [&](Object object) { live |= state_->objects.state(object) == ObjectState::live; });
  for (size_t i = 0; i < image_.threads.size() && !live; ++i) {
    const ThreadImage &thread = image_.threads[i];
    bool its_own =
        thread.stack.contains(address) || thread.tls.contains(address) || thread.descriptor.contains(address);
    live = its_own && state_->fixpoint.is_live(i);
  }
  return live;
}

std::span<const ChainLink> Scanner::explain(const Question &question) const {
  if (!state_) return {};
  Explainer explainer(image_, state_->objects, state_->fixpoint, workspace_);
  if (!explainer.explain(question)) return {};
  return explainer.chain();
}

bool Scanner::is_stack_live(size_t thread) const {
  if (!state_) return false;
  bool live = false;
  state_->objects.visit_at(image_.threads[thread].stack.begin, [&](Object object) {
    if (state_->objects.owner_of(object) == thread) live |= state_->objects.state(object) == ObjectState::live;
  });
  return live;
}

ScanWork Scanner::work() const {
  if (!state_) return {};
  return {state_->marker.words_read(), state_->fixpoint.checks(), state_->marker.scouted()};
}

} // namespace castaway
