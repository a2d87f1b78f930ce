// The live fixpoint: which threads are live, and with them which memory.
//
// A thread that is no candidate is live. A candidate becomes live once its wait can still end, which may depend on
// objects (the futex word lies in one: live once that is marked) and on threads (a mutex's owner, the thread that is
// joined, the thread in whose descriptor the word lies). Whatever becomes live makes more memory live, and so on.
// Nobody asks in rounds: an object that is waited for carries a watch, a thread has a list of its dependents, and each
// is looked at once, so that the work is linear in threads and memory however long the chains are.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: build() returns false when the workspace ran out.
#pragma once

#include "scanner/chain.h"
#include "scanner/image.h"
#include "scanner/marker.h"
#include "scanner/objects.h"
#include "scanner/tables.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

// What made a thread live.
struct Liveness {
  Cause cause = Cause::none;
  uint32_t thread = 0; // with Cause::other_thread
  Object object = 0;   // with Cause::in_object
};

class Fixpoint {
public:
  // Whose doing a thread waits for: the position of a thread in the image, or one of these.
  static constexpr uint32_t kNobody = ~uint32_t{0};     // not known: any live thread that reaches the word
  static constexpr uint32_t kExited = ~uint32_t{0} - 1; // the owner of its mutex, which is no more

  // Finds out what every wait depends on. `objects` is built; its objects are still unreached.
  bool build(const Image &image, Objects &objects, Workspace &workspace);
  // The number of watches that build() has set.
  size_t watches() const { return watches_.size(); }
  // Scans the threads that are live so far, and no more.
  void admit_all(Marker &marker);
  // Marks from the live threads until nothing changes; the roots have been scanned before. May be called again when
  // more has been. After clear_watches() it wakes nobody any more.
  void run(Marker &marker);
  // The phases to come have another use for that state.
  void clear_watches();

  bool is_live(size_t thread) const { return nodes_[thread].live; }
  bool all_live() const { return queue_end_ == nodes_.size(); }
  uint32_t waits_for(size_t thread) const { return nodes_[thread].waits_for; }
  const Liveness &liveness(size_t thread) const { return nodes_[thread].liveness; }
  // In the order in which they were found to be: what makes one live was reached from roots and those before it.
  std::span<const uint32_t> live_threads() const { return queue_.first(queue_end_); }
  // How often a wait was looked at: bounded by threads, words and edges.
  uint64_t checks() const { return checks_; }

private:
  struct Node {
    bool live;
    uint32_t waits_for;
    uint32_t dependents; // 1 + position of the first of its edges, 0 if none
    Liveness liveness;   // with `live`
  };
  struct Edge {
    uint32_t dependent; // the thread that is live if the edge's owner is
    uint32_t next;      // as Node::dependents
  };
  struct Watch {
    Object object;
    uint32_t thread;
  };
  struct ThreadId {
    int32_t tid;
    uint32_t thread;
  };
  struct Descriptor {
    Range range;
    uint32_t thread;
  };

  bool build_lookups(Workspace &workspace);
  bool enlist(uint32_t thread, Workspace &workspace);
  bool depend_on_tid(uint32_t thread, int32_t tid, Workspace &workspace);
  bool depend_on_word(uint32_t thread, uintptr_t address, Workspace &workspace);
  bool depend_on_thread(uint32_t thread, uint32_t other, Workspace &workspace);
  void set_watches();
  void wake(uint32_t thread, Liveness liveness);
  void wake_watchers(Object object);
  void admit(uint32_t thread, Marker &marker);
  uint32_t thread_of_tid(int32_t tid) const;
  uint32_t thread_of_descriptor(uintptr_t address) const;
  bool in_roots(uintptr_t address) const;

  const Image *image_ = nullptr;
  Objects *objects_ = nullptr;
  std::span<Node> nodes_;
  GrowingTable<Edge> edges_;
  GrowingTable<Watch> watches_;       // sorted by object
  std::span<ThreadId> ids_;           // sorted by tid
  std::span<Descriptor> descriptors_; // of candidates, sorted by address
  std::span<Range> roots_;            // sorted by address
  std::span<uint32_t> queue_;         // live threads in the order in which they were found to be
  size_t queue_end_ = 0;
  size_t admitted_ = 0;
  uint64_t checks_ = 0;
};

} // namespace castaway
