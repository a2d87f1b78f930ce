#include "tools/settings.h"

#include "profile/suppressions.h"
#include "tools/failure.h"
#include "tools/files.h"
#include "tools/values.h"

#include <array>
#include <cstdlib>
#include <stdexcept>

namespace castaway {

namespace {

constexpr char kDefaultOutput[] = "castaway-out";
constexpr size_t kLongestValue = 1022; // the runtime keeps paths and names in 1 KiB

// Each says why a value is refused, or nothing.
std::string refuse_duration(const std::string &value) {
  return read_duration(value) ? "" : in_quotes(value) + " is not 500ms, 60s, 5m, 1h, or 0 for only on demand";
}

template <uint64_t most> std::string refuse_number(const std::string &value) {
  return read_number(value, 1, most) ? ""
                                     : in_quotes(value) + " is not a whole number from 1 to " + std::to_string(most);
}

std::string refuse_switch(const std::string &value) {
  return read_switch(value) ? "" : in_quotes(value) + " is not 0 or 1";
}

std::string refuse_symbolize(const std::string &value) {
  return read_switch(value) ? "" : in_quotes(value) + " is not on or off";
}

std::string refuse_stop(const std::string &value) {
  return value == "auto" || value == "ptrace" || value == "signal"
             ? ""
             : in_quotes(value) + " is not auto, ptrace or signal";
}

std::string refuse_follow(const std::string &value) {
  if (value.size() > kLongestValue) return in_quotes(value) + " is too long";
  return is_follow(value) ? ""
                          : in_quotes(value) + " is not all, fork, none, or program names as in nginx,redis-server";
}

std::string refuse_path(const std::string &value) {
  if (value.empty()) return "a path is missing";
  return absolute_path(value).native().size() > kLongestValue ? in_quotes(value) + " is too long a path" : "";
}

std::string refuse_log(const std::string &value) {
  if (value == "stderr" || value == "quiet") return "";
  if (std::string trouble = refuse_path(value); !trouble.empty()) return trouble;
  const std::string trouble = trouble_writing_file(absolute_path(value));
  return trouble.empty() ? "" : in_quotes(value) + " cannot be written: " + trouble;
}

std::string refuse_suppressions(const std::string &value) {
  if (std::string trouble = refuse_path(value); !trouble.empty()) return trouble;
  const Result<Suppressions> suppressions = Suppressions::read(value);
  return suppressions ? "" : escaped(suppressions.error());
}

struct Setting {
  const char *variable;
  const char *option;
  const char *value_name;
  std::string (*refusal)(const std::string &value);
  bool is_switch; // the option alone means 1
  bool is_path;   // made absolute; for CASTAWAY_LOG unless it is a keyword
  const char *about;
};

constexpr std::array kSettings = {
    Setting{"CASTAWAY_INTERVAL", "--interval", "TIME", refuse_duration, false, false,
            "Time between safepoints: 500ms, 60s, 5m; 0: only on demand and at exit (default 60s)"},
    Setting{"CASTAWAY_OUTPUT", "--output", "DIR", refuse_path, false, true,
            "Where profiles go (default ./castaway-out)"},
    Setting{"CASTAWAY_AT_EXIT", "--at-exit", "0|1", refuse_switch, true, false,
            "One last safepoint when the process ends normally"},
    Setting{"CASTAWAY_CONFIRM", "--confirm", "N", refuse_number<1000>, false, false,
            "Report a leak once N safepoints in a row found it (default 2)"},
    Setting{"CASTAWAY_SAMPLE_BYTES", "--sample-bytes", "N", refuse_number<1ull << 40>, false, false,
            "Mean bytes between recorded allocation stacks; 1: all of them (default 524288)"},
    Setting{"CASTAWAY_KEEP", "--keep", "N", refuse_number<1000000>, false, false,
            "Profiles kept per process (default 24)"},
    Setting{"CASTAWAY_MARKERS", "--markers", "N", refuse_number<16>, false, false,
            "Threads that mark the copy (default: one for each 256 MiB of heap, on half of the processors)"},
    Setting{"CASTAWAY_SUPPRESSIONS", "--suppressions", "FILE", refuse_suppressions, false, true,
            "Leaks to leave out: lines leak:PATTERN or thread:PATTERN"},
    Setting{"CASTAWAY_STOP", "--stop", "HOW", refuse_stop, false, false,
            "How threads are stopped: ptrace, signal, or auto: a signal where ptrace is denied (default auto)"},
    Setting{"CASTAWAY_FOLLOW", "--follow", "WHICH", refuse_follow, false, false,
            "Descendants to profile: all, fork, none, or NAME,NAME... (default all)"},
    Setting{"CASTAWAY_LOG", "--log", "WHERE", refuse_log, false, true,
            "Where the runtime's own lines go: a file, stderr, quiet (default stderr)"},
    Setting{"CASTAWAY_SYMBOLIZE", "--symbolize", "on|off", refuse_symbolize, false, false,
            "Names and lines in the profiles, or left to pprof (default on)"},
};

size_t index_of(const std::string &variable) {
  for (size_t i = 0; i < kSettings.size(); ++i) {
    if (variable == kSettings[i].variable) return i;
  }
  throw std::logic_error("no setting " + variable);
}

std::string from_environment(const std::string &variable) {
  const char *value = getenv(variable.c_str());
  return value == nullptr ? "" : value;
}

bool is_keyword(const std::string &value) { return value == "stderr" || value == "quiet"; }

} // namespace

Settings::Settings() : values_(kSettings.size()) {}

void Settings::add_to(CommandLine &line, const Texts &texts) {
  for (size_t i = 0; i < kSettings.size(); ++i) {
    const Setting &setting = kSettings[i];
    const auto other = texts.find(setting.variable);
    const std::string about = other == texts.end() ? setting.about : other->second;
    if (about.empty()) continue;
    const char *alone = setting.is_switch ? "1" : "";
    line.add({setting.option, setting.value_name, about, setting.refusal, false, alone}, values_[i]);
  }
}

std::string Settings::value(const std::string &variable) const {
  const std::string &given = values_[index_of(variable)];
  return given.empty() ? from_environment(variable) : given;
}

void Settings::set(const std::string &variable, const std::string &value) { values_[index_of(variable)] = value; }

std::filesystem::path Settings::output() const {
  const std::string asked = value("CASTAWAY_OUTPUT");
  return absolute_path(asked.empty() ? kDefaultOutput : asked);
}

void Settings::export_to_environment() const {
  for (size_t i = 0; i < kSettings.size(); ++i) {
    const Setting &setting = kSettings[i];
    std::string value = this->value(setting.variable);
    if (value.empty()) continue;
    if (setting.is_path && !is_keyword(value)) value = absolute_path(value);
    setenv(setting.variable, value.c_str(), 1);
  }
  setenv("CASTAWAY_OUTPUT", output().c_str(), 1);
}

} // namespace castaway
