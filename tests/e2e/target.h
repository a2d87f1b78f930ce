// Programs under the profiler, and what it says about them.
#pragma once

#include "process.h"
#include "profile/profile_data.h"

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace e2e {

// Of the build under test.
std::string castaway();
std::string runtime_library();
std::string program(const std::string &name); // of tests/programs
// The first of these that exists in the usual places; empty if none does.
std::string installed(const std::string &name);

// One sample of a profile, taken apart.
struct Group {
  castaway::LeakTotals totals;
  std::vector<std::string> functions; // leaf first, inlined ones too
  std::map<std::string, std::string> labels;

  // Whether a function on the stack has this name, or one that contains it as whole words: "A::b" is found in
  // "n::A::b(int)", "b" not in "b_c".
  bool has_frame(std::string_view part) const;
  std::string label(const std::string &key) const;
};

// A profile file, read back. Throws when it cannot be.
class Profile {
public:
  explicit Profile(const std::string &path);

  castaway::LeakTotals totals() const { return castaway::leak_totals(data_); }
  const std::vector<Group> &groups() const { return groups_; }
  // Sums over the groups that have all of these labels and a frame named `frame` (empty: any).
  castaway::LeakTotals totals_of(std::string_view frame, const std::map<std::string, std::string> &labels = {}) const;
  const castaway::ProfileData &data() const { return data_; }
  const std::string &path() const { return path_; }
  // As `castaway show --debug 1` has it, for messages.
  std::string text() const;

private:
  std::string path_;
  castaway::ProfileData data_;
  std::vector<Group> groups_;
};

struct Settings {
  std::string interval = "0";
  std::string sample_bytes = "1";
  std::vector<std::string> more = {}; // CASTAWAY_... or any other NAME=value
  std::string beside = {};            // another library that is preloaded behind the runtime
  std::string output = {};            // a directory; empty: the target's own
  bool through_command = true;        // `castaway run`, else a bare LD_PRELOAD
  std::string stop = {};              // CASTAWAY_STOP; empty: as it is by default
};

class Target {
public:
  explicit Target(std::vector<std::string> command, const Settings &settings = {});

  // Waits for READY and takes the lines "name number" before it.
  void await_ready();
  long number(const std::string &name) const;

  // `castaway snap --wait`; throws when it fails.
  Profile snap();
  Profile snap(pid_t pid);
  // The newest one, of this process or of the one that is given.
  Profile newest(pid_t pid = 0);
  // All leak profiles in the output directory, oldest first.
  std::vector<std::string> profiles() const;
  // The highest number of a safepoint that gave a profile; 0 if none did.
  int safepoints() const;

  Process &process() { return *process_; }
  std::filesystem::path output() const { return output_; }
  // Ends it the way that the programs of tests/programs end: "exit 0", nothing on standard output.
  void expect_clean_end();

private:
  TemporaryDirectory directory_;
  std::filesystem::path output_;
  std::unique_ptr<Process> process_;
  std::map<std::string, long> numbers_;
};

// The next periodic profile.
Profile next(Target &target);
// Whether a safepoint's reporter is at work.
bool has_reporter(pid_t target);
// Suppressions, `count` of them, that take a while to match: hundreds of thousands, seconds.
std::string slow_to_match(int count);

// What a run without the profiler would need: only the command.
Command profiled(std::vector<std::string> command, const Settings &settings, const std::string &output);

// No leaked thread and no leaked block.
void expect_nothing_leaked(const Profile &profile);
// How the threads were stopped: "ptrace" or "signal".
void expect_stopped_by(const Profile &profile, std::string_view way);
// Nothing that was ever reported has come to life.
void expect_nothing_refuted(const Profile &profile);

} // namespace e2e
