// Pointers that the kernel holds for the target: epoll data, POSIX timer values, values of queued signals and of
// message queues' notifications, what waits in pipes and Unix sockets.
//
// Context: FROZEN, in the tracer, since they change at any moment otherwise.
// What cannot be seen: user data and buffers of io_uring and kernel AIO requests in flight. Where there may be such
// requests, holds_hidden() says so, and everything counts as reached. Data in other sockets: a limit (README).
#pragma once

#include "runtime/proc.h"
#include "runtime/stop.h"
#include "runtime/vmas.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

class KernelRoots {
public:
  // Which descriptors are epolls, looked up while the target still runs: reading all links takes long.
  void prepare(const Proc &proc);
  // Reads the values. Everything that is not known from prepare() is looked at now.
  void collect(const Proc &proc, World &world);
  // A fork would wait for a thread of the target's, which is stopped: userfaultfd(2) with UFFD_FEATURE_EVENT_FORK.
  bool fork_would_wait() const { return fork_would_wait_; }

  std::span<const uintptr_t> values() const { return {values_, count_}; }
  bool incomplete() const { return incomplete_; }
  // SNAPSHOT: whether requests of which nothing can be seen may be in flight.
  bool holds_hidden(const Vmas &vmas) const;

private:
  void collect_epoll(const Proc &proc, int fd);
  void collect_timers(const Proc &proc);
  void collect_bytes(std::string_view bytes);
  void collect_ring(const Proc &proc, int fd);
  void collect_userfault(const Proc &proc, int fd);
  void collect_signals(const Proc &proc, World &world);
  void doubt_signals(const Proc &proc, int tid);
  void collect_queue(int tid, bool shared);
  void add(uint64_t value);
  bool reserve();

  // For each descriptor number, what it is.
  uint8_t *kinds_ = nullptr;
  uintptr_t *values_ = nullptr;
  char *text_ = nullptr;
  size_t count_ = 0;
  bool incomplete_ = false;
  bool unseen_signals_ = false;
  bool used_rings_ = false;
  bool fork_would_wait_ = false;
  static constexpr size_t kMostIdle = 64;
  uint64_t idle_rings_[kMostIdle] = {}; // inodes of io_urings that were never used
  size_t idle_count_ = 0;
};

// HOOK: the value of a notification that was asked for on a message queue, until another one is.
void note_queue_notification(int queue, uintptr_t value, uintptr_t function_value);

} // namespace castaway
