// How near the kernel is to ending somebody for want of memory: in the control groups that the target is in (versions 1
// and 2), and on the machine.
//
// A snapshot shares its pages with the target until the target writes to them; each such write takes a page more. The
// kernel is told to end the snapshot first, and does; but while a process that it ends is being torn down it may not
// yet have got the memory back and no longer see that process, and then it ends the next one, which is the target
// (mm/oom_kill.c, MMF_OOM_SKIP, which exit_mmap() sets before it flushes the last pages). So the tracer watches, and
// ends the snapshot before the kernel has to.
//
// Runs in the tracer while the target's threads run: raw system calls, no memory but its own.
#pragma once

#include "runtime/proc.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

class MemoryLimits {
public:
  // `target`: whose groups; `groups`: a descriptor of /sys/fs/cgroup, or a negative number. What cannot be read is not
  // watched.
  void open(const Proc &target, int groups);

  // How many bytes may still be taken before the tightest limit comes within its reserve, which is 1/64 of it and at
  // least 8 MiB; files' pages that can be given back count as free. Negative: within it. INT64_MAX: no limit is known.
  // A few microseconds, where memory is not short.
  int64_t margin() const;

  // The reserve of a limit, in bytes.
  static uint64_t reserve_of(uint64_t limit);

private:
  static constexpr size_t kMost = 8; // groups above one another that have limits

  struct Limit {
    uint64_t bytes;
    int usage;      // the file with the number of bytes in use
    int statistics; // memory.stat
  };

  void open_groups(int mount, std::string_view path, const char *limit_file, const char *usage_file);
  void open_group(int directory, const char *limit_file, const char *usage_file);
  static int64_t margin_of(const Limit &limit);
  int64_t margin_of_machine() const;

  Limit limits_[kMost];
  size_t count_ = 0;
  int meminfo_ = -1;
};

} // namespace castaway
