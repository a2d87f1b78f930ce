// Hostile surroundings: whatever happens to the tracer, the snapshot, the memory or the disk, the target goes on as it
// would have, at most one clear line is said, and the next safepoint works where it can.
#include "profile/profile_comments.h"
#include "target.h"

#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <random>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

namespace e2e {
namespace {

namespace fs = std::filesystem;

int lines_in(const std::string &text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

Ended ask(Target &target) { return run({{castaway(), "snap", "--wait", std::to_string(target.process().pid())}}); }

void expect_one_lost_waiter(Target &target) {
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(profile.totals().threads, 1);
  EXPECT_EQ(profile.totals().retained_bytes, target.number("bytes"));
  EXPECT_EQ(profile.totals_of("wait_on_lost").threads, 1);
  EXPECT_EQ(profile.totals().objects, 0);
  expect_nothing_refuted(profile);
}

// ---- tracer and snapshot are killed

class FaultPoint : public testing::TestWithParam<const char *> {};

TEST_P(FaultPoint, TheTargetGoesOnAndTheNextSafepointWorks) {
  Target target({program("hostile"), "lost_waiter"}, {.more = {std::string("CASTAWAY_FAULT=") + GetParam()}});
  target.await_ready();
  Ended first = ask(target);
  EXPECT_EQ(first.how, "exit 1") << first.output;
  EXPECT_EQ(lines_in(first.errors), 1) << first.errors;
  // A tracer that dies after the copy leaves a snapshot that may come to its end, or may not.
  std::string_view point = GetParam();
  EXPECT_TRUE(target.safepoints() == 0 || point == "forked" || point == "resumed") << target.safepoints();
  EXPECT_EQ(lines_in(target.process().errors()), 1) << target.process().errors();
  expect_one_lost_waiter(target);
  expect_one_lost_waiter(target);
  target.expect_clean_end();
}

INSTANTIATE_TEST_SUITE_P(, FaultPoint,
                         testing::Values("tracer", "stopped", "forked", "resumed", "snapshot", "mappings", "memory",
                                         "threads", "roots", "notes", "scanned", "history", "captured", "reporter"),
                         [](const auto &each) { return std::string(each.param); });

// Each page that is written while the copy lasts is a page fault of the program's.
TEST(SlowSnapshot, TheProfileTellsWhatItCostAfterThePause) {
  Target target({program("hostile"), "restless"}, {.interval = "0", .more = {"CASTAWAY_FAULT=slow"}});
  target.await_ready();
  std::string after(target.snap().data().comment(castaway::kAfter));
  int faults = 0;
  double milliseconds = 0;
  ASSERT_EQ(sscanf(after.c_str(), "%d page faults in the %lf ms since", &faults, &milliseconds), 2) << after;
  EXPECT_GT(milliseconds, 1500); // that it rests
  EXPECT_GT(faults, 1000);       // of 15000 pages, even if it hardly runs
  EXPECT_LT(faults, 20000) << "each page once";
  target.expect_clean_end();
}

struct Standing {
  int group = 0, session = 0, nice = -1;
  std::string autogroup; // empty where the kernel has none
};

Standing standing_of(pid_t task) {
  Standing standing;
  sscanf(stat_of(task).c_str(), " %*c %*d %d %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d", &standing.group,
         &standing.session, &standing.nice);
  standing.autogroup = text_of("/proc/" + std::to_string(task) + "/autogroup");
  return standing;
}

// Its own session would be a group of its own for the scheduler, in which a low priority says nothing.
void expect_to_stand_back(pid_t target, std::string_view part, int nice) {
  Standing first = standing_of(target), found;
  pid_t helper = 0;
  ASSERT_TRUE(eventually([&] {
    helper = find_helper(target, part);
    found = standing_of(helper);
    return found.nice == nice;
  })) << part;
  EXPECT_EQ(found.group, helper) << "signals of terminals would end it";
  EXPECT_EQ(sched_getscheduler(helper), SCHED_OTHER);
  EXPECT_EQ(found.session, first.session);
  EXPECT_EQ(found.autogroup, first.autogroup);
  for (const auto &task : fs::directory_iterator("/proc/" + std::to_string(target) + "/task"))
    EXPECT_EQ(standing_of(std::stoi(task.path().filename())).nice, first.nice) << "the target's own";
}

void expect_helpers_to_stand_back(std::vector<std::string> command) {
  TemporaryDirectory directory;
  const std::string suppressions = directory.file("suppressions", slow_to_match(400'000));
  Target target(std::move(command), {.more = {"CASTAWAY_FAULT=slow", "CASTAWAY_SUPPRESSIONS=" + suppressions}});
  target.await_ready();
  int usual = standing_of(target.process().pid()).nice;
  Process snap({{castaway(), "snap", "--wait", std::to_string(target.process().pid())}});
  for (const char *part : {"lost_waiter", "report"})
    expect_to_stand_back(target.process().pid(), part, std::min(usual + 10, 19));
  EXPECT_EQ(snap.finish().how, "exit 0");
  target.expect_clean_end();
}

TEST(SlowSnapshot, SnapshotAndReporterStandBackBehindTheTarget) {
  expect_helpers_to_stand_back({program("hostile"), "lost_waiter"});
}

// Real-time tasks come before all others, however nice they are.
TEST(SlowSnapshot, AndBehindOneThatRunsInRealTime) {
  std::vector<std::string> command = {"/usr/bin/chrt", "--fifo", "1", "/bin/true"};
  if (run({command}).how != "exit 0") GTEST_SKIP() << "needs the right to run in real time";
  command.pop_back();
  command.insert(command.end(), {program("hostile"), "lost_waiter"});
  expect_helpers_to_stand_back(command);
}

// A bit of state for each granule, 0.6 MB, and what waits to be read.
TEST(Snapshot, TheProfileTellsWhatMemoryItTook) {
  Target target({program("hostile"), "many_blocks"}, {.interval = "0", .sample_bytes = "524288"});
  target.await_ready();
  std::string scan(target.snap().data().comment(castaway::kScan));
  double mebibytes = 0;
  ASSERT_EQ(sscanf(scan.c_str(), "%lf MiB of memory", &mebibytes), 1) << scan;
  EXPECT_GT(mebibytes, 0.3);
  EXPECT_LT(mebibytes, 4);
  target.expect_clean_end();
}

// At random moments, from outside: what the kernel does when memory runs out.
TEST(Killed, AtRandomMoments) {
  unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  Target target({program("hostile"), "lost_waiter"}, {.interval = "20ms"});
  target.await_ready();
  int killed = 0;
  for (int i = 0; i < 60; ++i) {
    sleep_for(Seconds(std::uniform_real_distribution<>(0, 0.06)(random)));
    std::vector<pid_t> helpers = helpers_of(target.process().pid());
    if (helpers.empty()) continue;
    killed += kill(helpers[random() % helpers.size()], SIGKILL) == 0;
  }
  EXPECT_GT(killed, 10);
  ASSERT_TRUE(target.process().is_running());
  ASSERT_TRUE(eventually([&] { return ask(target).how == "exit 0"; }));
  expect_one_lost_waiter(target);
  for (const std::string &path : target.profiles()) {
    Profile profile(path);
    EXPECT_LE(profile.totals().threads, 1) << profile.text();
    EXPECT_EQ(profile.totals().objects, 0) << profile.text();
    expect_nothing_refuted(profile);
  }
  target.expect_clean_end();
}

// The target itself is killed in the middle of it: nothing of castaway's stays, but a status page that nobody removed.
TEST(Killed, TheTargetDuringSafepoints) {
  for (int i = 0; i < 10; ++i) {
    Target target({program("hostile"), "lost_waiter"}, {.interval = "20ms"});
    target.await_ready();
    ASSERT_TRUE(eventually([&] { return target.safepoints() > 0; }));
    sleep_for(Seconds(0.007 * i));
    std::vector<pid_t> helpers = helpers_of(target.process().pid());
    target.process().signal(SIGKILL);
    EXPECT_EQ(target.process().finish().how, "signal 9");
    EXPECT_TRUE(eventually([&] {
      return std::none_of(helpers.begin(), helpers.end(), [](pid_t pid) {
        std::string command = text_of("/proc/" + std::to_string(pid) + "/cmdline"); // empty once it has ended
        return command.find("hostile") != std::string::npos || command.find("castaway") != std::string::npos;
      });
    }));
    for (const fs::directory_entry &entry : fs::directory_iterator(target.output())) {
      std::string name = entry.path().filename();
      EXPECT_TRUE(name.ends_with(".pb.gz") || (name[0] == '.' && name.ends_with(".castaway"))) << name;
    }
  }
}

// Of what the kernel does with its children, the tracer is none.
TEST(Surroundings, AProgramThatIgnoresWhenItsChildrenEnd) {
  Target target({program("hostile"), "ignored_children"});
  target.await_ready();
  expect_one_lost_waiter(target);
  expect_one_lost_waiter(target);
  EXPECT_EQ(target.process().errors().find("no profile"), std::string::npos) << target.process().errors();
  EXPECT_NE(target.process().errors().find("first leak"), std::string::npos) << target.process().errors();
  target.expect_clean_end();
}

// In a new pid namespace below an old /proc, what /proc says is of somebody else.
TEST(Surroundings, AnotherPidNamespace) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  // A snapshot ends with the namespace, and on a busy machine a report takes its time.
  for (const char *milliseconds : {"1000", "8000", "24000"}) {
    Target target({program("calm"), "unshare_pid", milliseconds}, {.interval = "100ms"});
    Ended ended = target.process().finish();
    EXPECT_EQ(ended.how, "exit 0");
    EXPECT_EQ(ended.output, "unshare_pid done\n");
    EXPECT_EQ(lines_in(ended.errors), 1) << ended.errors;
    EXPECT_NE(ended.errors.find("profiling is off: /proc is that of another pid namespace"), std::string::npos)
        << ended.errors;
    if (target.safepoints() >= 1) return;
  }
  ADD_FAILURE() << "no safepoint";
}

// Valgrind preloads libraries of this name, and would end the program.
TEST(Surroundings, Valgrind) {
  TemporaryDirectory directory;
  const std::string library = directory.path() / "vgpreload_core-amd64-linux.so";
  std::filesystem::create_symlink(runtime_library(), library);
  Target target({program("hostile"), "lost_waiter"},
                {.interval = "100ms", .beside = library, .through_command = false});
  target.await_ready();
  target.process().finish();
  EXPECT_EQ(lines_in(target.process().errors()), 1) << target.process().errors();
  EXPECT_NE(target.process().errors().find("profiling is off: Valgrind"), std::string::npos)
      << target.process().errors();
  EXPECT_EQ(target.safepoints(), 0);
}

// A program that gains privileges when it starts gets no library from the loader: it runs unprofiled.
TEST(Surroundings, ASetuidProgram) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to make one";
  TemporaryDirectory directory;
  fs::path copy = directory.path() / "hostile";
  fs::copy_file(program("hostile"), copy);
  ASSERT_EQ(chmod(directory.path().c_str(), 0777), 0);
  ASSERT_EQ(chmod(copy.c_str(), 04755), 0);
  Ended ended = run({{"/usr/bin/setpriv", "--reuid", "65534", "--clear-groups", castaway(), "run", "--interval", "50ms",
                      "--output", directory.path() / "out", "--", copy, "end", "_exit", "leak"}});
  EXPECT_EQ(ended.how, "exit 7") << ended.errors;
  EXPECT_LE(lines_in(ended.errors), 1) << ended.errors;
  EXPECT_FALSE(fs::exists(directory.path() / "out") && !fs::is_empty(directory.path() / "out"));
}

// ---- memory

TEST(Memory, AUserfaultThatWaitsForForks) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, for userfaultfd";
  Target target({program("hostile"), "userfault"});
  target.await_ready();
  for (int i = 0; i < 2; ++i) {
    Ended asked = ask(target);
    EXPECT_EQ(asked.how, "exit 1");
    EXPECT_NE(asked.errors.find("userfaultfd"), std::string::npos) << asked.errors;
  }
  EXPECT_EQ(lines_in(target.process().errors()), 1) << target.process().errors();
  target.expect_clean_end();
}

TEST(Memory, HugeStacksOfWhichLittleIsUsed) {
  Target target({program("hostile"), "huge_stacks"});
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(profile.totals().threads, 3);
  EXPECT_EQ(profile.totals().retained_bytes, target.number("bytes"));
  EXPECT_EQ(profile.totals().objects, 0);
  target.expect_clean_end();
}

TEST(Memory, FiveThousandThreads) {
  Target target({program("hostile"), "many_threads"});
  target.await_ready();
  Profile profile = target.snap();
  EXPECT_EQ(profile.totals().threads, 50);
  EXPECT_EQ(profile.totals().retained_bytes, target.number("bytes"));
  EXPECT_EQ(profile.totals().objects, 0) << profile.text();
  target.expect_clean_end();
}

TEST(Memory, MoreThatIsNotForkedThanAStopCanCopy) {
  Target much({program("hostile"), "much_unforked", "leak"}), lent({program("hostile"), "much_unforked", "held"});
  much.await_ready();
  lent.await_ready();
  Ended asked = ask(much);
  EXPECT_EQ(asked.how, "exit 1");
  EXPECT_NE(asked.errors.find("MADV_DONTFORK"), std::string::npos) << asked.errors;
  expect_nothing_leaked(lent.snap());
  much.expect_clean_end();
  lent.expect_clean_end();
}

// What glibc says of a damaged heap, and the status that the program ends with, stay as they are.
class Damaged : public testing::TestWithParam<const char *> {};
TEST_P(Damaged, GlibcSaysTheSame) {
  std::vector<std::string> command = {program("hostile"), "damage", GetParam()};
  Ended without = run({command});
  Target target(command, {.interval = "50ms"});
  Ended with = target.process().finish();
  EXPECT_EQ(without.how, "signal 6");
  EXPECT_EQ(with.how, without.how);
  EXPECT_EQ(with.errors, without.errors);
  EXPECT_TRUE(eventually([&] { return target.safepoints() >= 1; }));
}
INSTANTIATE_TEST_SUITE_P(, Damaged, testing::Values("garbage", "twice", "header"),
                         [](const auto &each) { return std::string(each.param); });

} // namespace
} // namespace e2e
