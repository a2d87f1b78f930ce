// The hooks for ends without exit handlers: _exit and _Exit, with which shells and daemons end normally.
//
// Only with CASTAWAY_AT_EXIT, and only in a process that began with the program itself: the child of a fork that calls
// _exit is a helper of its parent's, and the child of a vfork runs in its parent's memory. They may be called from
// signal handlers: nothing is allocated and no lock is taken, and a thread that is in the middle of a hook is left
// alone. quick_exit runs handlers, of which start() registers the last.
#include "runtime/exports.h"
#include "runtime/runtime.h"
#include "runtime/sys.h"

using namespace castaway;

EXPORT void _exit(int status) {
  end_profiling();
  sys::exit_group(status);
}

EXPORT void _Exit(int status) {
  end_profiling();
  sys::exit_group(status);
}
