// System calls as the runtime makes them: raw, without errno and without libc's locks.
//
// Why not libc: the agent, the tracer and the snapshot have no thread state of libc's own, and a frozen thread may hold
// any of libc's locks. All functions return the kernel's result: negative errno on failure. Any context.
#pragma once

#include "runtime/arch.h"

#include <cerrno>
#include <climits>
#include <ctime>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace castaway::sys {

template <typename... Args> long call(long number, Args... args) {
  return arch::system_call(number, (long)args...); // NOLINT: pointers and integers alike
}

inline int open_at(int dir, const char *path, int flags, int mode = 0) {
  return static_cast<int>(call(SYS_openat, dir, path, flags | O_CLOEXEC, mode));
}
inline void close(int fd) {
  if (fd >= 0) call(SYS_close, fd);
}
inline long read(int fd, void *to, size_t size) { return call(SYS_read, fd, to, size); }
inline long write(int fd, const void *from, size_t size) { return call(SYS_write, fd, from, size); }

// Writes all of it or returns a negative errno.
inline long write_all(int fd, const void *from, size_t size) {
  const char *at = static_cast<const char *>(from);
  while (size > 0) {
    long done = write(fd, at, size < (1u << 30) ? size : (1u << 30));
    if (done == -EINTR) continue;
    if (done <= 0) return done < 0 ? done : -EIO;
    at += done;
    size -= static_cast<size_t>(done);
  }
  return 0;
}

// Fresh zeroed memory, or null. Reserved only: pages come when touched, or at once with MAP_POPULATE.
inline void *map_memory(size_t size, int kind = MAP_PRIVATE, int protection = PROT_READ | PROT_WRITE) {
  long p = call(SYS_mmap, 0, size, protection, MAP_ANONYMOUS | MAP_NORESERVE | kind, -1, 0);
  return p < 0 && p > -4096 ? nullptr : reinterpret_cast<void *>(p);
}
inline void unmap_memory(void *at, size_t size) { call(SYS_munmap, at, size); }

// That the calling thread may run on.
inline size_t processors() {
  uint64_t mask[128] = {}; // of 8192
  long bytes = call(SYS_sched_getaffinity, 0, sizeof mask, mask);
  size_t count = 0;
  for (long i = 0; i < bytes / 8; ++i) count += static_cast<size_t>(__builtin_popcountll(mask[i]));
  return count;
}

inline uint64_t now_ns(int clock = CLOCK_MONOTONIC) {
  timespec t{};
  call(SYS_clock_gettime, clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}
inline uint64_t to_ns(const timeval &time) {
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_usec) * 1000u;
}
inline timespec to_timespec(uint64_t ns) {
  return {static_cast<time_t>(ns / 1000000000u), static_cast<long>(ns % 1000000000u)};
}
// Of a set of signals, as the kernel has it.
constexpr uint64_t signal_bit(int number) { return uint64_t{1} << (number - 1); }

inline void sleep_ns(uint64_t ns) {
  timespec t = to_timespec(ns);
  call(SYS_nanosleep, &t, nullptr);
}

inline long futex_wait(const void *word, uint32_t value, uint64_t timeout_ns, bool shared = false) {
  timespec t = to_timespec(timeout_ns);
  return call(SYS_futex, word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, value, &t, nullptr, 0);
}
inline void futex_wake(const void *word, bool shared = false) {
  call(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

inline int process_id() { return static_cast<int>(call(SYS_getpid)); }
inline int thread_id() { return static_cast<int>(call(SYS_gettid)); }
[[noreturn]] inline void exit_group(int status) {
  for (;;) call(SYS_exit_group, status);
}

// Copies memory of the calling process that may not be mapped; false where any of it is not.
inline bool read_own_memory(int pid, uintptr_t from, void *to, size_t size) {
  struct {
    void *base;
    size_t length;
  } local{to, size}, remote{reinterpret_cast<void *>(from), size};
  return call(SYS_process_vm_readv, pid, &local, 1, &remote, 1, 0) == static_cast<long>(size);
}

} // namespace castaway::sys
