// The target's huge pages, which a safepoint breaks up, and which are made whole again after it.
//
// As long as a snapshot shares the target's memory, a write to a huge page makes the kernel map all of it by small
// pages and copy the one that is written. So it stays when the snapshot is gone: translations need more of the
// processor's TLB, the next fork copies 512 entries where it copied one, and of what was copied the old pages cannot be
// freed while others of their huge page are in use. khugepaged mends 16 MiB in 10 s. So the tracer notes what was huge
// in the copy and, when the copy is gone, asks for each such part to be one again that is in small pages now, all of
// them there and none shared with anybody: what a fork of the program's shares would be copied.
//
// To mend 2 MiB is to copy them, and holds up a page fault or mmap(2) of the target's meanwhile: a fraction of a
// millisecond. Where the target has huge pages, the heap map is given some in the same way: its small ones would be
// most of the next pause. What the target gives back by madvise(2) at that very moment may be there again, zeroed.
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

// Whom a tracer serves: mending ends when it is no longer its child, or has another memory than it had.
struct Served {
  int proc; // descriptor of /proc
  int pid;
  int agent_tid;

  bool is_there() const;
};

class HugePages {
public:
  // `copy`: a snapshot that was just made. What was noted before stays noted: not all could be mended, perhaps.
  void note(const Proc &copy);
  // Once that one is gone, which was made at `began_ns` (CLOCK_MONOTONIC). Takes no longer than the copy was there, and
  // 100 ms, and never longer than 10 s; ends early where memory is short.
  void make_whole(const Served &served, const MemoryLimits &limits, uint64_t began_ns) const;
  // Whether the calls that the other two make are answered at all.
  static bool can_call();

private:
  static constexpr size_t kMost = 1024; // neighbours are one

  Range ranges_[kMost] = {}; // by address
  size_t count_ = 0;
};

} // namespace castaway
