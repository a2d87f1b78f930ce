// castaway report: makes profiles of a capture. The runtime's snapshot becomes this command; people may give it a
// capture that was kept.
#include "profile/reporter.h"
#include "tools/commands.h"
#include "tools/failure.h"
#include "tools/values.h"

#include <climits>
#include <cstdio>
#include <malloc.h>

namespace castaway {

namespace {

std::string refuse_descriptor(const std::string &value) {
  return read_number(value, 0, INT_MAX) ? "" : in_quotes(value) + " is not a file descriptor";
}

int descriptor(const std::string &value) {
  const auto number = read_number(value, 0, INT_MAX);
  return number ? static_cast<int>(*number) : -1;
}

// For a process that ends soon: given back and taken again, memory costs page faults, and each of those costs more than
// most of what a small report does.
void keep_freed_memory() {
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_TOP_PAD, 512 << 10);
}

int report_capture(const std::string &file, const std::string &output) {
  if (output.empty()) throw Failure(kStatusUsage, "report: --output is missing");
  const Result<std::string> lines = report_file(file, output);
  if (!lines) throw Failure(kStatusFailed, "report: " + lines.error());
  fputs(lines->c_str(), stdout);
  return 0;
}

} // namespace

int command_report(const Arguments &arguments) {
  std::string file;
  std::string output;
  std::string capture_fd;
  std::string output_fd;
  std::string result_fd;
  CommandLine line("report", "FILE --output DIR", "Makes profiles of a capture.",
                   "  castaway report server.4711.1.capture --output /tmp/replayed");
  line.add({"FILE", "", "A capture"}, file);
  line.add({"--output", "DIR", "Where the profiles go"}, output);
  line.add({"--capture-fd", "N", "Instead of FILE", refuse_descriptor}, capture_fd);
  line.add({"--output-fd", "N", "Instead of DIR", refuse_descriptor}, output_fd);
  line.add({"--result-fd", "N", "Where a summary for the runtime goes", refuse_descriptor}, result_fd);
  if (!line.parse(arguments)) return 0;

  if (!file.empty()) return report_capture(file, output);
  if (capture_fd.empty()) throw Failure(kStatusUsage, "report: FILE or --capture-fd is missing");
  keep_freed_memory();
  // Without --output-fd the directory cannot be opened by this user: the collector writes.
  return report({descriptor(capture_fd), descriptor(output_fd), descriptor(result_fd)});
}

} // namespace castaway
