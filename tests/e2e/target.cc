#include "target.h"

#include "profile/profile_comments.h"
#include "profile/show.h"

#include <algorithm>
#include <cctype>
#include <gtest/gtest.h>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <unistd.h>

namespace e2e {

namespace fs = std::filesystem;

std::string castaway() { return E2E_BUILD_DIRECTORY "/bin/castaway"; }
std::string runtime_library() { return E2E_BUILD_DIRECTORY "/lib/libcastaway.so"; }
std::string program(const std::string &name) { return E2E_PROGRAMS_DIRECTORY "/" + name; }

std::string installed(const std::string &name) {
  std::vector<fs::path> places = {"/usr/bin", "/usr/sbin", "/usr/local/bin"};
  for (int version = 25; version > 9; --version)
    places.push_back("/usr/lib/postgresql/" + std::to_string(version) + "/bin");
  for (const fs::path &place : places)
    if (access((place / name).c_str(), X_OK) == 0) return place / name;
  return "";
}

namespace {

bool is_word(char letter) { return std::isalnum(static_cast<unsigned char>(letter)) || letter == '_'; }

bool contains_words(std::string_view text, std::string_view words) {
  for (size_t at = text.find(words); at != text.npos; at = text.find(words, at + 1)) {
    size_t end = at + words.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return true;
  }
  return false;
}

} // namespace

bool Group::has_frame(std::string_view part) const {
  return std::any_of(functions.begin(), functions.end(),
                     [part](const std::string &name) { return contains_words(name, part); });
}

std::string Group::label(const std::string &key) const {
  auto found = labels.find(key);
  return found == labels.end() ? "" : found->second;
}

namespace {

castaway::ProfileData read(const std::string &path) {
  auto data = castaway::read_profile(path);
  if (!data.ok()) throw std::runtime_error(data.error());
  return *data;
}

Group group_of(const castaway::ProfileData &data, const castaway::ProfileSample &sample) {
  Group group{castaway::sample_totals(data, sample), {}, {}};
  for (const castaway::ProfileFrame &frame : data.frames(sample)) group.functions.emplace_back(frame.function);
  for (const castaway::ProfileLabel &label : sample.labels)
    group.labels[label.key] = label.number ? std::to_string(*label.number) : label.text;
  return group;
}

} // namespace

Profile::Profile(const std::string &path) : path_(path), data_(read(path)) {
  for (const castaway::ProfileSample &sample : data_.samples) groups_.push_back(group_of(data_, sample));
}

castaway::LeakTotals Profile::totals_of(std::string_view frame,
                                        const std::map<std::string, std::string> &labels) const {
  castaway::LeakTotals sum;
  for (const Group &group : groups_) {
    bool fits = frame.empty() || group.has_frame(frame);
    for (const auto &[key, value] : labels) fits = fits && group.label(key) == value;
    if (!fits) continue;
    sum.threads += group.totals.threads;
    sum.retained_bytes += group.totals.retained_bytes;
    sum.objects += group.totals.objects;
    sum.bytes += group.totals.bytes;
  }
  return sum;
}

std::string Profile::text() const {
  castaway::ShowOptions options;
  options.debug = 1;
  return path_ + "\n" + castaway::render(data_, options);
}

Command profiled(std::vector<std::string> command, const Settings &settings, const std::string &output) {
  Command all;
  // A test that lists profiles while others come must not find one of them gone.
  all.environment = {"CASTAWAY_KEEP=100000"};
  all.environment.insert(all.environment.end(), settings.more.begin(), settings.more.end());
  if (!settings.stop.empty()) all.environment.push_back("CASTAWAY_STOP=" + settings.stop);
  if (settings.through_command) {
    all.arguments = {castaway(), "run",  "--interval", settings.interval, "--sample-bytes", settings.sample_bytes,
                     "--output", output, "--"};
  } else {
    all.environment.push_back("CASTAWAY_INTERVAL=" + settings.interval);
    all.environment.push_back("CASTAWAY_SAMPLE_BYTES=" + settings.sample_bytes);
    all.environment.push_back("CASTAWAY_OUTPUT=" + output);
    all.environment.push_back("LD_PRELOAD=" + runtime_library() + (settings.beside.empty() ? "" : ":") +
                              settings.beside);
  }
  all.arguments.insert(all.arguments.end(), command.begin(), command.end());
  return all;
}

Target::Target(std::vector<std::string> command, const Settings &settings)
    : output_(settings.output.empty() ? directory_.path() / "out" : fs::path(settings.output)),
      process_(std::make_unique<Process>(profiled(std::move(command), settings, output_))) {}

void Target::await_ready() {
  std::istringstream lines(process_->read_until("READY"));
  std::string name;
  long value;
  while (lines >> name >> value) numbers_[name] = value;
}

long Target::number(const std::string &name) const {
  auto found = numbers_.find(name);
  if (found == numbers_.end()) throw std::runtime_error("the program said nothing of '" + name + "'");
  return found->second;
}

Profile Target::snap() { return snap(process_->pid()); }

Profile Target::snap(pid_t pid) {
  Ended ended = run({{castaway(), "snap", "--wait", std::to_string(pid)}});
  if (ended.how != "exit 0")
    throw std::runtime_error("snap: " + ended.how + ": " + ended.errors + "\nthe target: " + process_->errors());
  return Profile(ended.output.substr(0, ended.output.find('\n')));
}

Profile Target::newest(pid_t pid) {
  std::string end = "." + std::to_string(pid ? pid : process_->pid()) + ".leak.pb.gz";
  fs::path link;
  auto is_there = [&] { // a profile is there before the link to it
    for (const fs::directory_entry &entry : fs::directory_iterator(output_))
      if (entry.path().string().ends_with(end)) link = entry.path();
    return !link.empty();
  };
  if (!eventually(is_there)) throw std::runtime_error("no *" + end + "; the target: " + process_->errors());
  return Profile(link);
}

namespace {

const std::regex kNumbered(R"((.*)\.leak\.(\d+)\.pb\.gz)");

int sequence_number(const std::string &path) {
  std::smatch parts;
  return std::regex_match(path, parts, kNumbered) ? std::stoi(parts[2]) : 0;
}

} // namespace

std::vector<std::string> Target::profiles() const {
  std::vector<std::string> all;
  if (!fs::exists(output_)) return all;
  for (const fs::directory_entry &entry : fs::directory_iterator(output_))
    if (sequence_number(entry.path()) > 0) all.push_back(entry.path());
  std::sort(all.begin(), all.end(),
            [](const auto &a, const auto &b) { return sequence_number(a) < sequence_number(b); });
  return all;
}

int Target::safepoints() const {
  std::vector<std::string> all = profiles();
  return all.empty() ? 0 : sequence_number(all.back());
}

void Target::expect_clean_end() {
  Ended ended = process_->finish();
  EXPECT_EQ(ended.how, "exit 0") << ended.errors;
  EXPECT_EQ(ended.output, "");
}

Profile next(Target &target) {
  const int before = target.safepoints();
  EXPECT_TRUE(eventually([&] { return target.safepoints() > before; })) << target.process().errors();
  return Profile(target.profiles().back()); // the link to it comes later
}

bool has_reporter(pid_t target) {
  std::vector<pid_t> helpers = helpers_of(target);
  return std::any_of(helpers.begin(), helpers.end(), [](pid_t helper) {
    return text_of("/proc/" + std::to_string(helper) + "/cmdline").find("report") != std::string::npos;
  });
}

std::string slow_to_match(int count) {
  std::string rules;
  for (int i = 0; i < count; ++i) rules += "leak:*a*b*c*d*e*f*" + std::to_string(i) + "*\n";
  return rules;
}

void expect_nothing_leaked(const Profile &profile) {
  castaway::LeakTotals totals = profile.totals();
  EXPECT_EQ(totals.threads, 0) << profile.text();
  EXPECT_EQ(totals.objects, 0) << profile.text();
  EXPECT_EQ(totals.bytes, 0) << profile.text();
}

void expect_stopped_by(const Profile &profile, std::string_view way) {
  std::string pause(profile.data().comment(castaway::kPause));
  EXPECT_TRUE(pause.ends_with(", threads stopped by " + std::string(way))) << pause;
}

void expect_nothing_refuted(const Profile &profile) {
  EXPECT_EQ(profile.data().comment(castaway::kRefuted), castaway::kNothingRefuted) << profile.text();
}

} // namespace e2e
