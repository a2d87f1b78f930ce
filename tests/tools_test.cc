// The castaway command with wrong input: one line on standard error that names what is wrong, and the right status.
// Where only profiling is hindered, the program runs as it would without.
#include "tests/run_command.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

constexpr size_t kLongestLine = 1200;

// The one line of `finished`, all `names` in it.
void expect_one_line(const Finished &finished, int status, const std::vector<std::string> &names) {
  EXPECT_EQ(finished.status, status) << finished.err;
  EXPECT_EQ(finished.error_lines(), 1u) << finished.err;
  EXPECT_TRUE(finished.err.starts_with("castaway: ")) << finished.err;
  EXPECT_LT(finished.err.size(), kLongestLine);
  for (const std::string &name : names) EXPECT_NE(finished.err.find(name), std::string::npos) << finished.err;
}

struct BadCase {
  const char *name;
  std::vector<std::string> arguments;
  int status;
  std::vector<std::string> names; // what the line must contain
};

void PrintTo(const BadCase &bad, std::ostream *out) { *out << bad.name; }

class BadArgument : public testing::TestWithParam<BadCase> {};

TEST_P(BadArgument, GetsOneLineThatNamesIt) {
  const BadCase &bad = GetParam();
  std::vector<std::string> argv = bad.arguments;
  argv.insert(argv.begin(), "castaway");
  const Finished finished = run_command(argv);
  expect_one_line(finished, bad.status, bad.names);
  EXPECT_EQ(finished.out, "");
}

const BadCase kGeneral[] = {
    {"no_command", {}, 2, {"command"}},
    {"unknown_command", {"shwo"}, 2, {"unknown command 'shwo'"}},
    {"unknown_option_first", {"--verbos"}, 2, {"unknown option '--verbos'"}},
    {"control_characters", {"a\nb\033[2J"}, 2, {"'a\\nb\\x1b[2J'"}},
    {"endless_argument", {std::string(100000, 'x')}, 2, {"unknown command 'xxx"}},
    {"run_unknown_option", {"run", "--intervall", "1s", "--", "echo", "ran"}, 2, {"'--intervall'"}},
    {"run_no_command", {"run"}, 2, {"CMD is missing"}},
    {"run_no_command_behind_dashes", {"run", "--interval", "1s", "--"}, 2, {"CMD is missing"}},
    {"check_no_command", {"check", "--"}, 2, {"CMD is missing"}},
    {"check_at_exit", {"check", "--at-exit", "--", "echo", "ran"}, 2, {"'--at-exit'"}},
    {"option_at_end", {"run", "--interval"}, 2, {"--interval", "value missing"}},
    {"option_before_dashes", {"run", "--output", "--", "echo", "ran"}, 2, {"--output", "value missing"}},
    {"empty_value", {"run", "--output=", "--keep", "3", "--", "echo", "ran"}, 2, {"--output", "value missing"}},
    {"not_found", {"run", "--", "castaway-no-such-program"}, 127, {"'castaway-no-such-program'", "not found"}},
    {"path_not_found", {"run", "/no/such/program"}, 127, {"'/no/such/program'", "No such file"}},
    {"check_not_found", {"check", "--", "castaway-no-such-program"}, 127, {"'castaway-no-such-program'"}},
    {"empty_program_name", {"run", "--", ""}, 127, {"''"}},
    {"not_executable", {"run", "--", "/etc/passwd"}, 126, {"'/etc/passwd'", "Permission denied"}},
    {"directory", {"run", "--", "/tmp"}, 126, {"'/tmp'", "cannot be executed"}},
};

BadCase bad_value(const char *name, const std::string &option, const std::string &value) {
  return {name, {"run", option, value, "--", "echo", "ran"}, 2, {option + ": ", "'" + value + "'"}};
}

const BadCase kValues[] = {
    bad_value("interval_word", "--interval", "soon"),
    bad_value("interval_without_unit", "--interval", "60"),
    bad_value("interval_fraction", "--interval", "1.5s"),
    bad_value("interval_negative", "--interval", "-5s"),
    bad_value("interval_unit_alone", "--interval", "s"),
    bad_value("interval_space", "--interval", "5 s"),
    bad_value("interval_two", "--interval", "[1s,2s]"),
    bad_value("interval_overflow", "--interval", "99999999999999999999h"),
    bad_value("interval_years", "--interval", "8785h"),
    bad_value("confirm_zero", "--confirm", "0"),
    bad_value("confirm_too_many", "--confirm", "1001"),
    bad_value("sample_bytes_word", "--sample-bytes", "512k"),
    bad_value("keep_negative", "--keep", "-1"),
    bad_value("at_exit_word", "--at-exit", "maybe"),
    bad_value("stop_unknown", "--stop", "ptrase"),
    bad_value("follow_empty_name", "--follow", "nginx,,redis"),
    bad_value("follow_path", "--follow", "/usr/sbin/nginx"),
    bad_value("symbolize_word", "--symbolize", "maybe"),
    bad_value("log_in_no_directory", "--log", "/no/such/directory/log"),
    bad_value("log_is_directory", "--log", "/tmp"),
    {"suppressions_missing", {"run", "--suppressions", "/no/such", "--", "echo"}, 2, {"--suppressions", "/no/such"}},
    {"suppressions_directory", {"run", "--suppressions", "/tmp", "--", "echo"}, 2, {"--suppressions", "/tmp"}},
};

const BadCase kReaders[] = {
    {"snap_no_pid", {"snap"}, 2, {"PID"}},
    {"snap_word", {"snap", "nginx"}, 2, {"'nginx'"}},
    {"snap_zero", {"snap", "0"}, 2, {"'0'"}},
    {"snap_two", {"snap", "1", "2"}, 2, {"'2'"}},
    {"snap_bad_timeout", {"snap", "--wait", "--timeout", "ever", "1"}, 2, {"--timeout", "'ever'"}},
    {"snap_timeout_alone", {"snap", "--timeout", "5s", "1"}, 2, {"--timeout", "--wait"}},
    {"snap_no_process", {"snap", "2147483647"}, 1, {"process 2147483647", "no such process"}},
    {"snap_kernel_thread", {"snap", "2"}, 1, {"process 2: "}},
    {"show_no_file", {"show"}, 2, {"FILE"}},
    {"show_bad_debug", {"show", "--debug", "3", "/dev/null"}, 2, {"--debug", "'3'"}},
    {"show_bad_color", {"show", "--color", "red", "/dev/null"}, 2, {"--color", "'red'"}},
    {"show_missing", {"show", "/no/such/file"}, 1, {"/no/such/file", "No such file"}},
    {"show_directory", {"show", "/tmp"}, 1, {"/tmp"}},
    {"show_empty", {"show", "/dev/null"}, 1, {"/dev/null"}},
    {"show_text", {"show", "/etc/passwd"}, 1, {"/etc/passwd"}},
    {"report_nothing", {"report"}, 2, {"FILE"}},
    {"report_bad_descriptor", {"report", "--capture-fd", "three"}, 2, {"--capture-fd", "'three'"}},
    {"report_no_output", {"report", "/dev/null"}, 2, {"--output"}},
    {"report_missing", {"report", "/no/such/file", "--output", "/tmp"}, 1, {"/no/such/file"}},
};

std::string name_of(const testing::TestParamInfo<BadCase> &info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(General, BadArgument, testing::ValuesIn(kGeneral), name_of);
INSTANTIATE_TEST_SUITE_P(Values, BadArgument, testing::ValuesIn(kValues), name_of);
INSTANTIATE_TEST_SUITE_P(Readers, BadArgument, testing::ValuesIn(kReaders), name_of);

TEST(Suppressions, BadLineIsNamedWithItsNumber) {
  const TestDirectory directory;
  const std::string file = directory.write("known", "# known leaks\nleak:libfoo\n\nleek:oops\n");
  const Finished finished = run_command({"castaway", "run", "--suppressions", file, "--", "echo", "ran"});
  expect_one_line(finished, 2, {"--suppressions", file + ":4"});
  EXPECT_EQ(finished.out, "");
}

TEST(Suppressions, GoodFileIsTaken) {
  const TestDirectory directory;
  const std::string file = directory.write("known", "# known leaks\n\nleak:libfoo*\nthread:^worker$\n");
  const Finished finished =
      run_command({"castaway", "run", "--suppressions", file, "--", "sh", "-c", "echo $CASTAWAY_SUPPRESSIONS"});
  EXPECT_EQ(finished.out, file + "\n");
  EXPECT_EQ(finished.status, 0);
}

TEST(Show, DamagedProfileGetsOneLine) {
  const TestDirectory directory;
  ASSERT_EQ(run_shell("head -c 5000 /dev/urandom | gzip > " + (directory / "whole.gz").string()).status, 0);
  ASSERT_EQ(
      run_shell("head -c 60 " + (directory / "whole.gz").string() + " > " + (directory / "cut.gz").string()).status, 0);
  for (const char *name : {"whole.gz", "cut.gz"}) {
    const Finished finished = run_command({"castaway", "show", directory / name});
    expect_one_line(finished, 1, {directory / name});
    EXPECT_EQ(finished.out, "");
  }
}

TEST(Output, FullStandardOutputIsNoSuccess) {
  expect_one_line(run_shell("$CASTAWAY --help > /dev/full"), 1, {"standard output"});
}

TEST(Help, EveryCommandHasOneWithAnExample) {
  for (const char *command : {"run", "check", "snap", "show", "report"}) {
    const Finished finished = run_command({"castaway", command, "--help"});
    EXPECT_EQ(finished.status, 0);
    EXPECT_EQ(finished.err, "");
    EXPECT_NE(finished.out.find(std::string("Usage: castaway ") + command), std::string::npos) << finished.out;
    EXPECT_NE(finished.out.find(std::string("Example:\n  castaway ") + command), std::string::npos) << finished.out;
  }
}

TEST(Help, OverviewListsTheCommandsForPeople) {
  const Finished finished = run_command({"castaway", "--help"});
  for (const char *command : {"\n  run ", "\n  check ", "\n  snap ", "\n  show "})
    EXPECT_NE(finished.out.find(command), std::string::npos) << finished.out;
  EXPECT_EQ(finished.out.find("report"), std::string::npos) << finished.out;
}

TEST(Help, VersionIsOneLine) {
  const Finished finished = run_command({"castaway", "--version"});
  EXPECT_TRUE(finished.out.starts_with("castaway ") && finished.out.ends_with("\n")) << finished.out;
  EXPECT_EQ(finished.status, 0);
}

} // namespace
} // namespace castaway
