// Holding threads with a signal, from the agent, where ptrace is denied: under a debugger or strace, by seccomp or
// Yama, in processes that are not dumpable.
//
// Which signal: 33, SIGSETXID, with which glibc changes the credentials of all threads. It is the one signal that
// reaches every thread by contract: glibc takes it out of every set that a program blocks, waits for or handles, and
// leaves it open in its own helper threads; a debugger passes it on without stopping. castaway's carry a ticket;
// glibc's own are handed to glibc's handler. Should anybody else handle it, the highest real-time signal that nobody
// handles is taken. The handler is installed for the time of a stop, and taken out again while all threads are held, so
// nobody can change it meanwhile. It stays only where a thread has not come: its signal may still be on the way, and
// would end the process otherwise.
//
// What a thread was doing is read from the context in its handler: a call that the kernel restarts shows up as such, as
// with ptrace; for one that comes back with EINTR the number is told by the code in front of it, or by what
// /proc/PID/task/TID/syscall said just before. restart.h makes it go on.
#pragma once

#include "runtime/stop.h"
#include "runtime/stop_handler.h"

namespace castaway {

class SignalStopper final : public Stopper {
public:
  explicit SignalStopper(const Proc &proc) : proc_(proc) {}

  StopWay way() const override { return StopWay::signal; }
  StopFailure begin() override;
  long seize(size_t place, StoppedThread &thread) override;
  long interrupt(size_t place, StoppedThread &thread) override;
  bool has_stopped(size_t place, StoppedThread &thread, bool insist) override;
  bool is_on_its_way(const StoppedThread &thread) const override;
  void await_event() override;
  size_t fetch_vectors(size_t place, const StoppedThread &thread, void *to, size_t size) override;
  bool run_on(size_t place, StoppedThread &thread) override;
  void let_go(size_t place, StoppedThread &thread) override;
  void flush() override {}
  void before_resume(bool complete) override;
  void after_resume(std::span<StoppedThread> threads) override;

private:
  bool install();
  bool blocks_signal(int tid) const;
  void await_open(size_t place);
  void await_left(size_t place, uint64_t deadline_ns);
  void read_call(StoppedThread &thread, StopSlot &slot) const;
  long call_number(const StoppedThread &thread, const SeenCall &seen) const;

  const Proc &proc_;
  const StopSlot *main_ = nullptr;
};

// That is used, once a stop was tried; 0 before.
int stop_signal_number();

// In the child of a fork: nobody is held there, and no signal is on its way.
void forget_stop_signal();

} // namespace castaway
