// Reading /proc of the target, from tasks with a descriptor table of their own: agent, tracer, snapshot.
//
// Everything goes through a descriptor of /proc that the agent opened before the target could change its root. Texts
// are taken as they come; who parses them expects anything.
#pragma once

#include "runtime/sys.h"
#include "runtime/text.h"

#include <cstddef>
#include <string_view>

namespace castaway {

class Proc {
public:
  // `root` is a descriptor of /proc, `pid` the target's.
  Proc(int root, int pid) : root_(root), pid_(pid) {}

  // Opens /proc/PID/<path>; negative errno on failure.
  int open(std::string_view path, int flags = O_RDONLY) const {
    Text<128> name;
    name << pid_ << "/" << path;
    return sys::open_at(root_, name.c_str(), flags);
  }

  // Reads up to `size` bytes of /proc/PID/<path>; empty where there is no such file.
  std::string_view read(std::string_view path, char *buffer, size_t size) const;

  // Reads all of /proc/PID/<path> into memory that is mapped for it; empty on failure. For SNAPSHOT: never unmapped.
  std::string_view read_whole(std::string_view path) const;

  // Calls visit(number) for each numeric entry of the directory /proc/PID/<path>. False if it cannot be read.
  template <typename Visit> bool for_each_number(std::string_view path, Visit visit) const;

  // The target of the link /proc/<path>: its length, or a negative errno.
  long read_link(const char *path, char *buffer, size_t size) const {
    return sys::call(SYS_readlinkat, root_, path, buffer, size);
  }

  int pid() const { return pid_; }

private:
  int root_;
  int pid_;
};

// The value that follows `key` at the start of a line, up to the line's end; empty where there is no such line.
std::string_view line_value(std::string_view text, std::string_view key);

// A field of a line of /proc/PID/stat, numbered as in proc(5), from the 3rd on; empty where there is none.
std::string_view stat_field(std::string_view line, int number);

// Of a process, by its statm (proc(5)); all 0 where that cannot be read.
struct PageCounts {
  uint64_t mapped;             // whether there is anything in them or not
  uint64_t resident, of_files; // the second of the first; shared memory counts as a file's
};
PageCounts page_counts(const Proc &process);

// Whether the page of an entry of /proc/PID/pagemap exists, in memory or swapped out. Source: proc_pid_pagemap(5).
inline bool is_page_here(uint64_t entry) { return (entry >> 62) != 0; }

// Calls visit(name) for each entry of the directory `fd`. False if it cannot be read.
template <typename Visit> bool for_each_entry(int fd, Visit visit) {
  struct Entry { // linux_dirent64
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
  };
  alignas(8) char buffer[4096];
  long got;
  while ((got = sys::call(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
    for (long at = 0; at < got;) {
      auto *entry = reinterpret_cast<const Entry *>(buffer + at);
      visit(static_cast<const char *>(entry->name));
      at += entry->length;
    }
  return got == 0;
}

template <typename Visit> bool Proc::for_each_number(std::string_view path, Visit visit) const {
  int fd = open(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return false;
  bool complete = for_each_entry(fd, [&](std::string_view name) {
    uint64_t number;
    if (take_number(name, number) && name.empty()) visit(static_cast<int>(number));
  });
  sys::close(fd);
  return complete;
}

} // namespace castaway
