// The thread hooks: pthread_create for the stack of a thread's creation, sigaltstack for memory that only the kernel
// knows, dlclose for what the unwinder remembers. HOOK context. Nothing of pthread synchronisation is hooked.
#include "runtime/births.h"
#include "runtime/exports.h"
#include "runtime/sys.h"
#include "runtime/tracking.h"
#include "runtime/unloaded.h"
#include "runtime/unwind.h"

using namespace castaway;

namespace {

// The stack that the program provides for a thread, or an empty range.
Range given_stack(const pthread_attr_t *attributes) {
  void *begin = nullptr;
  size_t size = 0;
  if (!attributes || pthread_attr_getstack(attributes, &begin, &size) != 0) return {};
  uintptr_t at = reinterpret_cast<uintptr_t>(begin);
  return at + size == 0 ? Range{} : Range{at, at + size}; // glibc keeps the end; it is 0 where none was given
}

} // namespace

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *),
                          void *argument) {
  if (!real.pthread_create && !resolve_real()) return EAGAIN;
  this_thread.creating_thread = 1;
  int result = real.pthread_create(thread, attributes, function, argument);
  this_thread.creating_thread = 0;
  pthread_t descriptor;
  // The new thread may have run already, and have freed the memory that `thread` points at.
  if (result == 0 && tracking.on &&
      sys::read_own_memory(sys::process_id(), reinterpret_cast<uintptr_t>(thread), &descriptor, sizeof descriptor))
    births::note({descriptor, record_own_stack(), sys::thread_id(), given_stack(attributes), false});
  return result;
}

EXPORT int sigaltstack(const stack_t *stack, stack_t *old) {
  if (!real.sigaltstack && !resolve_real()) return -1;
  int result = real.sigaltstack(stack, old);
  if (result == 0 && stack) this_thread.alternate_stack = (stack->ss_flags & SS_DISABLE) ? nullptr : stack->ss_sp;
  return result;
}

EXPORT int dlclose(void *handle) {
  if (!real.dlclose && !resolve_real()) return -1;
  unloaded::Watch watch;
  if (tracking.on) watch.before();
  forget_frames();
  int result = real.dlclose(handle);
  if (tracking.on) watch.after();
  forget_frames();
  return result;
}
