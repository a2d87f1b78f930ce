// What the runtime keeps per thread of the target: a few words of thread-local storage.
//
// Initial-exec, so that reading it never allocates; constant-initialised and trivially destructible, so that it works
// before constructors and after destructors. Written only by its own thread; while that thread is stopped, the tracer
// reads it at the thread pointer + thread_state_offset().
#pragma once

#include "runtime/sampling.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

struct LastRecorded;

struct ThreadState {
  sampling::Sampler sampler;
  // Set while a block is known to nobody: its old entry is gone, its new one not yet made. The tracer lets such a
  // thread run on until it is out.
  volatile uint32_t in_transition = 0;
  uint32_t creating_thread = 0; // inside pthread_create: what is allocated meanwhile is the loader's
  uint32_t disabled = 0;        // castaway_disable() depth: allocations are declared no leaks
  // The alternate signal stack, which otherwise only the kernel knows. Held here it is reachable.
  void *alternate_stack = nullptr;
  // Stack memory that was found mapped, for threads on stacks that are not their own.
  Range foreign_stack;
  LastRecorded *last_recorded = nullptr; // last_stacks.h; null until the first
};

extern constinit thread_local ThreadState this_thread [[gnu::tls_model("initial-exec")]];

// Where `this_thread` lies relative to the thread pointer: the same in every thread.
inline ptrdiff_t thread_state_offset() {
  return reinterpret_cast<char *>(&this_thread) - static_cast<char *>(__builtin_thread_pointer());
}

} // namespace castaway
