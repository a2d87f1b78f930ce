// Safepoints that are spared because the process has not run since the last one, or was forked and has hardly run:
// three in a row at most, and none that could find something else.
#include "target.h"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <string>
#include <time.h>

namespace e2e {
namespace {

// The profiles of the process that waits, oldest first.
std::vector<std::string> profiles(const Target &target) {
  std::vector<std::string> all = target.profiles();
  const std::string pid = "." + std::to_string(target.number("pid")) + ".";
  std::erase_if(all, [&](const std::string &path) { return path.find(pid) == path.npos; });
  return all;
}

// Of the safepoint with this number, which has to be there; its file comes before the newest one's link points to it.
Profile profile(const Target &target, int number) {
  return Profile(profiles(target).at(static_cast<size_t>(number) - 1));
}

// Of the safepoint with this number, in ms; waits for it.
double time_of(Target &target, int number) {
  EXPECT_TRUE(eventually([&] { return profiles(target).size() >= static_cast<size_t>(number); }))
      << target.process().errors();
  return static_cast<double>(profile(target, number).data().time_nanos) / 1e6;
}

// Between safepoints `first` and `last`, from one to the next.
std::vector<double> gaps(Target &target, int first, int last) {
  std::vector<double> found;
  for (int i = first; i < last; ++i) found.push_back(time_of(target, i + 1) - time_of(target, i));
  return found;
}

double now_ms() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

long objects(const Target &target, int number) { return profile(target, number).totals().objects; }

class Waits : public testing::TestWithParam<const char *> {};
// poll and select have the kernel write to the program's memory whenever a stop interrupts them.
TEST_P(Waits, ThreeInARowAreSpared) {
  Target target({program("idle"), GetParam()}, {.interval = "500ms"});
  target.await_ready();
  std::vector<double> found = gaps(target, 2, 4); // 2 s each
  EXPECT_GT(*std::min_element(found.begin(), found.end()), 1600);
  EXPECT_LT(*std::min_element(found.begin(), found.end()), 2400);
  expect_nothing_leaked(target.newest());
  target.expect_clean_end();
}
INSTANTIATE_TEST_SUITE_P(, Waits, testing::Values("read", "poll", "select"),
                         [](const auto &each) { return each.param; });

struct Case {
  const char *name, *mode, *stop;
};
void PrintTo(const Case &each, std::ostream *out) { *out << each.name; }
class NotIdle : public testing::TestWithParam<Case> {};
// It runs now and then; or may, as another thread could; or nobody can tell.
TEST_P(NotIdle, NoneIsSpared) {
  Target target({program("idle"), GetParam().mode}, {.interval = "300ms", .stop = GetParam().stop});
  target.await_ready();
  std::vector<double> found = gaps(target, 2, 7);
  EXPECT_LT(*std::min_element(found.begin(), found.end()), 600);
  expect_nothing_leaked(target.newest());
  target.expect_clean_end();
}
INSTANTIATE_TEST_SUITE_P(, NotIdle,
                         testing::Values(Case{"ticks", "ticks", ""}, Case{"thread", "thread", ""},
                                         Case{"stopped_by_signal", "read", "signal"}),
                         [](const auto &each) { return std::string(each.param.name); });

// A handler that writes one word is enough; and what it lost is confirmed although nothing runs from then on.
TEST(Idle, TheLeastThatRunsIsNoticed) {
  Target target({program("idle")}, {.interval = "1s"});
  target.await_ready();
  time_of(target, 2);
  target.process().signal(SIGUSR1);
  const double lost = now_ms();
  EXPECT_LT(time_of(target, 3) - lost, 1800);
  EXPECT_LT(time_of(target, 4) - time_of(target, 3), 1800);
  EXPECT_EQ(objects(target, 2), 0);
  EXPECT_EQ(objects(target, 3), 0); // not confirmed yet
  EXPECT_EQ(objects(target, 4), 1);
  EXPECT_EQ(profile(target, 4).totals().bytes, 1000);
  expect_nothing_refuted(profile(target, 4));
}

// ---- processes that were forked

Target forked(const char *mode, const char *interval) {
  return Target({program("idle"), mode, "forked"}, {.interval = interval});
}

// It wakes up five times in a second.
TEST(Forked, WhoHardlyRunsIsSparedThreeInARow) {
  Target target = forked("wakes", "500ms");
  target.await_ready();
  std::vector<double> found = gaps(target, 2, 4); // 2 s each
  EXPECT_GT(*std::min_element(found.begin(), found.end()), 1600);
  EXPECT_LT(*std::min_element(found.begin(), found.end()), 2400);
  expect_nothing_leaked(profile(target, 4));
  target.expect_clean_end();
}

TEST(Forked, WhoWorksIsNotSpared) {
  Target target = forked("works", "300ms");
  target.await_ready();
  std::vector<double> found = gaps(target, 2, 7);
  EXPECT_LT(*std::min_element(found.begin(), found.end()), 600);
  target.expect_clean_end();
}

class ForkedLoses : public testing::TestWithParam<const char *> {};
TEST_P(ForkedLoses, ConfirmedWithoutDelay) {
  Target target = forked(GetParam(), "1s");
  target.await_ready();
  time_of(target, 2);
  target.process().signal(SIGUSR1);
  EXPECT_LT(time_of(target, 4) - time_of(target, 3), 1800);
  const bool waits = GetParam() == std::string_view("waits");
  const castaway::LeakTotals before = profile(target, 3).totals(), after = profile(target, 4).totals();
  EXPECT_EQ(before.objects + before.threads, 0); // not confirmed yet
  EXPECT_EQ(after.threads, waits ? 1 : 0);
  EXPECT_EQ(after.objects, waits ? 0 : 1);
  expect_nothing_refuted(profile(target, 4));
}
INSTANTIATE_TEST_SUITE_P(, ForkedLoses, testing::Values("wakes", "waits"), [](const auto &each) { return each.param; });

// With nothing new to be found, a profile is made for who asks.
TEST(Idle, OnDemandThereIsAlwaysOne) {
  Target target({program("idle")}, {.interval = "1s"});
  target.await_ready();
  time_of(target, 1);
  EXPECT_NE(target.snap().path(), target.snap().path());
}

} // namespace
} // namespace e2e
