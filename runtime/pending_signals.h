// A signal of the program's that comes while its threads are held: it must find the program as if they had not been.
//
// All signals but those that are ignored are blocked in a thread that is held, so one for the process waits, and
// interrupts nothing. It is main's where main does not block it, as the kernel has it: main goes on first, and the
// others look whether one is there that main has not taken yet. One that main blocks is taken by the first thread that
// would get it, for itself. Whoever is to run a handler learns whether the call that it stands in would have ended with
// EINTR. What is left are the microseconds between that look and the thread's going on. Context: in the handler of
// stop_handler.cc.
#pragma once

#include <cstdint>
#include <ucontext.h>

namespace castaway {

enum class Interruption {
  none,           // no handler will run
  restarts_calls, // one with SA_RESTART
  ends_calls,     // one without
};

// Gives main the time to take what it prefers to take. What is still there then was sent to this thread.
void leave_to_main(uint64_t blocked, uint64_t main_takes);

// What the next handler in this thread will do. `blocked`: the signals that the thread blocks when it goes on.
Interruption next_signal(uint64_t blocked, uint64_t main_takes);

// Whether the call that the kernel has put the thread back to can end with EINTR at all.
bool may_be_interrupted(const ucontext_t &context);

} // namespace castaway
