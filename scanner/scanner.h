// The scanner: a memory image in, verdicts out.
//
// What is live is INTERFACE's "What counts as a leaked thread", found as a least fixpoint: mark from the roots and the
// live threads, let every waiter whose wait can still end join them, repeat until nothing changes. Every doubt is
// decided for live. The waiters that remain are leaked; blocks that neither live nor leaked threads reach are leaked
// memory.
//
// Freestanding: no system call, no allocation but from the Workspace, no recursion, no global state. Context: SNAPSHOT
// or a test; one thread, and those of a Crew.
#pragma once

#include "scanner/chain.h"
#include "scanner/crew.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

// Where the scanner's tables come from: zeroed, page-aligned, touched only where used; never returned one by one.
// Returns null when there is none.
class Workspace {
public:
  virtual void *take(size_t bytes) = 0;
  // The same, all of it touched: threads that share memory stop each other when one touches a page of it first.
  virtual void *take_touched(size_t bytes) { return take(bytes); }

protected:
  ~Workspace() = default;
};

// What explain() is asked about: an address, or a thread.
struct Question {
  uintptr_t address = 0;
  int32_t tid = 0; // where not 0
};

struct ThreadVerdict {
  bool leaked = false;
  Reason reason = Reason::none;
  // Leaked whatever memory holds: it waits for a thread, that one for another, and so on to a deadlock or to an owner
  // that has exited.
  bool certain = false;
  // Heap that leaked threads alone keep alive, each block counted for the first leaked thread, in the image's order,
  // that reaches it: sums over threads are exact.
  uint64_t retained_bytes = 0;
  uint64_t retained_objects = 0;
};

struct LeakedBlock {
  uintptr_t begin = 0;
  uint64_t size = 0;
  bool indirect = false;        // only leaked blocks point to it
  uint64_t first_safepoint = 0; // since when, without interruption, it has been found leaked
  const BlockNote *note = nullptr;
};

struct HeapTotals {
  uint64_t blocks = 0;
  uint64_t bytes = 0;
};

// What the scan did, for benchmarks and for tests of its complexity.
struct ScanWork {
  uint64_t words = 0;       // words of memory looked at
  uint64_t wait_checks = 0; // times that a wait was looked at
  uint64_t scouted = 0;     // blocks that scouts have found for the marker
};

class Scanner {
public:
  // All outlive the scanner. With a crew, all of it marks what is reached from roots and threads that are live at once.
  Scanner(const Image &image, Workspace &workspace, Crew *crew = nullptr)
      : image_(image), workspace_(workspace), crew_(crew) {}

  // Runs the whole scan. False when the workspace ran out: there is no verdict then.
  bool run();

  // After run(): in the image's order.
  std::span<const ThreadVerdict> verdicts() const { return verdicts_; }
  // After run(): leaked blocks in address order, without those of the loader.
  std::span<const LeakedBlock> leaked_blocks() const { return leaked_; }
  HeapTotals heap() const { return heap_; }
  // After run(): the late roots could have made more of it live, and were not to be had. Leaked blocks are then only
  // those that are settled or of Image::past, and of leaked threads only those that were leaked before, or that are
  // certain to be (ThreadVerdict), are known to be.
  bool in_doubt() const { return in_doubt_; }
  // Whether the block or thread memory at `address` is reachable from what is live (not from leaked threads).
  bool is_live(uintptr_t address) const;
  // Whether something that is live points into the stack of this waiter, be the waiter leaked or not.
  bool is_stack_live(size_t thread) const;
  ScanWork work() const;
  // After run(): what keeps a block or a thread alive, link by link from there to a root. Takes its time and 24 bytes
  // of workspace for each block that is reached. Empty when the workspace ran out.
  std::span<const ChainLink> explain(const Question &question) const;

private:
  bool start();
  void mark_late_roots();

  const Image &image_;
  Workspace &workspace_;
  Crew *crew_;
  std::span<ThreadVerdict> verdicts_;
  std::span<LeakedBlock> leaked_;
  HeapTotals heap_;
  bool in_doubt_ = false;
  struct State;
  State *state_ = nullptr;
};

} // namespace castaway
