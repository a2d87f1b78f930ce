// System calls that the kernel never restarts, made to go on unseen.
//
// After a ptrace interrupt epoll_wait and its kin, sigtimedwait, semop, msgrcv, receiving under SO_RCVTIMEO and reading
// inotify come back with EINTR although no handler ran: event loops would notice. After a handler, poll, select,
// sleeps, pause and timed futex waits do so too. Unless a handler of the program's is about to run in the thread, it is
// made to call again. Where the kernel tells what is left of a timeout, that is the new one. Else a relative timeout is
// shortened by the time since this call was first seen at a stop, so that periodic safepoints never make a timed wait
// endless; a wait is so prolonged by less than the time between two safepoints, once. Likewise waits for a timeout
// beyond ten years, which would otherwise show as restart_syscall from the second safepoint on. Context: FROZEN, in the
// tracer or, with threads stopped by signal, in the agent.
#pragma once

#include "runtime/stop.h"
#include "runtime/thread_signals.h"

namespace castaway {

// Once per stop, before the first thread.
void begin_unseen();
// Changes `thread`'s registers where its call would come back with EINTR only because of us.
void make_unseen(StoppedThread &thread, const Proc &proc, StopWay way);

// Has the thread make its call again when it goes on.
void make_again(StoppedThread &thread, StopWay way);

// Right before a thread goes on after ptrace whose call is made again: takes that back where a handler of the program's
// is about to run in it, if that is not left to the kernel. Whether it has changed the registers. Threads stopped by a
// signal look for themselves (pending_signals.h).
bool keep_interruption(StoppedThread &thread, const Proc &proc);
// Main is the first to go on, and takes signals to the process that it does not block.
void note_main_goes_on(const ThreadSignals &signals);

// What a call that came back with EINTR after a handler would have shown without one: a result for restarts(), or
// EINTR.
long result_without_handler(long call);

// A timeout longer than this counts as none (seconds).
inline constexpr int64_t kFarTimeout = int64_t{10} * 366 * 24 * 3600;

} // namespace castaway
