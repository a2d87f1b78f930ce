// What a program has written and not read yet: the contents of its pipes and Unix sockets, where threads hand pointers
// to each other.
//
// FROZEN, in the tracer: a descriptor of the target's is borrowed, looked at without taking anything out of it, and
// given back before anybody runs again, so that nobody can tell. Where the kernel does not lend (before Linux 5.6, or
// without permission) nothing is seen.
#pragma once

#include <cstddef>
#include <span>

namespace castaway {

class KernelQueues {
public:
  // Of sockets so many are looked at; those that a program makes for its own use are among its first.
  static constexpr int kMostSockets = 512;
  // Of one queue so many bytes.
  static constexpr size_t kMostBytes = size_t{1} << 20;

  explicit KernelQueues(int pid);
  ~KernelQueues();
  KernelQueues(const KernelQueues &) = delete;
  KernelQueues &operator=(const KernelQueues &) = delete;

  // Copies what waits in the pipe or socket `fd` of the target to `room`; returns how many bytes.
  size_t peek_pipe(int fd, std::span<char> room);
  size_t peek_socket(int fd, std::span<char> room);

private:
  int borrow(int fd) const;

  int process_;           // a pidfd
  int own_[2] = {-1, -1}; // a pipe to copy others into
  int sockets_ = 0;       // that were looked at
};

} // namespace castaway
