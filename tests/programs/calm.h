// The case tables of the program `calm`, which shows that the profiler leaves its target alone.
//
// `calm CASE [ARGUMENT]` runs for a while (ARGUMENT: milliseconds, 2000 by default), checks on the way what it is about
// and writes a line for each thing that went wrong. Output and exit status must be those of a run without the
// profiler, which are "CASE done" and 0 but where the case says otherwise.
#pragma once

#include <chrono>
#include <cstdarg>
#include <functional>
#include <span>
#include <string_view>

namespace calm {

struct Case {
  std::string_view name;
  int (*run)(int argc, char **argv); // main's result
};

extern const std::span<const Case> kCalls;
extern const std::span<const Case> kDescriptors;
extern const std::span<const Case> kProcesses;
extern const std::span<const Case> kEnds;
extern const std::span<const Case> kThreads;
extern const std::span<const Case> kSignals;
extern const std::span<const Case> kStorms;
extern const std::span<const Case> kHandOffs;
extern const std::span<const Case> kShared;

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

// How long the case is to run: argv[2], or `otherwise`.
Milliseconds span_of(int argc, char **argv, int otherwise = 2000);
// Calls `step` again and again for that long; stops early when it returns false.
void repeat(Milliseconds span, const std::function<bool()> &step);

// Writes one line, printf-like, unless `fine`. Returns `fine`.
[[gnu::format(printf, 2, 3)]] bool expect(bool fine, const char *format, ...);
// Writes "CASE done" and returns 0.
int done(char **argv);

} // namespace calm
