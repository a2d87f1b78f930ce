// Holds a flag for a scope, and spins where another thread has it: for what markers share, some dozen instructions.
//
// Owner: scanner. Context: SNAPSHOT or a test. Nobody who holds it waits for anything else.
#pragma once

#include <atomic>

namespace castaway {

class FlagGuard {
public:
  explicit FlagGuard(std::atomic<bool> &flag) : flag_(flag) {
    while (flag_.exchange(true, std::memory_order_acquire))
      while (flag_.load(std::memory_order_relaxed)) {
      }
  }
  FlagGuard(const FlagGuard &) = delete;
  FlagGuard &operator=(const FlagGuard &) = delete;
  ~FlagGuard() { flag_.store(false, std::memory_order_release); }

private:
  std::atomic<bool> &flag_;
};

} // namespace castaway
