// show: a profile file as text for people.
//
// Takes what `castaway show` is given: a leak or threads profile (gzip'd or plain profile.proto) or a capture, which is
// made into a profile in memory. What it prints comes from untrusted bytes: control characters are escaped, so that a
// thread's name cannot drive the terminal. Pure functions but for reading the file; any thread; OFFLINE.
#pragma once

#include "profile/profile_data.h"
#include "profile/result.h"

#include <string>

namespace castaway {

struct ShowOptions {
  // 0: a summary for a terminal; 1: `leak profile: total N` and `N @ pcs` with frames; 2: one entry per thread. 1 and 2
  // have the shape of Go's pprof texts.
  int debug = 0;
  bool colour = false; // ANSI colours, in the summary only
  size_t sites = 20;   // most sites in the summary; the rest is counted in one line
  // From a raw capture: the threads profile instead of the leak profile.
  bool threads = false;
  // Named in the summary's hint how to go on with `go tool pprof`; show() sets it.
  std::string path;
};

// The whole text, with a newline at its end. The error is one line and names the file.
Result<std::string> show(const std::string &path, const ShowOptions &options);

// The same for a profile in memory.
std::string render(const ProfileData &profile, const ShowOptions &options);

// A capture, or a profile in either form, as a profile. `threads` chooses which one a capture is made into.
Result<ProfileData> load_profile(const std::string &path, bool threads);

// "0 B", "17 B", "1.2 MiB".
std::string human_bytes(int64_t bytes);
// "0s", "45s", "3m12s", "5h02m", "3d04h".
std::string human_age(int64_t seconds);
// `text` with control characters as \xNN: safe to print, one line.
std::string printable(std::string_view text);

} // namespace castaway
