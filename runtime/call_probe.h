// Whether calls may be made at all that a safepoint needs: a seccomp filter can answer one with the end of the caller.
//
// A filter is in force where /proc says so; what it does with a call only the call can tell. So a copy of the tracer
// makes it, and nothing but the copy dies. The answer holds as long as no filter is added. Context: the tracer, while
// nobody is stopped. Costs a fork for each kind of calls, once, in processes with a filter.
#pragma once

#include "runtime/proc.h"

namespace castaway {

// What they are for: to stop threads by ptrace, or by a signal; to make huge pages whole again.
enum class Calls { ptrace, signal, huge_pages };

// 0, or a negative errno: they may not be made.
long probe_calls(Calls calls, int proc_root);

} // namespace castaway
