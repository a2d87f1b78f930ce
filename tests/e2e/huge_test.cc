// A program's huge pages outlive safepoints, though each breaks up those that are written to meanwhile.
#include "target.h"

#include <csignal>
#include <cstdio>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/utsname.h>
#include <utility>

namespace e2e {
namespace {

constexpr long kMiB = 64; // of huge pages that the program has

// Of a process, in MiB.
long huge_pages(pid_t pid) {
  std::istringstream lines(text_of("/proc/" + std::to_string(pid) + "/smaps_rollup"));
  std::string word;
  while (lines >> word)
    if (long kib = 0; word == "AnonHugePages:" && lines >> kib) return kib >> 10;
  return -1;
}

// Whether the kernel tells which pages are huge: Linux 6.7.
bool are_told() {
  utsname name{};
  uname(&name);
  int major = 0, minor = 0;
  return std::sscanf(name.release, "%d.%d", &major, &minor) == 2 && std::pair(major, minor) >= std::pair(6, 7);
}

class HugePages : public testing::TestWithParam<const char *> {};
INSTANTIATE_TEST_SUITE_P(, HugePages, testing::Values("ptrace", "signal"), [](const auto &each) { return each.param; });

// khugepaged would need half a minute for it. What could not be mended after one safepoint is after the next.
TEST_P(HugePages, AreWholeAgainAfterSafepoints) {
  Target target({program("huge")}, {.interval = "500ms", .stop = GetParam()});
  target.await_ready();
  const pid_t pid = target.process().pid();
  if (!are_told() || huge_pages(pid) < kMiB) GTEST_SKIP() << "this kernel gives nobody huge pages, or tells nobody";
  int whole = 0;
  for (int i = 0; i < 6; ++i) {
    next(target);
    whole += eventually([&] { return huge_pages(pid) >= kMiB; }, Seconds(0.3));
  }
  EXPECT_GE(whole, 4);
  expect_nothing_leaked(target.newest());
  target.expect_clean_end();
}

// What a child shares with the program is not copied for the sake of huge pages.
TEST(HugePagesOfAFork, StayShared) {
  Target target({program("huge"), "shared"}, {.interval = "500ms"});
  target.await_ready();
  const pid_t pid = target.process().pid();
  if (!are_told() || huge_pages(pid) < kMiB) GTEST_SKIP() << "this kernel gives nobody huge pages, or tells nobody";
  for (int i = 0; i < 2; ++i) next(target);
  target.process().signal(SIGUSR1);
  for (int i = 0; i < 3; ++i) next(target);
  EXPECT_LT(huge_pages(pid), kMiB / 2);
  target.process().finish(); // the child goes last
}

TEST(HugePagesBehindAFilter, StayBrokenAndNothingElseHappens) {
  Target target({program("huge"), "filtered"}, {.interval = "300ms"});
  target.await_ready();
  const pid_t pid = target.process().pid();
  if (huge_pages(pid) < kMiB) GTEST_SKIP() << "this kernel gives nobody huge pages";
  for (int i = 0; i < 3; ++i) next(target);
  EXPECT_LT(huge_pages(pid), kMiB);
  EXPECT_EQ(target.process().errors(), "");
  target.expect_clean_end();
}

} // namespace
} // namespace e2e
