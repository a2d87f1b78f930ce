// What the user asked for: the CASTAWAY_ variables of the environment.
//
// Read once, before main, by the thread that loads the program; constant afterwards. A value that cannot be read turns
// profiling off, with a line that says why: a profiler is never the reason that a program does not start.
#pragma once

#include "runtime/text.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

inline constexpr size_t kPathSize = 1024;

enum class StopMethod : uint8_t { automatic, ptrace, signal };
enum class LogTo : uint8_t { standard_error, file, nowhere };

struct Config {
  uint64_t interval_ns = 60'000'000'000;
  uint64_t sample_bytes = 524288;
  uint64_t confirm = 2;
  uint64_t keep = 24;
  uint64_t markers = 0; // CASTAWAY_MARKERS=N: threads that mark; 0: as many as suit (marker_crew.h)
  bool at_exit = false;
  bool symbolize = true;
  bool keep_captures = false; // CASTAWAY_KEEP_CAPTURES=1: captures stay beside the profiles, for replay
  Text<32> fault;             // CASTAWAY_FAULT=POINT: docs/design.md, for tests
  StopMethod stop = StopMethod::automatic;
  LogTo log = LogTo::standard_error;
  Text<kPathSize> log_file;
  Text<kPathSize> output; // absolute
  Text<kPathSize> suppressions;
  Text<kPathSize> follow;
  // CASTAWAY_COLLECTOR=NAME:SECRET, set by `castaway run` as root only: the process that writes the profiles of those
  // that change their user (profile/collector_protocol.h).
  Text<80> collector;
};

// Fills `config` from `environment`, a zero-terminated array of NAME=VALUE. Returns null, or points at `trouble`,
// which then names variable, value and what is accepted.
const char *read_config(char *const *environment, Config &config, Text<512> &trouble);

// Reads `500ms`, `60s`, `5m`, `1h`, `0`; at most a year.
bool parse_duration(std::string_view text, uint64_t &nanoseconds);

// Whether this process is to be profiled: CASTAWAY_FOLLOW, against the program's name and CASTAWAY_ROOT, the pid that
// `castaway run` was started as (empty where it was not).
bool is_followed(const Config &config, std::string_view program, std::string_view root, int pid);

// The value of a variable, or an empty view with a null data().
std::string_view variable(char *const *environment, std::string_view name);

} // namespace castaway
