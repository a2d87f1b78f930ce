// The runtime's own lines: few, one line each, "castaway: ...". When all is well there are none.
//
// From the agent they are written to the target's standard error through a descriptor borrowed for the moment
// (pidfd_getfd), so that none is held: a daemon's closed pipe must be seen as closed. From hooks and constructors
// they go to descriptor 2 directly.
#pragma once

#include "runtime/config.h"

#include <string_view>

namespace castaway {

// From a thread of the target, whose descriptor table is the target's.
void log_from_target(const Config &config, std::string_view line);
// From the agent, whose descriptor table is its own. `pid`: the target's.
void log_from_agent(const Config &config, int pid, std::string_view line);

} // namespace castaway
