// A set of address ranges under a spin lock: sorted, disjoint, neighbours merged.
//
// HOOK context (mmap and its kin are rare); read without the lock in SNAPSHOT, where nobody writes, though a writer may
// have been copied halfway: sorted order can then be off by one entry, `torn()` tells.
#pragma once

#include "runtime/spin_lock.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

class RangeSet {
public:
  void add(Range range);
  void remove(Range range);

  std::span<const Range> ranges() const { return {ranges_, count_}; }
  // Something could not be noted: no memory, too many ranges, or the lock was not to be had. The set then misses
  // ranges.
  bool incomplete() const { return incomplete_.load(std::memory_order_relaxed); }
  // A writer was stopped in the middle of a change.
  bool torn() const { return changing_; }
  // In the child of a fork: a change that it was copied in the middle of is never finished.
  void reset_lock() {
    if (changing_) incomplete_.store(true, std::memory_order_relaxed);
    lock_.reset();
    changing_ = false;
  }

private:
  static constexpr size_t kMost = 1 << 16;

  bool ready();
  size_t first_ending_after(uintptr_t address) const;
  void replace(size_t from, size_t to, std::span<const Range> with);

  SpinLock lock_;
  std::atomic<bool> incomplete_{false};
  volatile bool changing_ = false;
  Range *ranges_ = nullptr;
  size_t count_ = 0;
};

} // namespace castaway
