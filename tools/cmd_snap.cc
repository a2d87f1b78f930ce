// castaway snap: asks a running process for a safepoint, through its status page.
#include "tools/commands.h"
#include "tools/failure.h"
#include "tools/snap.h"

#include <cstdio>

namespace castaway {

int command_snap(const Arguments &arguments) {
  std::string pid;
  std::string timeout = kSnapTimeout;
  bool wait = false;
  CommandLine line("snap", "[options] PID", "Asks a running process that has the profiler in it for a profile now.",
                   "  castaway snap --wait $(pidof server)");
  line.add({"PID", "", "The process", refuse_pid, true}, pid);
  line.add_flag("--wait", "Wait for the profile and print its path", wait);
  line.add({"--timeout", "TIME", "Wait no longer than this (default 60s)", refuse_timeout, false, "", "--wait"},
           timeout);
  if (!line.parse(arguments)) return 0;

  if (wait)
    puts(one_line(snap(pid, timeout, 0)).c_str());
  else
    ask_for_snap(pid);
  return 0;
}

} // namespace castaway
