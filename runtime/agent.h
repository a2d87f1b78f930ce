// The agent: the task in the target that makes safepoints, by the clock, on demand and at the end.
//
// A thread of the target that libc knows nothing of, made by clone(2): pthread_create would allocate in the target, end
// its single-threaded shortcuts, and keep a process alive whose main thread has called pthread_exit. It has a thread
// pointer, a stack and, above all, a descriptor table of its own: the target never sees a descriptor of ours, and may
// close or duplicate over any number. All signals are blocked in it. It makes raw system calls only.
#pragma once

#include "runtime/config.h"

#include <cstdint>

namespace castaway {

// Starts it; false where no thread can be made. Called by a thread of the target, before main and after fork.
bool start_agent(const Config &config);

// Ends it and waits until it is gone, for calls that need a single-threaded process (unshare, setns). A safepoint that
// is being scanned goes on. start_agent() continues where it was.
void end_agent();

// After the calling thread has changed the process' credentials: the agent takes them over. libc tells only the
// threads that it knows.
void follow_credentials();
// Before they are changed: lets the agent open its files first, as the one who started the program.
void await_agent_ready();

// One safepoint now, waiting until its profile is written, two minutes at most. `exit`: marked as the last one.
// Returns whether one was made.
bool make_safepoint_now(bool exit);

// At the end of the process: removes what need not stay, says what leaked.
void finish_agent();

// In the child of a fork, where there is no agent.
void forget_agent();

} // namespace castaway
