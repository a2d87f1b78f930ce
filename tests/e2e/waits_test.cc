// Threads that wait for ever: each kind of wait is found with its label, reason, function and retained bytes, and its
// twins, which a root reaches or which are woken, are not.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

struct Waiters {
  const char *frame; // a function on the stack
  const char *wait;  // labels
  const char *reason;
  int count;
};

struct WaitCase {
  const char *name;
  std::vector<Waiters> waiters;
  bool can_be_held = true; // else the owner decides, not the memory
};

// The program says which bytes it gave to the leaked threads alone: those are retained, to the byte.
const WaitCase kCases[] = {
    {"cond", {{"DroppedCond::wait", "cond", "unreachable", 1}}},
    {"pthread_cond", {{"DroppedPthreadCond::wait", "cond", "unreachable", 1}}},
    {"sem", {{"DroppedSem::wait", "sem", "unreachable", 1}}},
    {"rwlock_read", {{"DroppedRwlock::wait", "rwlock", "unreachable", 1}}},
    {"rwlock_write", {{"DroppedRwlockWriter::wait", "rwlock", "unreachable", 1}}},
    {"barrier", {{"DroppedBarrier::wait", "barrier", "unreachable", 1}}},
    {"latch", {{"DroppedLatch::wait", "barrier", "unreachable", 1}}},
    {"atomic_wait", {{"DroppedAtomic::wait", "futex", "unreachable", 1}}},
    {"futex", {{"DroppedFutex::wait", "futex", "unreachable", 1}}},
    {"futex_waitv", {{"DroppedFutexWaitv::wait", "futex", "unreachable", 1}}},
    {"far_timeout_cond", {{"FarTimeoutCond::wait", "cond", "unreachable", 1}}},
    {"far_timeout_sem", {{"FarTimeoutSem::wait", "sem", "unreachable", 1}}},
    {"self_deadlock", {{"lock_next", "mutex", "deadlock", 1}}, false},
    {"abba", {{"lock_next", "mutex", "deadlock", 2}}, false},
    {"three_cycle", {{"lock_next", "mutex", "deadlock", 3}}, false},
    {"abandoned", {{"want_abandoned", "mutex", "abandoned", 2}}, false},
    {"abandoned_recursive", {{"want_abandoned", "mutex", "abandoned", 2}}, false},
    {"abandoned_errorcheck", {{"want_abandoned", "mutex", "abandoned", 2}}, false},
    {"abandoned_heap", {{"want_abandoned", "mutex", "abandoned", 2}}, false},
    {"join_chain", {{"DroppedSem::wait", "sem", "unreachable", 1}, {"join_thread", "join", "behind", 2}}},
    {"join_leaked", {{"DroppedSem::wait", "sem", "unreachable", 1}, {"join_thread", "join", "behind", 1}}},
    {"mutex_of_leaked", {{"lock_and_wait_sem", "sem", "unreachable", 1}, {"want_global_mutex", "mutex", "behind", 1}}},
    {"only_pointer", {{"hold_and_wait", "sem", "unreachable", 1}, {"DroppedSem::wait", "sem", "unreachable", 2}}},
    {"crossed_stacks", {{"wait_on_other_stack", "sem", "unreachable", 2}}},
    {"stuck_once", {{"initialize_once", "sem", "unreachable", 1}, {"initialize_once", "once", "unreachable", 1}}},
    {"thousand", {{"DroppedSem::wait", "sem", "unreachable", 1000}}},
    {"own_stack_mmap", {{"DroppedSem::wait", "sem", "unreachable", 1}}},
    {"own_stack_malloc", {{"DroppedSem::wait", "sem", "unreachable", 1}}},
    {"alternate_stack", {{"DroppedSem::wait", "sem", "unreachable", 1}}},
    {"retained_list", {{"wait_with_list", "sem", "unreachable", 1}}},
};

struct Named {
  const char *program; // the same sources at -O0 and -O2
  WaitCase wait;
  const char *stop = "ptrace"; // how threads are stopped must make no difference
};

std::vector<Named> every_case() {
  std::vector<Named> all;
  for (const char *program : {"waits", "waits_O0"})
    for (const WaitCase &each : kCases) all.push_back({program, each});
  for (const WaitCase &each : kCases) all.push_back({"waits", each, "signal"});
  return all;
}

void PrintTo(const Named &named, std::ostream *out) {
  *out << named.program << " " << named.wait.name << " " << named.stop;
}

// Threads that some entry of the table counts; a group whose frames fit two entries is counted once.
int expected_threads(const WaitCase &wait) {
  if (std::string_view(wait.name) == "only_pointer") return 2;
  int sum = 0;
  for (const Waiters &waiters : wait.waiters) sum += waiters.count;
  return sum;
}

class Waits : public testing::TestWithParam<Named> {
protected:
  Profile snap_in_mode(const char *mode) {
    Target target({program(GetParam().program), GetParam().wait.name, mode}, {.stop = GetParam().stop});
    target.await_ready();
    Profile profile = target.snap();
    expect_stopped_by(profile, GetParam().stop);
    bytes_ = target.number("bytes");
    target.expect_clean_end();
    return profile;
  }
  long bytes_ = 0;
};

TEST_P(Waits, LeakedAreFound) {
  const WaitCase &wait = GetParam().wait;
  Profile profile = snap_in_mode("leak");
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(profile.totals().threads, expected_threads(wait));
  for (const Waiters &waiters : wait.waiters) {
    auto found = profile.totals_of(waiters.frame, {{"wait", waiters.wait}, {"reason", waiters.reason}});
    EXPECT_EQ(found.threads, waiters.count) << waiters.frame << " " << waiters.wait << " " << waiters.reason;
  }
  EXPECT_EQ(profile.totals().retained_bytes, bytes_);
  EXPECT_EQ(profile.totals().objects, 0);
}

TEST_P(Waits, FixedAreGone) { expect_nothing_leaked(snap_in_mode("fixed")); }

using HeldWaits = Waits;

TEST_P(HeldWaits, AreLive) { expect_nothing_leaked(snap_in_mode("held")); }

std::vector<Named> cases_that_can_be_held() {
  std::vector<Named> all = every_case();
  std::erase_if(all, [](const Named &each) { return !each.wait.can_be_held; });
  return all;
}

std::string test_name(const testing::TestParamInfo<Named> &each) {
  return std::string(each.param.wait.name) + (std::string_view(each.param.program) == "waits" ? "_O2" : "_O0") +
         (std::string_view(each.param.stop) == "signal" ? "_by_signal" : "");
}
INSTANTIATE_TEST_SUITE_P(, Waits, testing::ValuesIn(every_case()), test_name);
INSTANTIATE_TEST_SUITE_P(, HeldWaits, testing::ValuesIn(cases_that_can_be_held()), test_name);

TEST(WaitLabels, ThousandEqualStacksAreOneGroup) {
  Target target({program("waits"), "thousand"});
  target.await_ready();
  Profile profile = target.snap();
  ASSERT_EQ(profile.groups().size(), 1u) << profile.text();
  EXPECT_EQ(profile.groups()[0].totals.threads, 1000);
}

TEST(WaitLabels, OneThreadHasItsNameTidAndCreator) {
  Target target({program("waits"), "sem"});
  target.await_ready();
  Profile profile = target.snap();
  ASSERT_EQ(profile.groups().size(), 1u) << profile.text();
  const Group &group = profile.groups()[0];
  EXPECT_EQ(group.label("kind"), "thread");
  EXPECT_EQ(group.label("state"), "unconfirmed");
  EXPECT_EQ(group.label("thread"), "waits");
  EXPECT_NE(group.label("created_by").find("launch_thread"), std::string::npos) << group.label("created_by");
  pid_t tid = std::stoi(group.label("tid"));
  EXPECT_TRUE(
      std::filesystem::exists("/proc/" + std::to_string(target.process().pid()) + "/task/" + std::to_string(tid)));
}

} // namespace
} // namespace e2e
