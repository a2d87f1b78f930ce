// The target's huge pages, which a safepoint breaks up, and which are made whole again after it.
//
// As long as a snapshot shares the target's memory, a write to a huge page makes the kernel map all of it by small
// pages and copy the one that is written. So it stays when the snapshot is gone: translations need more of the
// processor's TLB, the next fork copies 512 entries where it copied one, and of what was copied the old pages cannot be
// freed while others of their huge page are in use. khugepaged mends that in hours. So the tracer notes what was huge
// in the copy and, when the copy is gone, asks for each such part that is in small pages now, all of them there, to be
// one again. That copies 2 MiB, and holds up a page fault or mmap(2) of the target's meanwhile: a fraction of a
// millisecond. Where the target has huge pages, the heap map is given some in the same way: its small ones would be
// most of the next pause.
//
// Linux 6.7 and later (PAGEMAP_SCAN); before that, nothing is noted and nothing done. Runs in the tracer while the
// target's threads run: raw system calls, no memory but its own.
#pragma once

#include "runtime/memory_limits.h"
#include "runtime/proc.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

class HugePages {
public:
  // `copy`: a snapshot that was just made.
  void note(const Proc &copy);
  // Once that one is gone. `own`: the calling task, which has the target's memory. Ends early where memory is short,
  // the caller is no longer the child of `parent`, or at `until_ns` (CLOCK_MONOTONIC): the rest is left to khugepaged.
  void make_whole(const Proc &own, int parent, const MemoryLimits &limits, uint64_t until_ns) const;
  // Whether the calls that the other two make are answered at all.
  static bool can_call();

private:
  static constexpr size_t kMost = 1024; // neighbours are one

  Range ranges_[kMost];
  size_t count_ = 0;
};

} // namespace castaway
