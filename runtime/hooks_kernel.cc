// The hook for a call that gives the kernel a pointer which it shows to nobody: mq_notify. HOOK context, rare.
// What can be read from /proc or with ptrace needs no hook (kernel_roots.h).
#include "runtime/exports.h"
#include "runtime/kernel_roots.h"
#include "runtime/real.h"
#include "runtime/tracking.h"

#include <cerrno>
#include <mqueue.h>

using namespace castaway;

EXPORT int mq_notify(mqd_t queue, const sigevent *event) noexcept {
  static int (*next)(mqd_t, const sigevent *);
  if (!next) next = reinterpret_cast<decltype(next)>(next_symbol("mq_notify"));
  if (!next) return errno = ENOSYS, -1;
  // With SIGEV_THREAD glibc gives the kernel the only pointer to a copy of the attributes: declared to be no leak.
  disable_here();
  int result = next(queue, event);
  enable_here();
  if (result == 0 && event)
    note_queue_notification(queue, reinterpret_cast<uintptr_t>(event->sigev_value.sival_ptr),
                            reinterpret_cast<uintptr_t>(event->sigev_notify_function));
  return result;
}
