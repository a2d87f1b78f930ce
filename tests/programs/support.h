// What the target programs share: their case tables, set-up that leaves no stale pointers behind, and threads that are
// known to be blocked.
//
// `PROGRAM --list` writes the names of its cases.
//
// Protocol with the harness (tests/e2e): `PROGRAM CASE [MODE]` sets the case up, writes lines "name number" that
// say what a profile has to show, then the line READY, and ends with status 0 when its standard input ends.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <pthread.h>
#include <span>
#include <string_view>
#include <sys/types.h>

struct sock_filter;

namespace support {

// What becomes of the thing that a case is about. leak: lost, as the bug has it. held: the same, but a root still
// reaches it. fixed: the bug is mended, all ends as it should.
enum class Mode { leak, held, fixed };

struct Case {
  std::string_view name;
  void (*set_up)(Mode mode);
};

// The whole of main(): runs the case that argv names and returns the exit status; 2 for a case that does not exist.
// The set-up runs on a thread that has ended when READY is written, so nothing of it is left on a live stack.
int run(int argc, char **argv, std::initializer_list<std::span<const Case>> tables);

// A root: what Mode::held stores its pointer in.
extern void *volatile kept;

// Adds a block of `size` bytes to the numbers "objects" and "bytes" that are written before READY.
void count(size_t size);
// `size` bytes that hold nothing, counted.
[[gnu::noinline]] void *take(size_t size);
// The same for a value of its own.
template <typename T> T *make() { return new (take(sizeof(T))) T; }
template <typename T> void discard(T *value) {
  value->~T();
  __builtin_free(value);
}

// Writes the line "name number".
void say(const char *name, long number);

using ThreadBody = void *(*)(void *);
// Starts a detached thread and returns its tid. The argument is nowhere but in registers and on the new stack.
pid_t start(ThreadBody body, void *argument, const pthread_attr_t *attributes = nullptr);
// The same for a thread that someone joins.
pid_t start_joinable(ThreadBody body, void *argument, pthread_t *thread);
// Returns once the thread sleeps in a system call that waits.
void await_blocked(pid_t tid);
// Returns once the thread is gone.
void await_end(pid_t tid);
pid_t start_blocked(ThreadBody body, void *argument);

// For programs that do something when SIGUSR1 comes: blocks it, in all threads that are still to be made. First in
// main.
void block_signal();
// Whenever it comes, has this done by a thread whose stack holds no pointer before that, which says the line `done`
// then. Once in a process.
void act_at_signal(void (*act)(), const char *done);
// A child that parks; says the line "child PID".
[[gnu::noinline]] void make_child();
// Shared memory of which nothing is there but its first page, which holds zeros.
void **map_shared(size_t bytes);
// A seccomp filter for all threads of the process.
void add_filter(sock_filter *code, size_t count);

// Blocks for good without waiting on any memory: a live thread that holds what its stack holds.
[[gnu::noinline]] void park();
// Overwrites the part of the caller's stack that set-up may have used.
[[gnu::noinline]] void scrub_stack();
// Gives up with a message when a call of the set-up fails.
void require(bool fine, const char *what);

// Keeps the compiler from turning the call before it into a jump: the caller's frame stays on the stack.
inline void keep_frame() { asm volatile("" ::: "memory"); }

} // namespace support
