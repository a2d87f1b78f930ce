// Which safepoints are spared because they would hardly find anything else than the last one: a server's idle processes
// cost nothing, or little. A few times in a row at most, and on demand never.
//
// Whoever has not run. A fork leaves no page of the program's own memory writable. Whoever runs on writes at least to
// its stack, which is a page fault, and the kernel counts each thread's: no more of main's than when it was stopped for
// the fork means that it has not run. That holds for main alone. The kernel writes to a thread's restartable sequences'
// area when it goes on, which would be a page fault as well; the tracer makes main's copy of that page (PtraceStopper).
// Another thread's stack begins below its descriptor, which is where that area is: in the copied page its writing would
// not be seen. So only processes of one thread, stopped by ptrace, are told to be idle.
//
// Most of what goes wrong makes main look busy. It looks idle although something has changed where another process
// writes to shared memory or takes what was in a pipe; where devices write to memory, which a fork leaves writable; and
// where a huge page was formed anew, by the kernel or at our asking (huge_pages.h).
//
// And of processes that were forked from a profiled one, those that have run since then for less time than it took of a
// processor, and for less than a 128th of the interval: a server may have hundreds of workers that wake up now and
// then, and what they can have lost is little.
//
// Context: the agent.
#pragma once

#include "runtime/proc.h"

#include <cstdint>

namespace castaway {

// A safepoint that was made.
struct LastSafepoint {
  bool holds;           // what it found cannot change unless main runs
  uint64_t main_faults; // main's page faults at the stop
  bool awaits_next;     // the next one can confirm a leak
  bool forked;          // of a process that is a copy of one that had an agent
  uint64_t used_ns;     // the process' own processor time before it
  uint64_t cost_ns;     // what it took of a processor, in all its processes
  uint64_t interval_ns; // between two
};

class IdleWatch {
public:
  void conclude(const LastSafepoint &last);
  // Whether the safepoint that is due can be spared; it counts as spared then.
  bool spare(const Proc &target);

private:
  static constexpr int kMostInARow = 3;
  static constexpr uint64_t kHardly = 128; // of the interval, one part

  bool has_not_run(const Proc &target) const;
  bool has_hardly_run() const;

  LastSafepoint last_{.holds = false,
                      .main_faults = 0,
                      .awaits_next = true,
                      .forked = false,
                      .used_ns = 0,
                      .cost_ns = 0,
                      .interval_ns = 0};
  int spared_ = 0; // since then
};

} // namespace castaway
