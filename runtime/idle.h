// Whether the program has run since its last safepoint. If it has not, the next one would find the same, and need not
// be made: a server's idle processes cost nothing.
//
// A fork leaves no page of the program's own memory writable. Whoever runs on writes at least to its stack, which is a
// page fault, and the kernel counts faults by thread: none but the agent's since before the fork means that nothing
// ran. A thread that goes on after a stop makes one all the same, because the kernel writes to its restartable
// sequences' area; the tracer sees to main's (PtraceStopper). Below the stack of another thread is its descriptor,
// often in the same page, so only processes of one thread are told to be idle.
//
// What may go wrong makes the program look busy, but for huge pages that the kernel forms anew and memory that another
// process shares or writes to. So safepoints are spared a few times in a row at most, and on demand never.
//
// Context: the agent.
#pragma once

#include <cstdint>

namespace castaway {

class IdleWatch {
public:
  // Before the threads are stopped.
  void begin();
  // After the safepoint. `holds`: what it found cannot change unless the program runs.
  void conclude(bool holds);
  // Whether the safepoint that is due can be spared; it counts as spared then.
  bool spare();

private:
  static constexpr int kMostInARow = 3;

  uint64_t faults_ = 0; // of the program, before the last stop
  bool holds_ = false;
  int spared_ = 0; // since the last safepoint
};

} // namespace castaway
