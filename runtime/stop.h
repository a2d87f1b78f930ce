// Stopping the world: all threads of the target held at once, with their registers, and let go again.
//
// World lists the threads until nothing new appears, bounds every wait, and lets those in mid-realloc run on. How one
// thread is held is a Stopper's part, of which there are two:
//   - stop_ptrace.h, in the tracer: no handler runs, and system calls restart unseen;
//   - stop_signal.h, in the agent, where ptrace is denied: a handler of ours waits in each thread.
// System calls that would not go on unseen are made to (restart.h).
//
// No libc function that locks may be called here: a stopped thread may hold the lock.
// If the one who holds the threads dies, they go on.
#pragma once

#include "runtime/arch.h"
#include "runtime/proc.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

enum class StopWay : uint8_t { ptrace, signal };

struct StoppedThread {
  int tid;
  bool pending; // told to stop, not seen to have stopped
  bool gone;
  bool let_go;
  bool interrupted_by_signal; // about to run a handler: it runs
  int signal;                 // to be handed on when it continues
  bool registers_changed;
  bool was_interrupted; // its call came back with EINTR, and the registers have been changed to make it again
  bool calls_again;     // its call is made again when it goes on; the registers show it as it was interrupted
  arch::ThreadRegisters registers;
  Range frame;            // what the kernel and the handler put below its stack pointer, or on its alternate stack
  uint32_t vector_offset; // of its vector registers, in World::vectors(), in words
  uint32_t vector_words;
};

enum class StopFailure : int {
  none,
  denied,     // threads cannot be stopped this way: failed_errno
  late,       // a thread did not stop in time
  blocked,    // a thread blocks the signal
  transition, // a thread did not get through its realloc in time
  no_signal,  // all signals are in use
  no_memory,
  no_proc, // /proc cannot be read
  tracer_died,
  userfault, // a fork would wait for a thread of the target
  uncopied,  // memory that a fork does not copy, and more of it than a stop can
  too_full,  // memory is nearly used up
};

// How one thread is held. All functions return at once but for await_event(). Threads are named by their place among
// World::threads() and their tid.
class Stopper {
public:
  virtual StopWay way() const = 0;
  // Once per stop, before anything else.
  virtual StopFailure begin() = 0;
  // Before a thread is told to stop: 0, -ESRCH where it is gone, or another negative errno.
  virtual long seize(size_t place, StoppedThread &thread) = 0;
  virtual long interrupt(size_t place, StoppedThread &thread) = 0;
  // Whether it has stopped or is gone; its registers are there then. `insist`: it should have by now, look closer.
  virtual bool has_stopped(size_t place, StoppedThread &thread, bool insist) = 0;
  // Whether one that has not stopped will when it gets a processor.
  virtual bool is_on_its_way(const StoppedThread &thread) const = 0;
  // Sleeps until something may have changed, a millisecond at most.
  virtual void await_event() = 0;
  // Writes its vector registers, returns how many bytes.
  virtual size_t fetch_vectors(size_t place, const StoppedThread &thread, void *to, size_t size) = 0;
  // Lets one go on that is to be interrupted again soon. False where that is not possible.
  virtual bool run_on(size_t place, StoppedThread &thread) = 0;
  // Lets one go on for good, at flush() at the latest.
  virtual void let_go(size_t place, StoppedThread &thread) = 0;
  virtual void flush() = 0;
  // After all that had stopped, `complete`: which are all there are, were prepared to go on, and before the first does.
  virtual void before_resume(bool complete) = 0;
  // After all have been let go: waits, for a bounded time, until nothing of ours is in use.
  virtual void after_resume(std::span<StoppedThread> threads) = 0;

protected:
  ~Stopper() = default;
};

class World {
public:
  World(const Proc &proc, int spared_tid, Stopper &stopper) : proc_(proc), spared_(spared_tid), stopper_(stopper) {}

  // Stops every thread but the spared one (the agent). On failure all go on already.
  StopFailure stop();
  // Lets all go on.
  void resume();
  // Gives back the memory of the tables; threads() and vectors() are over.
  void release();

  // When the first thread was told to stop.
  uint64_t first_told_ns() const { return first_told_ns_; }
  StopWay way() const { return stopper_.way(); }
  std::span<StoppedThread> threads() { return {threads_, count_}; }
  // Vector registers of threads that were stopped outside of a blocking call, or of all where calls keep some.
  std::span<const uintptr_t> vectors() const { return {vectors_, vector_words_}; }
  // With StopFailure::denied, late, blocked and transition: which thread, and for denied the errno.
  int failed_tid() const { return failed_tid_; }
  int failed_errno() const { return failed_errno_; }

private:
  bool is_still_late() const;
  StopFailure stop_round(bool &found_new);
  StopFailure interrupt_from(size_t first, bool main);
  StopFailure seize_new();
  StopFailure seize(StoppedThread &thread);
  bool has_come(size_t place, bool insist);
  StopFailure await(uint64_t deadline_ns);
  StopFailure run_out_of_transitions(uint64_t deadline_ns);
  StopFailure run_through(size_t place, uint64_t deadline_ns);
  bool in_transition(const StoppedThread &thread) const;
  void prepare_to_go_on();
  bool fetch_vectors(size_t place); // false: no memory for them
  void let_all_go(bool complete);
  void let_go(size_t place);
  void let_stragglers_go();
  StoppedThread *find(int tid);
  StoppedThread *add(int tid);
  bool reserve();
  StopFailure fail(StopFailure failure, int tid, int error = 0);

  const Proc &proc_;
  int spared_;
  Stopper &stopper_;
  StoppedThread *threads_ = nullptr;
  uint32_t *index_ = nullptr; // of threads_ by tid, + 1; open addressing
  uintptr_t *vectors_ = nullptr;
  size_t count_ = 0;
  size_t pending_ = 0;
  size_t vector_words_ = 0;
  uint64_t first_told_ns_ = 0;
  int failed_tid_ = 0;
  int failed_errno_ = 0;
};

// Most threads that can be stopped.
inline constexpr size_t kMostThreads = size_t{1} << 16;

// What a call that goes on after the stop shows as its result: ERESTARTSYS, -NOINTR, -NOHAND, -_RESTARTBLOCK.
inline bool restarts(long result) { return result == -512 || result == -513 || result == -514 || result == -516; }

// A thread that is blocked inside a system call which the kernel would go on with unseen, or which is made to.
bool waits_in_call(const StoppedThread &thread);

// From /proc/PID/task/TID/stat.
struct ThreadStat {
  char state = 'X'; // its letter; gone
  uint64_t flags = 0;
  uint64_t faults = 0; // page faults so far, of both kinds
  bool is_gone() const { return state == 'Z' || state == 'X'; }
  // Where no signal wakes it: in vfork, for a disk.
  bool sleeps_deeply() const { return state == 'D'; }
  // It will look for signals when it gets a processor; others sleep deeply, or a debugger or the shell has stopped
  // them.
  bool looks_for_signals() const { return state == 'R' || state == 'S'; }
};
ThreadStat thread_stat(const Proc &proc, int tid);

} // namespace castaway
