// The target is undisturbed: same output and exit status with and without the profiler, under a safepoint every 50 ms;
// and programs that leak nothing are told so by every profile.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

struct CalmCase {
  const char *name;
  // Profiles that there must be at least, with both processors in use by others. 0: none can be asked for.
  int safepoints = 5;
  const char *interval = "50ms";
  const char *stop = "ptrace";
};

const CalmCase kCases[] = {
    // waiting_calls.h
    {"short_waits"},
    {"endless_waits"},
    {"ignored_signals", 5, "20ms"},
    {"children_end", 5, "20ms"},
    {"vfork_and_waits", 0},
    {"nobodys_waits", 0}, // ptrace cannot stop it
    // calm_descriptors.cc
    {"same_listing"},
    {"lowest_free"},
    {"close_all"},
    // calm_ends.cc; too short for many
    {"return", 1},
    {"exit", 1},
    {"fast_exit", 1},
    {"quick_exit", 1},
    {"abort", 1},
    {"segv", 1},
    {"throw", 1},
    {"exit_on_thread", 1},
    {"in_handlers", 1},
    {"errno", 3},
    {"failures", 0},
    {"contents", 3},
    // calm_processes.cc
    {"no_children"},
    {"own_child_only"},
    {"fork", 3},
    {"fork_storm", 2},
    {"spawn", 3},
    {"long_vfork", 0},
    {"exec_itself", 1},
    {"daemonize", 0},
    {"stop_and_continue", 3},
    {"set_user", 1},
    {"change_root", 1},
    {"set_namespaces", 3},
    {"children_unshare_user", 3},
    {"unshare_others", 2},
    {"unshare_pid", 1},
    {"unshare_user", 0, "0"}, // with an agent thread it could not work
    // calm_threads.cc
    {"exceptions", 3},
    {"cancel", 2},
    {"exit_thread", 2},
    {"main_exits"},
    {"jumps", 3},
    {"signals", 2},
    // calm_signals.cc
    {"interrupted_calls", 3, "20ms"},
    {"ended_calls", 3, "20ms"},
    {"nobody_signals", 3, "20ms"},
    {"credentials", 1, "20ms"},
    {"fetched_signals", 3, "20ms"},
    // calm_storms.cc
    {"realloc_storm", 2},
    {"hand_off", 2},
    {"list_storm", 2},
    {"thread_storm", 2},
    {"library_storm", 2},
    // calm_hand_offs.cc
    {"through_ring", 1, "10ms"},
    {"through_queue", 1, "10ms"},
    {"through_pipe", 1, "10ms"},
    {"through_socket", 1, "10ms"},
    {"through_results", 1, "10ms"},
    {"through_arguments", 1, "10ms"},
    // calm_shared.cc
    {"shared_vectors", 1, "10ms"},
    {"signals_in_hooks", 1, "10ms"},
    {"forks_with_data", 1, "10ms"},
    {"library_threads", 1, "10ms"},
    {"thread_ends", 1, "10ms"},
};

void PrintTo(const CalmCase &calm, std::ostream *out) { *out << calm.name << " " << calm.stop; }

std::vector<CalmCase> both_ways() {
  std::vector<CalmCase> all;
  for (CalmCase each : kCases)
    for (const char *stop : {"ptrace", "signal"}) each.stop = stop, all.push_back(each);
  return all;
}

void expect_no_false_reports(const Target &target, const CalmCase &calm) {
  for (const std::string &path : target.profiles()) {
    Profile profile(path);
    expect_stopped_by(profile, calm.stop);
    expect_nothing_leaked(profile);
    expect_nothing_refuted(profile);
  }
}

// False: a busy machine has left time for too few safepoints.
bool expect_same_with_and_without(const CalmCase &calm, const char *milliseconds) {
  std::vector<std::string> command = {program("calm"), calm.name, milliseconds};
  Process plain({command});
  // Names cost time that these programs do not have.
  Target target(
      command,
      {.interval = calm.interval, .more = {"CASTAWAY_SYMBOLIZE=off", "CASTAWAY_KEEP=1000"}, .stop = calm.stop});
  Ended without = plain.finish(), with = target.process().finish();
  EXPECT_EQ(with.how, without.how) << with.errors;
  EXPECT_EQ(with.output, without.output) << with.errors;
  expect_no_false_reports(target, calm);
  return target.safepoints() >= calm.safepoints;
}

// As long as it takes; those that end by themselves get another chance.
void expect_same_with_and_without(const CalmCase &calm) {
  for (const char *milliseconds : {"2000", "8000", "24000"})
    if (expect_same_with_and_without(calm, milliseconds) || testing::Test::HasFailure()) return;
  ADD_FAILURE() << "less than " << calm.safepoints << " safepoints";
}

class Calm : public testing::TestWithParam<CalmCase> {};
TEST_P(Calm, SameWithAndWithout) { expect_same_with_and_without(GetParam()); }
INSTANTIATE_TEST_SUITE_P(, Calm, testing::ValuesIn(both_ways()), [](const auto &each) {
  return std::string(each.param.name) + (std::string_view(each.param.stop) == "signal" ? "_by_signal" : "");
});

// Stops in quick succession: no call ever shows one.
class CalmStorm : public testing::TestWithParam<const char *> {};
TEST_P(CalmStorm, StopsBySignalEvery20Milliseconds) {
  expect_same_with_and_without({GetParam(), 10, "20ms", "signal"});
}
INSTANTIATE_TEST_SUITE_P(, CalmStorm, testing::Values("short_waits", "endless_waits", "nobodys_waits"),
                         [](const auto &each) { return std::string(each.param); });

// What the program closes is closed, though a snapshot holds the memory of that time for long.
class SlowSnapshots : public testing::TestWithParam<const char *> {};
TEST_P(SlowSnapshots, KeepNoDescriptorOpen) {
  Target target({program("calm"), "end_of_stream", "6000"},
                {.interval = "100ms", .more = {"CASTAWAY_SYMBOLIZE=off", "CASTAWAY_FAULT=slow"}, .stop = GetParam()});
  Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(ended.output, "end_of_stream done\n");
  EXPECT_TRUE(eventually([&] { return target.safepoints() >= 1; }));
  EXPECT_LE(target.safepoints(), 4) << "each lasts for more than 1.5 s";
}
INSTANTIATE_TEST_SUITE_P(, SlowSnapshots, testing::Values("ptrace", "signal"),
                         [](const auto &each) { return std::string(each.param); });

// The program becomes another one while it is being stopped, again and again.
class ExecStorm : public testing::TestWithParam<const char *> {};
TEST_P(ExecStorm, StopsEvery10Milliseconds) {
  for (int i = 0; i < 8; ++i) {
    Target target({program("calm"), "exec_itself", "0"},
                  {.interval = "10ms", .more = {"CASTAWAY_SYMBOLIZE=off"}, .stop = GetParam()});
    Ended ended = target.process().finish();
    EXPECT_EQ(ended.how, "exit 0") << ended.errors;
    EXPECT_EQ(ended.output, "exec_itself done\n");
  }
}
INSTANTIATE_TEST_SUITE_P(, ExecStorm, testing::Values("ptrace", "signal"),
                         [](const auto &each) { return std::string(each.param); });

// The known limit of stops by signal: where neither code nor /proc tell which call a handler has interrupted, it cannot
// be made again. Everything else is as ever.
TEST(CalmLimit, UnnamedCallOfNobodys) {
  Target target({program("calm"), "nobodys_unnamed_waits"},
                {.interval = "20ms", .more = {"CASTAWAY_SYMBOLIZE=off"}, .stop = "signal"});
  Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, "exit 0") << ended.errors;
  EXPECT_EQ(ended.output, "futex by number: Interrupted system call instead of a timeout\n"
                          "nobodys_unnamed_waits done\n");
}

// About time, so it runs alone (tests/CMakeLists.txt).
TEST(CalmTiming, LongWaitsEndInTime) { expect_same_with_and_without({"long_waits", 10, "100ms"}); }
TEST(CalmTiming, LongWaitsEndInTimeBySignal) { expect_same_with_and_without({"long_waits", 10, "100ms", "signal"}); }

} // namespace
} // namespace e2e
