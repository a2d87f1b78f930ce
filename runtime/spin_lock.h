// A lock for a few instructions, or a rare call of mmap(2), for HOOK context.
//
// No futex: the target's threads must never be seen to wait on us. The holder runs no foreign code; it can lose the
// processor, so waiting is bounded, and whoever calls try_lock has an answer for "no". After fork the child resets
// each lock that is held: by another thread, as a rule.
#pragma once

#include "runtime/arch.h"

#include <atomic>

namespace castaway {

class SpinLock {
public:
  // False after about a millisecond of waiting: the holder is stopped, or is this very thread under a signal.
  bool try_lock() {
    for (int i = 0; i < kSpins; ++i) {
      if (!held_.load(std::memory_order_relaxed) && !held_.exchange(true, std::memory_order_acquire)) return true;
      arch::relax();
    }
    return false;
  }
  void unlock() { held_.store(false, std::memory_order_release); }
  // By anybody, for the child of a fork.
  bool is_held() const { return held_.load(std::memory_order_relaxed); }
  void reset() {
    if (is_held()) held_.store(false, std::memory_order_relaxed); // else its page stays shared with the parent
  }

private:
  static constexpr int kSpins = 20000;
  std::atomic<bool> held_{false};
};

// Holds a lock for a scope, if it could be had.
class SpinGuard {
public:
  explicit SpinGuard(SpinLock &lock) : lock_(lock), held_(lock.try_lock()) {}
  ~SpinGuard() {
    if (held_) lock_.unlock();
  }
  SpinGuard(const SpinGuard &) = delete;
  SpinGuard &operator=(const SpinGuard &) = delete;
  explicit operator bool() const { return held_; }

private:
  SpinLock &lock_;
  bool held_;
};

} // namespace castaway
