// System calls that wait, in one shape: so that every one of them can be held to "no EINTR, not early, not for ever".
#pragma once

#include <memory>
#include <vector>

namespace calm {

enum class Outcome { event, timeout, error };

class WaitingCall {
public:
  virtual ~WaitingCall() = default;
  virtual const char *name() const = 0;
  virtual bool can_time_out() const { return true; }
  virtual bool can_be_released() const { return true; }
  // Whether the code says which call it is, or its caller.
  virtual bool is_named() const { return true; }
  bool is_unnamed() const { return !is_named(); }
  // Waits for the event, at most `milliseconds`; -1: without end. With `error`, errno says which.
  virtual Outcome wait(int milliseconds) = 0;
  // Makes the event happen. Called from another thread.
  virtual void release() {}
};

std::vector<std::unique_ptr<WaitingCall>> every_waiting_call();

// In waiting_calls_files.cc and waiting_calls_ipc.cc.
void add_file_calls(std::vector<std::unique_ptr<WaitingCall>> &calls);
void add_ipc_calls(std::vector<std::unique_ptr<WaitingCall>> &calls);

} // namespace calm
