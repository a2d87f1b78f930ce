// Whether the program has run since its last safepoint. If it has not, the next one would find the same, and need not
// be made: a server's idle processes cost nothing.
//
// A fork leaves no page of the program's own memory writable. Whoever runs on writes at least to its stack, which is a
// page fault, and the kernel counts each thread's: no more of main's than when it was stopped for the fork means that
// it has not run. That holds for main alone. The kernel writes to a thread's restartable sequences' area when it goes
// on, which would be a page fault as well; the tracer makes main's copy of that page (PtraceStopper). Another thread's
// stack begins below its descriptor, which is where that area is: in the copied page its writing would not be seen. So
// only processes of one thread, stopped by ptrace, are told to be idle.
//
// Most of what goes wrong makes main look busy. It looks idle although something has changed where another process
// writes to shared memory or takes what was in a pipe; where devices write to memory, which a fork leaves writable; and
// where a huge page was formed anew, by the kernel or at our asking (huge_pages.h). So safepoints are spared a few
// times in a row at most, and on demand never.
//
// Context: the agent.
#pragma once

#include "runtime/proc.h"

#include <cstdint>

namespace castaway {

class IdleWatch {
public:
  // After a safepoint. `holds`: what it found cannot change unless main runs. `faults`: main's page faults at the stop.
  void conclude(bool holds, uint64_t faults);
  // Whether the safepoint that is due can be spared; it counts as spared then.
  bool spare(const Proc &target);

private:
  static constexpr int kMostInARow = 3;

  uint64_t faults_ = 0;
  bool holds_ = false;
  int spared_ = 0; // since the last safepoint
};

} // namespace castaway
