// Starting the collector (collector.h) as a process that the program does not notice.
//
// Only root's programs can change their user, so only root gets one. It is nobody's child but init's, sends no SIGCHLD,
// has a session of its own, ignores the signals of terminals and of shutdowns (the program's last profiles come after
// them), and holds nothing: no descriptor, no working directory. Where the program adopts orphans itself, as the first
// process of a container does, it stays a child of the kind that wait(2) passes over.
//
// How it fails: one line, and the program runs without.
#pragma once

#include <filesystem>

namespace castaway {

// Called by the process that is about to become the program. Sets CASTAWAY_COLLECTOR in the environment, or removes one
// that is of another program and another directory.
void provide_collector(const std::filesystem::path &output);

} // namespace castaway
