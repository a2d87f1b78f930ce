// The runtime as a whole: its start before main, its end, and forks.
#pragma once

namespace castaway {

// Ends the agent if there is one; whether there was.
bool suspend_profiling();
void continue_profiling();

// At an end without exit handlers: the last safepoint, where one is wanted and this process is to make it.
void end_profiling();

} // namespace castaway
