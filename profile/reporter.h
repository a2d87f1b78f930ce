// The reporter: a capture in, profiles in the output directory and a short result out.
//
// Runs as the process that the snapshot became by execve (`castaway report`): nothing else has the capture open, and
// the directory may vanish or fill up at any time. The leak profile is written first, then the threads profile, each to
// a temporary name and renamed; profiles beyond `keep` of this process are deleted. Where the directory refuses this
// process, which has changed its user, the collector that the capture names does all that (collector_protocol.h).
//
// How it fails: no half file is left; one line `trouble TEXT` goes to the result, and 1 is returned. A file that is
// truncated while it is mapped (a library replaced in place) ends the process with SIGBUS; whoever waits for the result
// sees that there is none. One thread; OFFLINE.
#pragma once

#include "profile/result.h"

#include <string>

namespace castaway {

struct ReportRequest {
  int capture_fd = -1; // a memfd or a regular file; its size by fstat
  int output_fd = -1;  // the directory; -1: only a collector can write there
  int result_fd = -1;  // -1: nobody wants to know
};

// Lines written to result_fd, numbers of what is confirmed and not suppressed unless they say otherwise:
//   profile PATH, threads N, objects N, bytes N, retained N,
//   unconfirmed_threads N, unconfirmed_objects N, unconfirmed_bytes N, unconfirmed_retained N,
//   trouble TEXT (only if something failed)
// Returns 0, or 1 if something failed. Leaves all descriptors open.
int report(const ReportRequest &request);

// For tests and for captures at hand: reports the capture file at `path` into the directory `outdir`, and gives back
// the result lines.
Result<std::string> report_file(const std::string &path, const std::string &outdir);

} // namespace castaway
