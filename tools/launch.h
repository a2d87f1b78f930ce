// Launching a program under the runtime: `run` does it in its own process, `check` in a child.
//
// A profiler is never the reason that a program does not start: whatever hinders profiling is said in one line, and the
// program runs without. Only what hinders the program itself is an error.
#pragma once

#include "tools/settings.h"

#include <filesystem>
#include <string>

namespace castaway {

// libcastaway.so of this installation: beside this command's own directory. Empty if it is not there.
std::filesystem::path find_runtime();

class Launch {
public:
  // Finds the program and judges it. REQUIRES: !command.empty(). Throws Failure where it cannot be run at all.
  Launch(const Arguments &command, const Settings &settings);

  // Why it will run unprofiled, one line; empty if it will be profiled.
  const std::string &obstacle() const { return obstacle_; }

  // Becomes the program, in this process. Returns only by a Failure.
  [[noreturn]] void execute() const;

private:
  void preload() const;

  Arguments command_;
  Settings settings_;
  std::filesystem::path program_;
  std::filesystem::path runtime_;
  std::string obstacle_;
};

} // namespace castaway
