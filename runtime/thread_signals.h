// What /proc tells of a thread's signals, and which thread gets one that was sent to the process.
//
// The kernel prefers main, and programs rely on it: so main is stopped last and let go first, and a call of another
// thread's is not taken for interrupted by what main will get.
// Context: FROZEN, in the tracer or the agent.
#pragma once

#include "runtime/proc.h"

#include <cstdint>

namespace castaway {

// One bit each. `handled`: the program has a handler for it; `ignored`: it has said that it wants to know nothing of
// it.
struct ThreadSignals {
  uint64_t own = 0, shared = 0, blocked = ~uint64_t{0}, handled = 0, ignored = 0;
  uint64_t sleeps = 0; // voluntary context switches
  bool known = false;

  // Handlers that will run in this thread, if it is the next to go on.
  uint64_t due() const { return (own | shared) & ~blocked & handled; }
  // Those that the kernel drops at once, where they are not blocked and the thread is not traced: they interrupt
  // nothing.
  uint64_t dropped() const;
};

ThreadSignals signals_of(const Proc &proc, int tid);

// Sleeps until main runs no handler for a signal to the process that it would take, a moment at most. False where there
// still is one.
bool await_main_took_signals(const Proc &proc);

} // namespace castaway
