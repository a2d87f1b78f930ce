// The hooks for calls that concern the agent, since libc does not know that thread: namespaces and credentials.
//
// unshare into a user namespace, and setns into one of users or of time, need a process of one thread: the agent ends
// before and starts again. Credentials are a thread's own in the kernel; libc changes those of all threads that it
// knows, and here the agent follows. HOOK context, rare calls.
#include "runtime/agent.h"
#include "runtime/exports.h"
#include "runtime/real.h"
#include "runtime/runtime.h"
#include "runtime/sys.h"

#include <cerrno>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/types.h>
#include <unistd.h>

namespace castaway {
namespace {

template <typename F> F real_function(F &cached, const char *name) {
  if (!cached) cached = reinterpret_cast<F>(next_symbol(name));
  return cached;
}

int without_agent(int (*call)(int, int), int a, int b) {
  bool had_agent = suspend_profiling();
  int result = call(a, b);
  int error = errno;
  if (had_agent) continue_profiling();
  errno = error;
  return result;
}

// Calls `change` with the agent's files open already, and lets the agent take over what came of it.
template <typename Change> int with_agent(Change change) {
  await_agent_ready();
  int result = change();
  int error = errno;
  if (result == 0) follow_credentials();
  errno = error;
  return result;
}

} // namespace
} // namespace castaway

using namespace castaway;

EXPORT int unshare(int flags) {
  static int (*next)(int);
  if (!real_function(next, "unshare")) return errno = ENOSYS, -1;
  constexpr int kSingleThreaded = CLONE_NEWUSER | CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
  if (!(flags & kSingleThreaded)) return next(flags);
  return without_agent([](int f, int) { return next(f); }, flags, 0);
}

EXPORT int setns(int fd, int type) {
  static int (*next)(int, int);
  if (!real_function(next, "setns")) return errno = ENOSYS, -1;
  constexpr int kSingleThreaded = CLONE_NEWUSER | CLONE_NEWTIME;
  // Without a type: the one that the descriptor has. An error of this call is setns' as well.
  long kind = type ? type : sys::call(SYS_ioctl, fd, NS_GET_NSTYPE);
  if (kind < 0 || !(kind & kSingleThreaded)) return next(fd, type);
  return without_agent([](int f, int t) { return next(f, t); }, fd, type);
}

#define CREDENTIALS1(name, A)                                                                                          \
  EXPORT int name(A a) noexcept {                                                                                      \
    static int (*next)(A);                                                                                             \
    if (!real_function(next, #name)) return errno = ENOSYS, -1;                                                        \
    return with_agent([&] { return next(a); });                                                                        \
  }
#define CREDENTIALS2(name, A, B)                                                                                       \
  EXPORT int name(A a, B b) noexcept {                                                                                 \
    static int (*next)(A, B);                                                                                          \
    if (!real_function(next, #name)) return errno = ENOSYS, -1;                                                        \
    return with_agent([&] { return next(a, b); });                                                                     \
  }
#define CREDENTIALS3(name, A, B, C)                                                                                    \
  EXPORT int name(A a, B b, C c) noexcept {                                                                            \
    static int (*next)(A, B, C);                                                                                       \
    if (!real_function(next, #name)) return errno = ENOSYS, -1;                                                        \
    return with_agent([&] { return next(a, b, c); });                                                                  \
  }

CREDENTIALS1(setuid, uid_t)
CREDENTIALS1(seteuid, uid_t)
CREDENTIALS1(setgid, gid_t)
CREDENTIALS1(setegid, gid_t)
CREDENTIALS2(setreuid, uid_t, uid_t)
CREDENTIALS2(setregid, gid_t, gid_t)
CREDENTIALS3(setresuid, uid_t, uid_t, uid_t)
CREDENTIALS3(setresgid, gid_t, gid_t, gid_t)
CREDENTIALS2(setgroups, size_t, const gid_t *)
CREDENTIALS2(initgroups, const char *, gid_t)
