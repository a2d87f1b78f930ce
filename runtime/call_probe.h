// Whether calls may be made at all that a safepoint needs: a seccomp filter can answer one with the end of the caller.
//
// A filter is in force where /proc says so; what it does with a call only the call can tell. So a copy of the tracer
// makes it, and nothing but the copy dies. The answer holds as long as no filter is added. Context: the tracer, before
// anybody is stopped. Costs a fork, once, in processes with a filter.
#pragma once

#include "runtime/proc.h"
#include "runtime/stop.h"

namespace castaway {

struct CallAnswers {
  long stop;           // 0, or the negative errno with which threads are not to be stopped this way
  bool huge_pages;     // what HugePages calls may be called
  bool signal_actions; // so may keep_ended_children()
};

// Children of the calling process stay until they are waited for. It inherits from a program that ignores SIGCHLD that
// the kernel removes them at once, and nobody learns how they ended. False where that cannot be changed.
bool keep_ended_children();

CallAnswers probe_calls(StopWay way, int proc_root);

} // namespace castaway
