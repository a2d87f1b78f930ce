// Memory that a fork does not copy: MADV_DONTFORK leaves it out of the snapshot, MADV_WIPEONFORK leaves zeros there.
//
// Only pointers in such memory may keep a block, so what it holds has to be in the image. /proc/PID/maps does not tell
// which memory it is, and smaps walks all page tables, which is too slow while the world is stopped. So the snapshot
// looks for it afterwards; if it finds some that was not brought along, it lists that in a memory file, and the
// safepoint is made again: this time the tracer copies the pages that are listed while all threads are stopped.
//
// collect() runs FROZEN, in the tracer; the rest in SNAPSHOT.
#pragma once

#include "runtime/proc.h"
#include "runtime/vmas.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

struct UncopiedRange {
  Range range;
  uint64_t shared; // 1: a shared mapping
  uint64_t wiped;  // 1: MADV_WIPEONFORK; 0: MADV_DONTFORK
};

// Descriptors of /proc/PID/maps and smaps of a task that has the target's memory, opened by that task: others may not
// where the target is not dumpable. They show the memory as it is when they are read, whatever has become of the
// target.
struct TargetMaps {
  int maps = -1, smaps = -1;
};

class UncopiedMemory {
public:
  static constexpr size_t kMostRanges = 1024;
  static constexpr size_t kMostBytes = size_t{64} << 20; // of one copy: all threads wait for it

  // `list`: the memory file. False where there is more than a stop can copy, or no memory for it; bytes() tells how
  // much.
  bool collect(const Proc &target, int list);
  size_t bytes() const { return page_count_ * kPage; }

  // Instead of copying: private memory that was left out is let into the next fork, and left out again after it.
  bool lend(const Proc &target);
  void take_back() const;

  // Puts what was copied where the fork left it out. `own`: the mappings of the snapshot.
  void restore(const Vmas &own) const;
  bool empty() const { return range_count_ == 0; }
  // Looks for memory that is not in the image though the target has it. `own_page`: the status page, which the target's
  // children are not to have. `has_all`: no other mapping was left out, so that the target's need not be read. False
  // where there is some: it is in the list now.
  bool complete(const TargetMaps &target, const Proc &self, const Vmas &own, int list, uintptr_t own_page,
                bool has_all) const;

private:
  static constexpr uintptr_t kPage = 4096;

  bool collect_range(const UncopiedRange &range, int memory, int pagemap);
  bool copy_run(Range run, int memory);
  bool knows(Range range) const;
  void copy_back(Range range) const;

  UncopiedRange ranges_[kMostRanges] = {};
  Range lent_[kMostRanges] = {};
  size_t lent_count_ = 0;
  size_t range_count_ = 0;
  char *pages_ = nullptr;          // copies
  uintptr_t *addresses_ = nullptr; // of them, ascending within a range
  size_t page_count_ = 0;
};

} // namespace castaway
