// The commands of castaway, one file each. Every one takes the arguments behind its name, and returns the exit status
// or throws a Failure.
#pragma once

#include "tools/command_line.h"

namespace castaway {

int command_run(const Arguments &arguments);
int command_snap(const Arguments &arguments);
int command_why(const Arguments &arguments);
int command_show(const Arguments &arguments);
int command_check(const Arguments &arguments);
int command_report(const Arguments &arguments); // for the runtime, and for captures at hand

} // namespace castaway
