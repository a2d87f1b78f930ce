// A child process whose threads block in known functions, and its capture, taken with ptrace as the runtime does.
#pragma once

#include "tests/capture_builder.h"

#include <string>
#include <sys/types.h>

namespace castaway {

// Lines of the calls below, as the debug information should give them.
extern const int kLineOfInlinedWait; // in inlined_wait(), the call to pthread_cond_wait
extern const int kLineOfOuterCall;   // in outer_wait(), the inlined call to inlined_wait()
extern const char kProcessSource[];  // end of the path of the source file

class BlockedProcess {
public:
  // Starts it with `threads` threads named "worker", half in outer_wait() (pthread_cond_wait inlined twice over), half
  // in lock_wait() (pthread_mutex_lock), and waits until all are blocked.
  explicit BlockedProcess(int threads);
  ~BlockedProcess();
  BlockedProcess(const BlockedProcess &) = delete;
  BlockedProcess &operator=(const BlockedProcess &) = delete;

  pid_t pid() const { return pid_; }
  std::string maps() const;
  // Adds its maps and all of its threads, waiting on a futex; leaked since `since` unless that is 0. The registers are
  // those at a ptrace stop, the stacks copied whole.
  void capture(CaptureBuilder &builder, uint64_t since) const;

private:
  void add_thread(CaptureBuilder &builder, pid_t tid, uint64_t since) const;

  pid_t pid_;
};

// A return address within outer_wait(), as it would be on an allocation or creation stack. Valid in the child too.
uint64_t address_in_outer_wait();

} // namespace castaway
