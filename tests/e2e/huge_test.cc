// A program's huge pages outlive safepoints, though each breaks up those that are written to meanwhile.
#include "target.h"

#include <gtest/gtest.h>
#include <sstream>

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

bool are_switched_off() {
  return text_of("/sys/kernel/mm/transparent_hugepage/enabled").find("[never]") != std::string::npos;
}

class HugePages : public testing::TestWithParam<const char *> {};
INSTANTIATE_TEST_SUITE_P(, HugePages, testing::Values("ptrace", "signal"), [](const auto &each) { return each.param; });

// khugepaged would need half a minute for it.
TEST_P(HugePages, AreWholeAgainAfterEachSafepoint) {
  if (are_switched_off()) GTEST_SKIP() << "this kernel gives nobody huge pages";
  Target target({program("huge")}, {.interval = "500ms", .stop = GetParam()});
  target.await_ready();
  const pid_t pid = target.process().pid();
  for (int i = 0; i < 4; ++i) {
    next(target);
    EXPECT_TRUE(eventually([&] { return huge_pages(pid) >= kMiB; }, Seconds(2))) << huge_pages(pid);
  }
  expect_nothing_leaked(target.newest());
  target.expect_clean_end();
}

TEST(HugePagesBehindAFilter, StayBrokenAndNothingElseHappens) {
  if (are_switched_off()) GTEST_SKIP() << "this kernel gives nobody huge pages";
  Target target({program("huge"), "filtered"}, {.interval = "300ms"});
  target.await_ready();
  for (int i = 0; i < 3; ++i) next(target);
  EXPECT_EQ(huge_pages(target.process().pid()), 0);
  EXPECT_EQ(target.process().errors(), "");
  target.expect_clean_end();
}

} // namespace
} // namespace e2e
