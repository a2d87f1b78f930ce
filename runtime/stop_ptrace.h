// Holding threads with ptrace, from the tracer: a task that shares the target's memory but is no thread of it, because
// a thread cannot ptrace its own group.
//
// PTRACE_SEIZE and PTRACE_INTERRUPT run no handler, and most system calls restart unseen. If the tracer dies, the
// kernel lets every thread go on.
#pragma once

#include "runtime/stop.h"

namespace castaway {

class PtraceStopper final : public Stopper {
public:
  explicit PtraceStopper(const Proc &proc) : proc_(proc) {}

  StopWay way() const override { return StopWay::ptrace; }
  StopFailure begin() override { return StopFailure::none; }
  long seize(size_t place, StoppedThread &thread) override;
  long interrupt(size_t place, StoppedThread &thread) override;
  bool has_stopped(size_t place, StoppedThread &thread, bool insist) override;
  bool is_on_its_way(const StoppedThread &thread) const override;
  void await_event() override;
  size_t fetch_vectors(size_t place, const StoppedThread &thread, void *to, size_t size) override;
  bool run_on(size_t place, StoppedThread &thread) override;
  void let_go(size_t place, StoppedThread &thread) override;
  void flush() override;
  void before_resume(bool) override {}
  void after_resume(std::span<StoppedThread>) override {}

  // When a thread goes on, the kernel writes its processor's number to its restartable sequences' area. After a fork
  // that copies the page; done here, it is no page fault of the thread's (idle.h). Not where its stack is as near as
  // that the two may share a page.
  void copy_sequences_page(const StoppedThread &thread) const;

private:
  static constexpr size_t kTogether = 16;

  void detach(StoppedThread &thread) const;
  void await_main_settled() const;
  void leave_signals_to_main(int tid);

  const Proc &proc_;
  uint64_t main_takes_ = 0;         // signals to the process, once it goes on
  StoppedThread *ready_[kTogether]; // to be let go at once
  size_t ready_count_ = 0;
};

} // namespace castaway
