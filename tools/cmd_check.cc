// castaway check: runs a program with a safepoint at its end, prints what leaked, and fails if anything did.
//
// A check that could not look must not pass for a clean one: every process without a profile, and every profile that is
// incomplete or cannot be read, gets a line.
#include "profile/profile_data.h"
#include "profile/show.h"
#include "tools/child.h"
#include "tools/commands.h"
#include "tools/failure.h"
#include "tools/launch.h"
#include "tools/profile_files.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <unistd.h>

namespace castaway {

namespace {

class TemporaryDirectory {
public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "castaway-check.XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
      throw Failure(kStatusFailed, "check: no temporary directory " + in_quotes(pattern) + ": " + error_text(errno));
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory &) = delete;
  TemporaryDirectory &operator=(const TemporaryDirectory &) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path &path() const { return path_; }

private:
  std::filesystem::path path_;
};

// The settings of a check, where nobody asked for others. `own` is the check's own directory.
void complete(Settings &settings, const std::filesystem::path &own) {
  settings.set("CASTAWAY_AT_EXIT", "1");
  if (settings.value("CASTAWAY_INTERVAL").empty()) settings.set("CASTAWAY_INTERVAL", "0");
  if (settings.value("CASTAWAY_OUTPUT").empty()) settings.set("CASTAWAY_OUTPUT", own / "profiles");
  if (settings.value("CASTAWAY_LOG").empty()) settings.set("CASTAWAY_LOG", own / "log");
}

// What all profiles say together.
struct Findings {
  LeakTotals totals;
  LeakTotals suppressed;
  size_t processes = 0;
  size_t unreadable = 0;
  bool has_own_profile = false; // of CMD itself
  std::string text;             // summaries of the profiles with leaks
};

void add(LeakTotals &sum, const LeakTotals &more) {
  sum.threads += more.threads;
  sum.retained_bytes += more.retained_bytes;
  sum.objects += more.objects;
  sum.bytes += more.bytes;
}

void add(Findings &findings, const ProfileFile &file) {
  const Result<ProfileData> profile = read_profile(file.path);
  if (!profile) {
    complain("check: " + profile.error());
    ++findings.unreadable;
    return;
  }
  for (const std::string_view note : profile->notes())
    complain("check: " + file.name.comm + " (pid " + std::to_string(file.name.pid) +
             ") is incomplete: " + std::string(note));
  const LeakTotals totals = leak_totals(*profile);
  add(findings.totals, totals);
  add(findings.suppressed, suppressed_totals(*profile));
  if (!totals.any()) return;
  ShowOptions options;
  options.colour = isatty(STDERR_FILENO) == 1;
  findings.text += render(*profile, options);
}

Findings collect(const std::vector<ProfileFile> &files, pid_t pid) {
  Findings findings;
  for (const ProfileFile &file : files) {
    ++findings.processes;
    findings.has_own_profile |= file.name.pid == pid;
    add(findings, file);
  }
  return findings;
}

// Passes on what the runtime wrote to the check's own log about profiles that are missing, equal lines once. What it
// says of leaks is in the profiles.
bool relay_troubles(const std::filesystem::path &log) {
  std::ifstream lines(log);
  std::set<std::string> said;
  for (std::string line; std::getline(lines, line);) {
    const bool is_trouble = line.find("profiling is off: ") != line.npos || line.find("no profile: ") != line.npos;
    if (is_trouble && said.insert(line).second) fprintf(stderr, "%s\n", one_line(line).c_str());
  }
  return !said.empty();
}

std::string why_no_profile(const ChildEnd &end) {
  if (end.signal != 0) return "signal " + std::to_string(end.signal) + " (" + strsignal(end.signal) + ") ended it";
  return "it ended by a system call of its own, past libc, or the runtime could not work";
}

std::string counted(int64_t count, const char *one, const char *many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

std::string describe(const LeakTotals &totals) {
  return counted(totals.threads, "thread", "threads") + " (" + human_bytes(totals.retained_bytes) + " retained), " +
         counted(totals.objects, "block", "blocks") + " of " + human_bytes(totals.bytes);
}

int conclude(const Findings &findings, const ChildEnd &end) {
  const size_t looked_at = findings.processes - findings.unreadable;
  const std::string suppressed = findings.suppressed.any() ? "; suppressed: " + describe(findings.suppressed) : "";
  if (findings.totals.any()) {
    fwrite(findings.text.data(), 1, findings.text.size(), stderr);
    complain("check: leaked: " + describe(findings.totals) + suppressed);
    return kStatusLeaked;
  }
  if (looked_at > 0)
    complain("check: nothing leaked in " + counted(static_cast<int64_t>(looked_at), "process", "processes") +
             suppressed);
  return findings.unreadable > 0 && end.exit_status == 0 ? kStatusFailed : end.exit_status;
}

// Whether CMD itself is to be profiled: with program names it may be only a wrapper.
bool wants_own_profile(const Settings &settings) {
  const std::string follow = settings.value("CASTAWAY_FOLLOW");
  return follow.empty() || follow == "all" || follow == "fork" || follow == "none";
}

int check(const Arguments &command, Settings &settings) {
  const TemporaryDirectory own;
  complete(settings, own.path());
  const Launch launch(command, settings);
  if (!launch.obstacle().empty()) complain("check: profiling is off, nothing is checked: " + launch.obstacle());
  const Present before = list_present(settings.output());
  const ChildEnd end = run_child(launch);
  if (!launch.obstacle().empty()) return end.exit_status;

  const Findings findings = collect(newest_profiles(settings.output(), before), end.pid);
  const bool is_missing = findings.processes == 0 || (wants_own_profile(settings) && !findings.has_own_profile);
  const bool is_explained = relay_troubles(own.path() / "log");
  if (is_missing && !is_explained)
    complain("check: no profile of " + in_quotes(command.front()) + ": " + why_no_profile(end));
  return conclude(findings, end);
}

} // namespace

int command_check(const Arguments &arguments) {
  CommandLine line("check", "[options] -- CMD ARGS...",
                   "Runs CMD with a safepoint at its end and prints what leaked.\n"
                   "Exit status: 23 if anything leaked that no suppression covers, else that of CMD.",
                   "  castaway check --suppressions known-leaks.txt -- ./server_test --gtest_shuffle");
  Settings settings;
  settings.add_to(line, {{"CASTAWAY_AT_EXIT", ""}, // always
                         {"CASTAWAY_INTERVAL", "Time between further safepoints (default 0: only at exit)"},
                         {"CASTAWAY_OUTPUT", "Keep the profiles here (default: they are deleted)"},
                         {"CASTAWAY_LOG", "Where the runtime's own lines go: a file, stderr, quiet"}});
  Arguments command;
  if (!line.parse_before_command(arguments, command)) return 0;
  if (command.empty()) throw Failure(kStatusUsage, "check: CMD is missing (castaway check [options] -- CMD ARGS...)");
  return check(command, settings);
}

} // namespace castaway
