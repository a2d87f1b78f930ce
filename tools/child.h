// Runs a program as a child for as long as it takes, as if it stood in the place of this process.
#pragma once

#include "tools/launch.h"

#include <string>
#include <sys/types.h>

namespace castaway {

struct ChildEnd {
  pid_t pid = 0;
  int signal = 0;      // that ended it, 0 if none did
  int exit_status = 0; // as a shell tells it: 128 + signal after a signal
};

// Waits for the program's end. SIGHUP, SIGINT, SIGQUIT and SIGTERM that other processes send to this one go to the
// child; those of the terminal's keys reach it by themselves. One at a time per process.
ChildEnd run_child(const Launch &launch);

} // namespace castaway
