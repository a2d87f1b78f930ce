#include "tools/snap.h"

#include "tools/failure.h"
#include "tools/values.h"

#include <climits>
#include <cstdio>
#include <unistd.h>

namespace castaway {

namespace {

constexpr std::chrono::seconds kPatience(3); // the runtime settles before it makes its page

// A line on the terminal for as long as it takes.
class Progress {
public:
  explicit Progress(const std::string &text) {
    if (shown_) fprintf(stderr, "castaway: %s", text.c_str());
  }
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;
  ~Progress() {
    if (shown_) fputs("\r\033[K", stderr);
  }

private:
  bool shown_ = isatty(STDERR_FILENO) == 1;
};

StatusClient connect(const std::string &pid) {
  return StatusClient(static_cast<pid_t>(*read_number(pid, 1, INT_MAX)), kPatience);
}

std::string path_of(const StatusClient &client, StatusClient::Outcome outcome, const std::string &pid,
                    const std::string &timeout) {
  const std::string process = "process " + pid;
  if (outcome == StatusClient::Outcome::process_ended)
    throw Failure(kStatusFailed, process + " ended before its safepoint was done");
  if (outcome == StatusClient::Outcome::timed_out)
    throw Failure(kStatusFailed, process + " gave no profile within " + timeout + " (--timeout)");
  if (const std::string trouble = client.last_trouble(); !trouble.empty())
    throw Failure(kStatusFailed, process + ": " + trouble);
  std::string profile = client.last_profile();
  if (profile.empty()) throw Failure(kStatusFailed, process + " gave no profile and no reason");
  return profile;
}

} // namespace

std::string refuse_timeout(const std::string &value) {
  return read_duration(value) ? "" : in_quotes(value) + " is not 500ms, 60s, 5m or 1h";
}

std::string refuse_pid(const std::string &value) {
  return read_number(value, 1, INT_MAX) ? "" : in_quotes(value) + " is not a process id";
}

void ask_for_snap(const std::string &pid) { connect(pid).request(); }

std::string snap(const std::string &pid, const std::string &timeout, uint64_t question) {
  StatusClient client = connect(pid);
  const uint32_t request = client.request(question);
  const Progress progress("waiting for the safepoint of process " + pid + " ...");
  return path_of(client, client.wait(request, *read_duration(timeout)), pid, timeout);
}

} // namespace castaway
