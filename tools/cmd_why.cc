// castaway why: makes a safepoint and prints what keeps a block or a thread alive, or that nothing does.
#include "profile/profile_comments.h"
#include "profile/profile_data.h"
#include "tools/commands.h"
#include "tools/failure.h"
#include "tools/snap.h"
#include "tools/values.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace castaway {

namespace {

constexpr int kTries = 3; // somebody else may ask at the same time, and one answer is given per safepoint

// 0xADDRESS or TID, as StatusPage::question has it.
std::optional<uint64_t> read_question(const std::string &value) {
  constexpr uint64_t kLastAddress = (uint64_t{1} << 48) - 1;
  if (!value.starts_with("0x")) {
    const auto tid = read_number(value, 1, INT_MAX);
    return tid ? std::optional(kQuestionTid | *tid) : std::nullopt;
  }
  char *end = nullptr;
  errno = 0;
  const uint64_t address = strtoull(value.c_str(), &end, 16);
  if (*end != 0 || errno != 0 || address == 0 || address > kLastAddress) return std::nullopt;
  return address;
}

std::string refuse_question(const std::string &value) {
  return read_question(value) ? "" : in_quotes(value) + " is neither an address (0x7f...) nor a thread id";
}

// The question as the profile repeats it.
std::string asked(uint64_t question) {
  if (question & kQuestionTid) return std::to_string(question & ~kQuestionTid);
  char text[24];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(question));
  return text;
}

} // namespace

int command_why(const Arguments &arguments) {
  std::string pid, what;
  std::string timeout = kSnapTimeout;
  CommandLine line("why", "[options] PID ADDRESS|TID",
                   "Makes a safepoint in a running process that has the profiler in it, and prints what keeps a block\n"
                   "(ADDRESS, as 0x7f...) or a thread (TID) alive, link by link to a root; or that nothing does.",
                   "  castaway why $(pidof server) 0x7f12a8000b20");
  line.add({"PID", "", "The process", refuse_pid, true}, pid);
  line.add({"ADDRESS|TID", "", "An address within the block, or the number of the thread", refuse_question, true},
           what);
  line.add({"--timeout", "TIME", "Wait no longer than this (default 60s)", refuse_timeout}, timeout);
  if (!line.parse(arguments)) return 0;

  const uint64_t question = *read_question(what);
  for (int i = 0; i < kTries; i++) {
    const auto profile = read_profile(snap(pid, timeout, question));
    if (!profile) throw Failure(kStatusFailed, profile.error());
    if (profile->comment(kQuestion) != asked(question)) continue;
    for (const auto answer : profile->all_comments(kAnswer)) puts(one_line(std::string(answer)).c_str());
    return 0;
  }
  throw Failure(kStatusFailed, "process " + pid + " answered others' questions; ask again");
}

} // namespace castaway
