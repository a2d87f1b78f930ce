// The reader's side of a process's status page (runtime/status_page.h): finds it, checks it, asks through it.
//
// Everything in the page belongs to the watched process and may be nonsense: the file is opened only if it is the one
// that the process has mapped and its owner is one that we trust, and strings are bounded. Not thread-safe.
#pragma once

#include "runtime/status_page.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>

namespace castaway {

// One line of /proc/PID/maps that has a file name.
struct MappedFile {
  std::string range; // "7f00-7f10", as /proc/PID/map_files names it
  uint64_t inode = 0;
  std::string path; // without " (deleted)"
};

// The mapping of a status page in the text of /proc/PID/maps.
std::optional<MappedFile> find_status_mapping(const std::string &maps);

class StatusClient {
public:
  // Throws Failure with status 1: no such process, not ours, not preloaded, or its page is not to be trusted. A process
  // that has just started has no page yet: it is waited for as long as `patience`.
  StatusClient(pid_t pid, std::chrono::milliseconds patience);
  StatusClient(const StatusClient &) = delete;
  StatusClient &operator=(const StatusClient &) = delete;
  ~StatusClient();

  // Asks for a safepoint. Gives back what wait() takes.
  uint32_t request(uint64_t question = 0);

  enum class Outcome { served, timed_out, process_ended };
  Outcome wait(uint32_t request, std::chrono::nanoseconds timeout) const;

  const StatusPage &page() const { return *page_; }
  std::string last_profile() const; // empty if none
  std::string last_trouble() const; // empty if none

private:
  bool has_ended() const;

  pid_t pid_;
  int process_fd_ = -1;
  StatusPage *page_ = nullptr;
};

} // namespace castaway
