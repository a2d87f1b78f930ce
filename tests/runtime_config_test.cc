// The CASTAWAY_ variables: every form that is accepted, and that each refusal names variable, value and what is.
#include "runtime/config.h"

#include <climits>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace castaway {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

struct Result {
  Config config;
  std::string trouble; // empty: accepted
};

Result read(std::vector<std::string> variables) {
  std::vector<char *> environment;
  for (std::string &variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  Result result;
  Text<512> trouble;
  const char *refused = read_config(environment.data(), result.config, trouble);
  EXPECT_EQ(refused, trouble.size() ? trouble.c_str() : nullptr);
  result.trouble = trouble.view();
  return result;
}

Config accepted(const std::vector<std::string> &variables) {
  Result result = read(variables);
  EXPECT_EQ(result.trouble, "");
  return result.config;
}

// A directory of its own as the current one, for as long as it lives.
class CurrentDirectory {
public:
  CurrentDirectory() : before_(std::filesystem::current_path()) {
    std::string made = std::filesystem::temp_directory_path() / "castaway-config-XXXXXX";
    if (!mkdtemp(made.data())) throw std::runtime_error("mkdtemp");
    path_ = std::filesystem::canonical(made);
    std::filesystem::current_path(path_);
  }
  ~CurrentDirectory() {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(path_);
  }
  CurrentDirectory(const CurrentDirectory &) = delete;
  CurrentDirectory &operator=(const CurrentDirectory &) = delete;
  const std::string &path() const { return path_; }

private:
  std::filesystem::path before_;
  std::string path_;
};

TEST(ReadConfig, HasTheDocumentedDefaults) {
  CurrentDirectory here;
  Config config = accepted({});
  EXPECT_EQ(config.interval_ns, 60 * kSecond);
  EXPECT_EQ(config.sample_bytes, 524288u);
  EXPECT_EQ(config.confirm, 2u);
  EXPECT_EQ(config.keep, 24u);
  EXPECT_FALSE(config.at_exit);
  EXPECT_TRUE(config.symbolize);
  EXPECT_FALSE(config.keep_captures);
  EXPECT_EQ(config.stop, StopMethod::automatic);
  EXPECT_EQ(config.log, LogTo::standard_error);
  EXPECT_EQ(config.output.view(), here.path() + "/castaway-out");
  for (std::string_view empty :
       {config.log_file.view(), config.suppressions.view(), config.follow.view(), config.collector.view()})
    EXPECT_EQ(empty, "");
}

TEST(ReadConfig, ReadsEveryVariable) {
  std::string collector = "0123456789abcdef0123456789abcdef:fedcba9876543210fedcba9876543210";
  Config config = accepted({"CASTAWAY_INTERVAL=90s", "CASTAWAY_SAMPLE_BYTES=1", "CASTAWAY_CONFIRM=3", "CASTAWAY_KEEP=7",
                            "CASTAWAY_MARKERS=5", "CASTAWAY_AT_EXIT=1", "CASTAWAY_SYMBOLIZE=off",
                            "CASTAWAY_KEEP_CAPTURES=1", "CASTAWAY_STOP=signal", "CASTAWAY_OUTPUT=/var/out",
                            "CASTAWAY_SUPPRESSIONS=/etc/suppressed", "CASTAWAY_FOLLOW=redis-server,nginx",
                            "CASTAWAY_COLLECTOR=" + collector, "CASTAWAY_LOG=/var/log/castaway"});
  EXPECT_EQ(config.interval_ns, 90 * kSecond);
  EXPECT_EQ(config.sample_bytes, 1u);
  EXPECT_EQ(config.confirm, 3u);
  EXPECT_EQ(config.keep, 7u);
  EXPECT_EQ(config.markers, 5u);
  EXPECT_TRUE(config.at_exit);
  EXPECT_FALSE(config.symbolize);
  EXPECT_TRUE(config.keep_captures);
  EXPECT_EQ(config.stop, StopMethod::signal);
  EXPECT_EQ(config.output.view(), "/var/out");
  EXPECT_EQ(config.suppressions.view(), "/etc/suppressed");
  EXPECT_EQ(config.follow.view(), "redis-server,nginx");
  EXPECT_EQ(config.collector.view(), collector);
  EXPECT_EQ(config.log, LogTo::file);
  EXPECT_EQ(config.log_file.view(), "/var/log/castaway");
}

TEST(ReadConfig, LeavesOtherVariablesAlone) {
  Config config = accepted({"PATH=/bin", "CASTAWAY_KEEPER=x", "XCASTAWAY_KEEP=x", "CASTAWAY_KEEP", "CASTAWAY=5"});
  EXPECT_EQ(config.keep, 24u);
}

TEST(ReadConfig, TakesTheFirstOfTwoAsGetenvDoes) {
  EXPECT_EQ(accepted({"CASTAWAY_KEEP=3", "CASTAWAY_KEEP=4"}).keep, 3u);
}

TEST(ReadConfig, TakesTheEndsOfEveryRange) {
  EXPECT_EQ(accepted({"CASTAWAY_SAMPLE_BYTES=1099511627776"}).sample_bytes, uint64_t{1} << 40);
  EXPECT_EQ(accepted({"CASTAWAY_CONFIRM=1"}).confirm, 1u);
  EXPECT_EQ(accepted({"CASTAWAY_CONFIRM=1000"}).confirm, 1000u);
  EXPECT_EQ(accepted({"CASTAWAY_KEEP=1"}).keep, 1u);
  EXPECT_EQ(accepted({"CASTAWAY_KEEP=1000000"}).keep, 1000000u);
}

TEST(ReadConfig, KnowsEveryWordOfASwitch) {
  for (const char *word : {"1", "on", "true", "yes"}) {
    EXPECT_TRUE(accepted({std::string("CASTAWAY_AT_EXIT=") + word}).at_exit) << word;
    EXPECT_TRUE(accepted({std::string("CASTAWAY_SYMBOLIZE=") + word}).symbolize) << word;
  }
  for (const char *word : {"0", "off", "false", "no"}) {
    EXPECT_FALSE(accepted({std::string("CASTAWAY_AT_EXIT=") + word}).at_exit) << word;
    EXPECT_FALSE(accepted({std::string("CASTAWAY_SYMBOLIZE=") + word}).symbolize) << word;
  }
}

TEST(ReadConfig, KnowsEveryWayToStopAndToLog) {
  EXPECT_EQ(accepted({"CASTAWAY_STOP=auto"}).stop, StopMethod::automatic);
  EXPECT_EQ(accepted({"CASTAWAY_STOP=ptrace"}).stop, StopMethod::ptrace);
  EXPECT_EQ(accepted({"CASTAWAY_LOG=stderr"}).log, LogTo::standard_error);
  EXPECT_EQ(accepted({"CASTAWAY_LOG=quiet"}).log, LogTo::nowhere);
}

TEST(ReadConfig, MakesPathsAbsolute) {
  CurrentDirectory here;
  Config config = accepted({"CASTAWAY_OUTPUT=a/b", "CASTAWAY_LOG=./log", "CASTAWAY_SUPPRESSIONS=../file"});
  EXPECT_EQ(config.output.view(), here.path() + "/a/b");
  EXPECT_EQ(config.log_file.view(), here.path() + "/log");
  EXPECT_EQ(config.suppressions.view(), here.path() + "/../file");
}

TEST(ReadConfig, TakesNoSuppressionsForNone) {
  EXPECT_EQ(accepted({"CASTAWAY_SUPPRESSIONS="}).suppressions.view(), "");
}

struct Refusal {
  const char *name;
  std::vector<std::string> values;
  const char *accepted;
};

class Refused : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refused, NamesVariableValueAndWhatIsAccepted) {
  const Refusal &refusal = GetParam();
  for (const std::string &value : refusal.values)
    EXPECT_EQ(read({refusal.name + ("=" + value)}).trouble,
              refusal.name + ("=" + value.substr(0, 200) + " cannot be read; accepted: ") + refusal.accepted);
}

const std::string kTooLong = "/" + std::string(kPathSize, 'x');
const std::string kDigits(32, '0');

INSTANTIATE_TEST_SUITE_P(
    ReadConfig, Refused,
    ::testing::Values(Refusal{"CASTAWAY_INTERVAL",
                              {"", "60", "s", "-1s", "1.5s", "60 s", " 60s", "60sec", "1d", "9000h", "60S"},
                              "500ms, 60s, 5m, 1h, or 0 for only on demand"},
                      Refusal{"CASTAWAY_SAMPLE_BYTES",
                              {"", "0", "512k", "-1", "1099511627777", "99999999999999999999"},
                              "a number of bytes, 1 to 2^40"},
                      Refusal{"CASTAWAY_CONFIRM", {"", "0", "1001", "2x", "two"}, "a number of safepoints, 1 to 1000"},
                      Refusal{"CASTAWAY_KEEP", {"", "0", "1000001", "0x10"}, "a number of profiles, 1 to 1000000"},
                      Refusal{"CASTAWAY_MARKERS", {"", "0", "17"}, "a number of threads, 1 to 16"},
                      Refusal{"CASTAWAY_AT_EXIT", {"", "2", "On", "y"}, "0 or 1"},
                      Refusal{"CASTAWAY_SYMBOLIZE", {"", "2", "never"}, "on or off"},
                      Refusal{"CASTAWAY_KEEP_CAPTURES", {"", "2", "all"}, "0 or 1"},
                      Refusal{"CASTAWAY_STOP", {"", "automatic", "SIGSTOP"}, "auto, ptrace or signal"},
                      Refusal{"CASTAWAY_OUTPUT", {"", kTooLong}, "a directory"},
                      Refusal{"CASTAWAY_SUPPRESSIONS", {kTooLong}, "a file"},
                      Refusal{"CASTAWAY_FOLLOW", {"", kTooLong}, "all, fork, none, or names of programs, NAME,NAME"},
                      Refusal{"CASTAWAY_COLLECTOR",
                              {"", kDigits, kDigits + ":" + kDigits + "0", kDigits + "0" + kDigits,
                               kDigits + ":" + kDigits.substr(1), kDigits + ":" + kDigits.substr(1) + "A",
                               kDigits + ":" + kDigits.substr(1) + "\n", ":" + kDigits + kDigits},
                              "what castaway run sets"},
                      Refusal{"CASTAWAY_LOG", {"", kTooLong}, "stderr, quiet, or a file"}),
    [](const auto &refusal) { return std::string(refusal.param.name); });

TEST(ReadConfig, SaysTheFirstTroubleOnly) {
  EXPECT_EQ(read({"CASTAWAY_LOG=", "CASTAWAY_KEEP=0", "CASTAWAY_CONFIRM=0"}).trouble,
            "CASTAWAY_CONFIRM=0 cannot be read; accepted: a number of safepoints, 1 to 1000");
}

TEST(ReadConfig, KeepsTheDefaultWhereItRefuses) {
  Config config = read({"CASTAWAY_INTERVAL=1x", "CASTAWAY_KEEP=0", "CASTAWAY_AT_EXIT=2", "CASTAWAY_STOP=x"}).config;
  EXPECT_EQ(config.interval_ns, 60 * kSecond);
  EXPECT_EQ(config.keep, 24u);
  EXPECT_FALSE(config.at_exit);
  EXPECT_EQ(config.stop, StopMethod::automatic);
}

constexpr const char *kNoDefaultOutput = "CASTAWAY_OUTPUT=castaway-out cannot be read; accepted: a directory";

TEST(ReadConfig, RefusesTheDefaultOutputInADirectoryThatIsGone) {
  CurrentDirectory here;
  std::filesystem::create_directory("gone");
  std::filesystem::current_path("gone");
  ASSERT_EQ(rmdir((here.path() + "/gone").c_str()), 0);
  EXPECT_EQ(read({}).trouble, kNoDefaultOutput);
  EXPECT_EQ(read({"CASTAWAY_OUTPUT=out"}).trouble, "CASTAWAY_OUTPUT=out cannot be read; accepted: a directory");
  EXPECT_EQ(accepted({"CASTAWAY_OUTPUT=/out"}).output.view(), "/out");
}

TEST(ReadConfig, RefusesTheDefaultOutputWhereItWouldBeCutOff) {
  CurrentDirectory here;
  const std::string name(200, 'd');
  for (int i = 0; i < 6; ++i) {
    std::filesystem::create_directory(name);
    ASSERT_EQ(chdir(name.c_str()), 0);
    size_t length = here.path().size() + static_cast<size_t>(i + 1) * (name.size() + 1);
    bool fits = length + sizeof "/castaway-out" < kPathSize;
    EXPECT_EQ(read({}).trouble, fits ? "" : kNoDefaultOutput) << length;
  }
  for (size_t length = kPathSize - 30; length < kPathSize; ++length) { // the directory fits, what is in it may not
    ASSERT_EQ(chdir(here.path().c_str()), 0);
    for (size_t at = here.path().size(); at < length;) {
      size_t part = std::min(length - at - 1, name.size());
      if (length - at - 1 - part == 1) --part; // no room for a name behind it
      std::filesystem::create_directories(name.substr(0, part));
      ASSERT_EQ(chdir(name.substr(0, part).c_str()), 0);
      at += part + 1;
    }
    ASSERT_EQ(std::filesystem::current_path().string().size(), length);
    Result result = read({});
    if (result.trouble.empty())
      EXPECT_EQ(result.config.output.view(), std::filesystem::current_path().string() + "/castaway-out");
    else
      EXPECT_EQ(result.trouble, kNoDefaultOutput);
    EXPECT_EQ(result.trouble.empty(), length + sizeof "/castaway-out" < kPathSize) << length;
  }
}

TEST(ParseDuration, KnowsItsUnits) {
  const std::pair<const char *, uint64_t> known[] = {{"0", 0},
                                                     {"0s", 0},
                                                     {"0ms", 0},
                                                     {"00", 0},
                                                     {"1ms", 1e6},
                                                     {"500ms", 5e8},
                                                     {"60s", 60 * kSecond},
                                                     {"5m", 300 * kSecond},
                                                     {"1h", 3600 * kSecond},
                                                     {"8784h", 366 * 24 * 3600 * kSecond},
                                                     {"010s", 10 * kSecond}};
  for (auto [text, expected] : known) {
    uint64_t value = 77;
    EXPECT_TRUE(parse_duration(text, value)) << text;
    EXPECT_EQ(value, expected) << text;
  }
}

TEST(ParseDuration, RefusesTheRestAndLeavesTheValue) {
  for (const char *text : {"", "5", "1", "s", "ms", "5us", "5ns", "5d", "5 s", "5s ", "5mm", "-5s", "+5s", "0x5s",
                           "5.0s", "8785h", "31622401s", "18446744073709551615h", "18446744073709551616ms",
                           // wraps around to one hour, and to 0.4 s
                           "5124095576030432h", "18446744074s"}) {
    uint64_t value = 77;
    EXPECT_FALSE(parse_duration(text, value)) << text;
    EXPECT_EQ(value, 77u) << text;
  }
}

TEST(Variable, TellsEmptyFromUnset) {
  char empty[] = "EMPTY=", set[] = "SET=a=b", *environment[] = {empty, set, nullptr};
  EXPECT_EQ(variable(environment, "UNSET").data(), nullptr);
  EXPECT_NE(variable(environment, "EMPTY").data(), nullptr);
  EXPECT_EQ(variable(environment, "EMPTY"), "");
  EXPECT_EQ(variable(environment, "SET"), "a=b");
  EXPECT_EQ(variable(environment, "SE").data(), nullptr);
  EXPECT_EQ(variable(nullptr, "SET").data(), nullptr);
}

bool follows(std::string_view follow, std::string_view program, std::string_view root, int pid) {
  Config config;
  config.follow << follow;
  return is_followed(config, program, root, pid);
}

TEST(IsFollowed, EveryProcessByDefault) {
  for (const char *follow : {"", "all"}) {
    EXPECT_TRUE(follows(follow, "any", "", 7));
    EXPECT_TRUE(follows(follow, "any", "6", 7));
  }
}

TEST(IsFollowed, OnlyTheRootWithForkOrNone) {
  for (const char *follow : {"fork", "none"}) {
    EXPECT_TRUE(follows(follow, "any", "7", 7));
    EXPECT_FALSE(follows(follow, "any", "7", 8));
    EXPECT_FALSE(follows(follow, "any", "77", 7));
    EXPECT_FALSE(follows(follow, "any", "x", 7));
    EXPECT_FALSE(follows(follow, "any", "4294967303", 7)); // 2^32 + 7
    EXPECT_TRUE(follows(follow, "any", "", 7)) << "nobody can tell";
  }
}

TEST(IsFollowed, OnlyTheNamedProgramsAndByTheirWholeName) {
  for (const char *name : {"redis-server", "nginx", "a"}) EXPECT_TRUE(follows("redis-server,nginx,a", name, "1", 2));
  for (const char *name : {"redis", "redis-server,nginx", "nginx2", "inx", "all", ","})
    EXPECT_FALSE(follows("redis-server,nginx,a", name, "2", 2)) << name;
  EXPECT_FALSE(follows("all,x", "y", "", 2)) << "a list of names";
  EXPECT_TRUE(follows("a,", "a", "", 2));
}

} // namespace
} // namespace castaway
