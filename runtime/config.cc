// Reading the CASTAWAY_ variables; see config.h. Runs before main, allocates nothing.
#include "runtime/config.h"

#include "runtime/sys.h"

namespace castaway {

namespace {

constexpr uint64_t kLongest = 366ull * 24 * 3600 * 1'000'000'000;

struct Reader {
  char *const *environment;
  Text<512> &trouble;
  bool failed = false;

  void refuse(std::string_view name, std::string_view value, std::string_view accepted) {
    if (failed) return;
    failed = true;
    trouble << name << "=" << value.substr(0, 200) << " cannot be read; accepted: " << accepted;
  }

  template <typename T, typename Parse>
  void read(std::string_view name, T &to, std::string_view accepted, Parse parse) {
    std::string_view value = variable(environment, name);
    if (value.data() && !parse(value, to)) refuse(name, value, accepted);
  }
};

bool parse_count(std::string_view text, uint64_t &value, uint64_t least, uint64_t most) {
  uint64_t number = 0;
  if (!take_number(text, number) || !text.empty() || number < least || number > most) return false;
  value = number;
  return true;
}

bool parse_switch(std::string_view text, bool &value) {
  if (text == "1" || text == "on" || text == "true" || text == "yes") return value = true, true;
  if (text == "0" || text == "off" || text == "false" || text == "no") return value = false, true;
  return false;
}

bool parse_stop(std::string_view text, StopMethod &value) {
  if (text == "auto") return value = StopMethod::automatic, true;
  if (text == "ptrace") return value = StopMethod::ptrace, true;
  if (text == "signal") return value = StopMethod::signal, true;
  return false;
}

// NAME:SECRET, each of 32 hexadecimal digits: it becomes a line of the capture as it is.
bool parse_collector(std::string_view text, Text<80> &value) {
  constexpr size_t kDigits = 32;
  if (text.size() != 2 * kDigits + 1 || text[kDigits] != ':') return false;
  for (size_t i = 0; i < text.size(); ++i) {
    bool is_digit = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    if (!is_digit && i != kDigits) return false;
  }
  value.clear();
  value << text;
  return true;
}

// An absolute path: the target may change its directory before we use it.
bool parse_path(std::string_view text, Text<kPathSize> &path) {
  path.clear();
  if (text.empty()) return false;
  if (text[0] != '/') {
    char here[kPathSize];
    if (sys::call(SYS_getcwd, here, sizeof here) <= 0 || here[0] != '/') return false; // "(unreachable)/..."
    path << static_cast<const char *>(here) << "/";
    take_prefix(text, "./");
  }
  path << text;
  return !path.full();
}

} // namespace

std::string_view variable(char *const *environment, std::string_view name) {
  for (; environment && *environment; ++environment) {
    std::string_view entry = *environment;
    if (take_prefix(entry, name) && take_prefix(entry, "=")) return entry;
  }
  return {};
}

bool parse_duration(std::string_view text, uint64_t &nanoseconds) {
  uint64_t number = 0;
  if (!take_number(text, number)) return false;
  uint64_t unit = text == "ms"  ? 1'000'000
                  : text == "s" ? 1'000'000'000
                  : text == "m" ? 60'000'000'000
                  : text == "h" ? 3'600'000'000'000
                                : 0;
  if (number == 0 && text.empty()) return nanoseconds = 0, true;
  if (unit == 0 || __builtin_mul_overflow(number, unit, &number) || number > kLongest) return false;
  nanoseconds = number;
  return true;
}

const char *read_config(char *const *environment, Config &config, Text<512> &trouble) {
  Reader reader{environment, trouble};
  auto count = [](uint64_t least, uint64_t most) {
    return [=](std::string_view text, uint64_t &value) { return parse_count(text, value, least, most); };
  };
  reader.read("CASTAWAY_INTERVAL", config.interval_ns, "500ms, 60s, 5m, 1h, or 0 for only on demand", parse_duration);
  reader.read("CASTAWAY_SAMPLE_BYTES", config.sample_bytes, "a number of bytes, 1 to 2^40", count(1, 1ull << 40));
  reader.read("CASTAWAY_CONFIRM", config.confirm, "a number of safepoints, 1 to 1000", count(1, 1000));
  reader.read("CASTAWAY_KEEP", config.keep, "a number of profiles, 1 to 1000000", count(1, 1000000));
  reader.read("CASTAWAY_MARKERS", config.markers, "a number of threads, 1 to 16", count(1, 16));
  reader.read("CASTAWAY_AT_EXIT", config.at_exit, "0 or 1", parse_switch);
  reader.read("CASTAWAY_SYMBOLIZE", config.symbolize, "on or off", parse_switch);
  reader.read("CASTAWAY_KEEP_CAPTURES", config.keep_captures, "0 or 1", parse_switch);
  reader.read("CASTAWAY_FAULT", config.fault, "a point of a safepoint, docs/design.md", [](auto text, auto &fault) {
    fault << text;
    return !fault.full();
  });
  reader.read("CASTAWAY_STOP", config.stop, "auto, ptrace or signal", parse_stop);
  if (!variable(environment, "CASTAWAY_OUTPUT").data() && !parse_path("castaway-out", config.output))
    reader.refuse("CASTAWAY_OUTPUT", "castaway-out", "a directory"); // the current one is gone or too deep
  reader.read("CASTAWAY_OUTPUT", config.output, "a directory", parse_path);
  reader.read("CASTAWAY_SUPPRESSIONS", config.suppressions, "a file",
              [](std::string_view text, auto &path) { return text.empty() || parse_path(text, path); });
  reader.read("CASTAWAY_FOLLOW", config.follow, "all, fork, none, or names of programs, NAME,NAME",
              [](std::string_view text, auto &follow) {
                follow << text;
                return !text.empty() && !follow.full();
              });
  reader.read("CASTAWAY_COLLECTOR", config.collector, "what castaway run sets", parse_collector);
  reader.read("CASTAWAY_LOG", config.log, "stderr, quiet, or a file", [&](std::string_view text, LogTo &log) {
    log = text == "stderr" ? LogTo::standard_error : text == "quiet" ? LogTo::nowhere : LogTo::file;
    return log != LogTo::file || parse_path(text, config.log_file);
  });
  return reader.failed ? trouble.c_str() : nullptr;
}

bool is_followed(const Config &config, std::string_view program, std::string_view root, int pid) {
  std::string_view follow = config.follow.view();
  if (follow.empty() || follow == "all") return true;
  if (follow == "fork" || follow == "none") {
    uint64_t number = 0;
    // Without a root nobody can tell; the program that was started with the preload is the root then.
    return root.empty() || (take_number(root, number) && number == static_cast<uint64_t>(pid));
  }
  while (!follow.empty())
    if (take_until(follow, ',') == program) return true;
  return false;
}

} // namespace castaway
