// Programs to be started: where they are, and whether a library can be preloaded into them.
//
// The loader ignores LD_PRELOAD silently where it does not run (static programs) or must not listen (set-user-id), and
// a program of another word size or C library would fail or complain because of it. Each case has its one line here.
#pragma once

#include <filesystem>
#include <string>

namespace castaway {

// Where execvp(3) would find `name`: itself if it has a slash, else along PATH. Throws Failure with status 127 if there
// is none, or 126 if it cannot be executed.
std::filesystem::path find_program(const std::string &name);

// Why nothing can be preloaded into the program at `path`, as the end of a sentence ("is statically linked"); empty if
// it can, or if that cannot be told. Scripts are followed to their interpreter.
std::string why_not_preloadable(const std::filesystem::path &path);

} // namespace castaway
