// Profiles that come by themselves: confirmation over safepoints, the last one at the exit, the newest one's link, how
// many are kept, who is followed, what the log says.
#include "target.h"

#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/stat.h>

namespace e2e {
namespace {

namespace fs = std::filesystem;

int lines_in(const std::string &text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

TEST(Periodic, LeaksAreConfirmedByTheSecondSafepoint) {
  Target target({program("waits"), "retained_list"}, {.interval = "200ms"});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 4; })) << target.process().errors();
  Profile profile = target.newest();
  SCOPED_TRACE(profile.text());
  auto confirmed = profile.totals_of("wait_with_list", {{"state", "confirmed"}});
  EXPECT_EQ(confirmed.threads, 1);
  EXPECT_EQ(confirmed.retained_bytes, target.number("bytes"));
  EXPECT_EQ(profile.totals().threads, 1);
}

TEST(Periodic, AnUnconfirmedLeakIsNotReportedYet) {
  Target target({program("waits"), "sem"}, {.interval = "200ms", .more = {"CASTAWAY_CONFIRM=1000"}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 4; })) << target.process().errors();
  expect_nothing_leaked(target.newest());
}

TEST(Periodic, AgeGrows) {
  Target target({program("waits"), "sem"}, {.interval = "200ms"});
  target.await_ready();
  auto age = [&] {
    Profile profile = target.newest();
    return profile.groups().empty() ? -1 : std::stol("0" + profile.groups()[0].label("age"));
  };
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 3; }));
  EXPECT_TRUE(eventually([&] { return age() >= 2; })) << age();
}

TEST(Periodic, OneLogLineWhenConfirmedAndOneAtTheEnd) {
  Target target({program("waits"), "sem"}, {.interval = "100ms"});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 6; })) << target.process().errors();
  EXPECT_EQ(lines_in(target.process().errors()), 1) << target.process().errors();
  EXPECT_EQ(lines_in(target.process().finish().errors), 2) << target.process().errors();
}

TEST(Periodic, NothingIsLoggedWhenAllIsWell) {
  Target target({program("waits"), "sem", "held"}, {.interval = "100ms"});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 3; })) << target.process().errors();
  EXPECT_EQ(target.process().finish().errors, "");
}

TEST(Periodic, TheLogCanBeAFileOrQuiet) {
  TemporaryDirectory directory;
  std::string log = directory.path() / "log";
  for (const std::string &where : {log, std::string("quiet")}) {
    Target target({program("waits"), "sem"}, {.interval = "100ms", .more = {"CASTAWAY_LOG=" + where}});
    target.await_ready();
    ASSERT_TRUE(eventually([&] { return target.safepoints() >= 4; })) << target.process().errors();
    EXPECT_EQ(target.process().finish().errors, "") << where;
  }
  std::ostringstream text;
  text << std::ifstream(log).rdbuf();
  EXPECT_EQ(lines_in(text.str()), 2) << text.str();
}

// How often the agent, a thread of this process', has gone to sleep.
long sleeps_of_agent(pid_t pid) {
  for (const auto &task : fs::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::string name, key;
    std::getline(std::ifstream(task.path() / "comm"), name);
    std::ifstream status(task.path() / "status");
    long count = 0;
    while (name == "castaway" && status >> key)
      if (key == "voluntary_ctxt_switches:" && status >> count) return count;
  }
  return -1;
}

// As long as a snapshot works there is nothing to look after, and the target's processors are the target's.
TEST(Periodic, TheAgentSleepsUntilTheSnapshotHasDoneItsWork) {
  Target target({program("waits"), "sem", "held"}, {.more = {"CASTAWAY_FAULT=slow"}});
  target.await_ready();
  target.snap();
  const long before = sleeps_of_agent(target.process().pid());
  ASSERT_GE(before, 0);
  target.snap(); // rests for 1.5 s
  EXPECT_LT(sleeps_of_agent(target.process().pid()) - before, 40);
}

TEST(Periodic, AsManyAreKeptAsWanted) {
  Target target({program("waits"), "sem"}, {.interval = "50ms", .more = {"CASTAWAY_KEEP=3"}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 8; })) << target.process().errors();
  target.expect_clean_end();
  // Its last reporter may outlive it, and has written one before it removes another.
  EXPECT_TRUE(eventually([&] { return target.profiles().size() == 3; })) << target.profiles().size();
  EXPECT_TRUE(fs::exists(target.newest().path()));
}

TEST(Periodic, NobodyElseCanReadTheFiles) {
  Target target({program("waits"), "sem"});
  target.await_ready();
  target.snap();
  struct stat status;
  ASSERT_EQ(stat(target.output().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  int threads_profiles = 0;
  for (const fs::directory_entry &entry : fs::directory_iterator(target.output())) {
    ASSERT_EQ(stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u) << entry.path();
    if (entry.path().string().find(".threads.") != std::string::npos) ++threads_profiles;
  }
  EXPECT_EQ(threads_profiles, 2) << "one, and the link to the newest";
}

TEST(Periodic, ThreadsProfileHasEveryThread) {
  Target target({program("waits"), "join_chain"});
  target.await_ready();
  std::string path = target.snap().path();
  path.replace(path.find(".leak."), 6, ".threads.");
  Profile threads(path);
  EXPECT_EQ(castaway::thread_total(threads.data()), 4) << threads.text(); // main and three
}

struct ExitCase {
  const char *mode;
  int objects;
};
void PrintTo(const ExitCase &each, std::ostream *out) { *out << each.mode; }

class AtExit : public testing::TestWithParam<ExitCase> {};

// The blocks are lost while the program runs, and nobody asks before it ends.
TEST_P(AtExit, LastSafepointFindsWhatIsLost) {
  for (bool through_command : {true, false}) {
    Target target({program("blocks"), "direct", GetParam().mode},
                  {.more = {"CASTAWAY_AT_EXIT=1"}, .through_command = through_command});
    target.await_ready();
    Ended ended = target.process().finish();
    EXPECT_EQ(ended.how, "exit 0") << ended.errors;
    ASSERT_EQ(target.profiles().size(), 1u) << ended.errors;
    EXPECT_EQ(target.newest().totals().objects, GetParam().objects) << target.newest().text();
    EXPECT_EQ(lines_in(ended.errors), GetParam().objects ? 1 : 0) << ended.errors;
  }
}
INSTANTIATE_TEST_SUITE_P(, AtExit, testing::Values(ExitCase{"leak", 3}, ExitCase{"held", 0}, ExitCase{"fixed", 0}),
                         [](const auto &each) { return std::string(each.param.mode); });

TEST(Check, ExitStatusTells) {
  struct {
    const char *mode, *how;
  } cases[] = {{"leak", "exit 23"}, {"held", "exit 0"}, {"fixed", "exit 0"}};
  for (auto [mode, how] : cases)
    for (const char *name : {"blocks direct", "waits cond"}) {
      TemporaryDirectory directory;
      std::istringstream words(name);
      std::string which, what;
      words >> which >> what;
      Ended ended = run({{castaway(), "check", "--output", directory.path(), "--", program(which), what, mode}});
      EXPECT_EQ(ended.how, how) << name << " " << mode << "\n" << ended.output << ended.errors;
    }
}

TEST(Check, SuppressedLeaksPass) {
  TemporaryDirectory directory;
  std::string list = directory.file("list", "# known\nleak:support::take\nthread:DroppedCond\n");
  for (const char *which : {"blocks", "waits"}) {
    Ended ended =
        run({{castaway(), "check", "--output", directory.path() / "out", "--suppressions", list, "--sample-bytes", "1",
              "--", program(which), std::string(which) == "blocks" ? "direct" : "cond"}});
    EXPECT_EQ(ended.how, "exit 0") << which << ended.output << ended.errors;
  }
}

// Workers that are forked at once do not all stop at once: their first safepoints come some of the interval early.
TEST(Forked, ProcessesMakeTheirFirstSafepointsApart) {
  if (installed("python3").empty()) GTEST_SKIP() << "python3 is not installed";
  Target target({installed("python3"), "-c",
                 "import os, sys, time\n"
                 "for each in range(6):\n"
                 "  if os.fork() == 0: time.sleep(3); os._exit(0)\n"
                 "print('READY', flush=True)\n"
                 "sys.stdin.read()"},
                {.interval = "2s", .more = {"CASTAWAY_SYMBOLIZE=off"}});
  target.await_ready();
  std::vector<fs::file_time_type> times;
  auto all_there = [&] {
    times.clear();
    for (const std::string &path : target.profiles())
      if (path.ends_with(".leak.1.pb.gz") && path.find("." + std::to_string(target.process().pid()) + ".") == path.npos)
        times.push_back(fs::last_write_time(path));
    return times.size() == 6;
  };
  ASSERT_TRUE(eventually(all_there)) << times.size();
  auto [first, last] = std::minmax_element(times.begin(), times.end());
  EXPECT_GT(Seconds(*last - *first).count(), 0.08) << "of half a second that they may be apart";
}

struct FollowCase {
  const char *follow;
  bool parent, child;
};
void PrintTo(const FollowCase &each, std::ostream *out) { *out << each.follow; }

class Follow : public testing::TestWithParam<FollowCase> {};

// A shell runs the program: which of the two is profiled?
TEST_P(Follow, ChoosesDescendants) {
  Target target({"sh", "-c", program("blocks") + " direct; sleep 0.4; true"},
                {.interval = "100ms", .more = {std::string("CASTAWAY_FOLLOW=") + GetParam().follow}});
  target.process().read_until("READY");
  int of_shell = 0, of_program = 0;
  auto count = [&] {
    of_shell = of_program = 0;
    for (const std::string &path : target.profiles())
      (fs::path(path).filename().string().starts_with("blocks.") ? of_program : of_shell)++;
  };
  sleep_for(Seconds(0.5)); // for what must not come
  eventually([&] {
    count();
    return (of_shell > 0 || !GetParam().parent) && (of_program > 0 || !GetParam().child);
  });
  EXPECT_EQ(target.process().finish().how, "exit 0");
  count();
  EXPECT_EQ(of_shell > 0, GetParam().parent) << target.process().errors();
  EXPECT_EQ(of_program > 0, GetParam().child) << target.process().errors();
}
INSTANTIATE_TEST_SUITE_P(, Follow,
                         testing::Values(FollowCase{"all", true, true}, FollowCase{"none", true, false},
                                         FollowCase{"fork", true, false}, FollowCase{"blocks", false, true},
                                         FollowCase{"sh,blocks", true, true}),
                         [](const auto &each) {
                           std::string name = each.param.follow;
                           std::replace(name.begin(), name.end(), ',', '_');
                           return name;
                         });

struct BadValue {
  const char *variable, *value;
};
void PrintTo(const BadValue &bad, std::ostream *out) { *out << bad.variable << "=" << bad.value; }

class BadEnvironment : public testing::TestWithParam<BadValue> {};

// One line that names variable and value; the program runs as if nothing were there.
TEST_P(BadEnvironment, OneLineAndNoProfile) {
  auto [variable, value] = GetParam();
  TemporaryDirectory directory;
  Command command{{program("waits"), "sem"},
                  {"LD_PRELOAD=" + runtime_library(), "CASTAWAY_OUTPUT=" + (directory.path() / "out").string(),
                   std::string(variable) + "=" + value}};
  Ended ended = run(command);
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(ended.output, "objects 1\nbytes 32\nREADY\n");
  EXPECT_EQ(lines_in(ended.errors), 1) << ended.errors;
  EXPECT_NE(ended.errors.find(variable), std::string::npos) << ended.errors;
  EXPECT_NE(ended.errors.find(value), std::string::npos) << ended.errors;
}
INSTANTIATE_TEST_SUITE_P(, BadEnvironment,
                         testing::Values(BadValue{"CASTAWAY_INTERVAL", "soon"}, BadValue{"CASTAWAY_INTERVAL", "-5s"},
                                         BadValue{"CASTAWAY_CONFIRM", "0"}, BadValue{"CASTAWAY_SAMPLE_BYTES", "x1"},
                                         BadValue{"CASTAWAY_KEEP", "many"}, BadValue{"CASTAWAY_STOP", "please"},
                                         BadValue{"CASTAWAY_AT_EXIT", "perhaps"}));

// What turns out only when there is something to write: one line, once, and the program goes on.
TEST(Trouble, OutputThatCannotBeWritten) {
  TemporaryDirectory directory;
  std::string in_the_way = directory.file("file", "not a directory") + "/out";
  Command command{{program("waits"), "sem"},
                  {"LD_PRELOAD=" + runtime_library(), "CASTAWAY_OUTPUT=" + in_the_way, "CASTAWAY_INTERVAL=50ms"}};
  Process process(command);
  process.read_until("READY");
  sleep_for(Seconds(0.5));
  Ended ended = process.finish();
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(lines_in(ended.errors), 1) << ended.errors;
  EXPECT_NE(ended.errors.find(in_the_way), std::string::npos) << ended.errors;
}

TEST(Trouble, DirectoryThatVanishes) {
  Target target({program("waits"), "sem"}, {.interval = "50ms"});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 2; })) << target.process().errors();
  fs::remove_all(target.output());
  sleep_for(Seconds(0.4));
  EXPECT_EQ(target.process().finish().how, "exit 0");
}

} // namespace
} // namespace e2e
