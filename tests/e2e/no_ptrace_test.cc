// Where ptrace is denied, threads are stopped by a signal, with the same result, and the program notices as little.
#include "target.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <sstream>

namespace e2e {
namespace {

struct Denied {
  const char *name;                     // a case of the program
  std::vector<std::string> before = {}; // what traces it
  const char *stop = "auto";
};

const Denied kDenied[] = {
    {"seccomp_errno"},
    {"seccomp_kill"},
    {"seccomp_kill_thread"},
    {"not_dumpable"},
    {"traced", {"strace", "-f", "-o", "/dev/null"}},
    {"handled", {}, "signal"},
};

void PrintTo(const Denied &denied, std::ostream *out) { *out << denied.name; }

void expect_what_was_lost(const Profile &profile) {
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(profile.totals().threads, 3);
  EXPECT_EQ(profile.totals_of("DroppedSem::wait", {{"wait", "sem"}, {"reason", "unreachable"}}).threads, 3);
  EXPECT_EQ(profile.totals().objects, 1);
  EXPECT_EQ(profile.totals().bytes, 1000);
  expect_stopped_by(profile, "signal");
}

class NoPtrace : public testing::TestWithParam<Denied> {};

TEST_P(NoPtrace, SameProfileBySignal) {
  const Denied &denied = GetParam();
  if (!denied.before.empty() && installed(denied.before[0]).empty()) GTEST_SKIP() << "needs " << denied.before[0];
  std::vector<std::string> command = denied.before;
  command.insert(command.end(), {program("no_ptrace"), denied.name});
  Target target(command, {.stop = denied.stop});
  target.await_ready();
  for (int i = 0; i < 3; ++i) {
    Profile profile = target.snap(static_cast<pid_t>(target.number("pid")));
    expect_what_was_lost(profile);
    expect_nothing_refuted(profile);
  }
  Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(ended.output, "");
  // Nothing was said but what leaked.
  std::istringstream lines(ended.errors);
  for (std::string line; std::getline(lines, line);)
    EXPECT_NE(line.find(": 3 leaked threads"), line.npos) << ended.errors;
}

INSTANTIATE_TEST_SUITE_P(, NoPtrace, testing::ValuesIn(kDenied),
                         [](const auto &each) { return std::string(each.param.name); });

// Under gdb, whose standard output is the program's too.
TEST(NoPtraceTraced, UnderGdb) {
  if (installed("gdb").empty()) GTEST_SKIP() << "needs gdb";
  TemporaryDirectory directory;
  const std::string output = directory.path() / "out";
  Command command{{"gdb",    "-batch",
                   "-ex",    "set confirm off",
                   "-ex",    "set startup-with-shell off",
                   "-ex",    "set print thread-events off", // in the midst of the program's lines
                   "-ex",    "set environment LD_PRELOAD " + runtime_library(),
                   "-ex",    "set environment CASTAWAY_OUTPUT " + output,
                   "-ex",    "set environment CASTAWAY_INTERVAL 100ms",
                   "-ex",    "set environment CASTAWAY_LOG quiet",
                   "-ex",    "set environment CASTAWAY_SAMPLE_BYTES 1",
                   "-ex",    "run",
                   "--args", program("no_ptrace"),
                   "traced"},
                  {"DEBUGINFOD_URLS="}};
  Process gdb(command);
  gdb.read_until("READY");
  auto newest = [&] {
    for (const auto &entry : std::filesystem::directory_iterator(output))
      if (entry.path().native().ends_with(".leak.pb.gz") && entry.is_symlink()) return entry.path().string();
    return std::string();
  };
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(output) && !newest().empty(); })) << gdb.errors();
  sleep_for(Seconds(1));
  expect_what_was_lost(Profile(newest()));
  Ended ended = gdb.finish();
  EXPECT_EQ(ended.how, "exit 0") << ended.errors;
  EXPECT_NE(ended.output.find("exited normally"), std::string::npos) << ended.output;
  EXPECT_EQ(ended.output.find("received signal"), std::string::npos) << ended.output;
}

// One line says why there is no profile, and the program runs on.
void expect_one_line(const char *name, const char *stop, const std::string &reason) {
  // An interval in which the program comes to it on a busy machine too.
  Target target({program("no_ptrace"), name}, {.interval = "1s", .stop = stop});
  target.await_ready();
  EXPECT_TRUE(eventually([&] { return target.process().errors().find(reason) != std::string::npos; }));
  sleep_for(Seconds(2.5)); // for more of it, of which there must be none
  Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(target.safepoints(), 0);
  EXPECT_EQ(std::count(ended.errors.begin(), ended.errors.end(), '\n'), 1) << ended.errors;
}

TEST(NoPtraceLine, PtraceAndNothingElse) {
  expect_one_line("seccomp_errno", "ptrace", "no profile: threads cannot be stopped: ptrace is denied, errno 1 ");
}
TEST(NoPtraceLine, PtraceWouldKill) {
  expect_one_line("seccomp_kill", "ptrace", "no profile: threads cannot be stopped: ptrace is denied, errno 1 ");
}
TEST(NoPtraceLine, TheHandlerWouldBeKilled) {
  expect_one_line("handler_killed", "auto", "no profile: threads cannot be stopped: a signal is denied, errno 1 ");
}
TEST(NoPtraceLine, AllSignalsHandled) {
  expect_one_line("all_handled", "signal", "no profile: threads cannot be stopped: the program handles all real-time");
}
TEST(NoPtraceLine, AThreadBlocksEverything) {
  expect_one_line("blocked", "signal", " blocks signal 33, which would stop it");
}

} // namespace
} // namespace e2e
