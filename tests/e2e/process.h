// Child processes of the end-to-end tests.
//
// Whatever goes wrong on our side of it is an exception, which GoogleTest shows as a failure. No process outlives its
// object, nor the test program.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace e2e {

using Seconds = std::chrono::duration<double>;

// A directory of its own, removed at the end with all that is in it.
class TemporaryDirectory {
public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory &) = delete;
  TemporaryDirectory &operator=(const TemporaryDirectory &) = delete;

  const std::filesystem::path &path() const { return path_; }
  // Writes a file into it and returns its path.
  std::string file(const std::string &name, std::string_view text) const;

private:
  std::filesystem::path path_;
};

struct Command {
  std::vector<std::string> arguments;        // the first one is looked for in PATH
  std::vector<std::string> environment = {}; // NAME=value, added to or replacing what there is
  std::string directory = {};                // where it runs; empty: here
};

struct Ended {
  std::string how;    // "exit 0", "signal 9", "still running" (and killed then)
  std::string output; // standard output and error of the whole life, but what read_until has taken
  std::string errors;
};

class Process {
public:
  explicit Process(const Command &command);
  ~Process();
  Process(const Process &) = delete;
  Process &operator=(const Process &) = delete;

  pid_t pid() const { return pid_; }
  // Standard output up to a line that is `last`, without that one.
  std::string read_until(std::string_view last, Seconds most = Seconds(30));
  void close_input();
  void signal(int number);
  bool is_running();
  // Closes its input and waits for its end and for that of its output.
  Ended finish(Seconds most = Seconds(40));
  std::string errors() const; // until now

private:
  bool read_some(Seconds most); // false at the end of its output, or when there was none in time
  bool reap(bool wait);

  pid_t pid_ = -1;
  int input_ = -1, output_ = -1, errors_ = -1;
  int status_ = -1;
  bool reaped_ = false;
  std::string read_;
};

// Runs a command to its end.
Ended run(const Command &command, Seconds most = Seconds(40));

// Asks `condition` until it holds, at most for so long. Returns whether it did.
template <typename Condition> bool eventually(Condition condition, Seconds most = Seconds(20));
void sleep_for(Seconds span);

template <typename Condition> bool eventually(Condition condition, Seconds most) {
  auto end = std::chrono::steady_clock::now() + most;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    sleep_for(Seconds(0.02));
  }
  return true;
}

// The bytes of a file, of /proc too; empty where it cannot be read.
std::string text_of(const std::filesystem::path &path);

// What /proc/TASK/stat says behind the name; empty where there is no such task.
std::string stat_of(pid_t task);

// All processes of castaway's that `pid` has: tracer, snapshot, reporter; they are in sessions or groups of their own.
std::vector<pid_t> helpers_of(pid_t pid);
// A snapshot of `target`, or the reporter that it has become, by a part of its command line; 0 if none was met.
pid_t find_helper(pid_t target, std::string_view part);
// Stops a snapshot of `target` that is at work, with SIGSTOP; 0 if none was met. `program`: a part of its command line.
pid_t hold_snapshot(pid_t target, std::string_view program);

} // namespace e2e
