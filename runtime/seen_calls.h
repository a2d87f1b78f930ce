// What threads were seen to sleep in, and what that tells of a call whose interruption has left too little in the
// registers. Context: the tracer, or the agent where threads are stopped by signal.
#pragma once

#include "runtime/arch.h"
#include "runtime/proc.h"

#include <cstdint>

namespace castaway {

// A call that a thread was seen to sleep in (/proc/PID/task/TID/syscall).
struct SeenCall {
  int64_t number; // negative: none
  uint64_t arguments[6];
  uint64_t stack_pointer, program_counter;
};

// What it sleeps in now.
SeenCall see_call(const Proc &proc, int tid);

// What each thread was last seen in, by its tid, to be filled by the caller; null where there is no memory.
SeenCall *last_seen(int tid);

// The same place, and the same first arguments.
bool is_same(const SeenCall &seen, const arch::ThreadRegisters &registers, int arguments);

// For a call that came back: where its result has taken the first argument's register, that is as it was seen. False
// where that cannot be told: the thread was not yet asleep when it was looked at. Its call then ends with EINTR.
bool recall_first_argument(arch::ThreadRegisters &registers, long number, const SeenCall &seen);

// Where the kernel does not show ptrace what call it has interrupted (arch::kShowsCalls): tells it by the code, as of a
// call that restarts where it is to be made again. One that is about to be made for the first time looks the same, and
// is one: nothing comes between the thread and it.
void show_call(arch::ThreadRegisters &registers, const SeenCall &seen, int pid);

} // namespace castaway
