// Programs that end normally without exit handlers, as shells do: --at-exit and `check` work for them too.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

struct End {
  const char *how;
  int profiles; // 0: nothing can be done
};
void PrintTo(const End &end, std::ostream *out) { *out << end.how; }

class EndOf : public testing::TestWithParam<End> {};

TEST_P(EndOf, LastSafepoint) {
  for (std::string mode : {"leak", "held"}) {
    Target target({program("hostile"), "end", GetParam().how, mode}, {.more = {"CASTAWAY_AT_EXIT=1"}});
    Ended ended = target.process().finish();
    EXPECT_EQ(ended.how, "exit 7") << ended.errors;
    ASSERT_EQ(target.profiles().size(), static_cast<size_t>(GetParam().profiles)) << ended.errors;
    if (GetParam().profiles == 0) continue;
    Profile profile = target.newest();
    EXPECT_EQ(profile.totals().objects, mode == "leak" ? 1 : 0) << profile.text();
    EXPECT_EQ(profile.totals().bytes, mode == "leak" ? 1001 : 0) << profile.text();
  }
}

TEST_P(EndOf, NothingIsDoneUnasked) {
  Target target({program("hostile"), "end", GetParam().how, "leak"});
  EXPECT_EQ(target.process().finish().how, "exit 7");
  EXPECT_EQ(target.safepoints(), 0);
}

INSTANTIATE_TEST_SUITE_P(, EndOf,
                         testing::Values(End{"_exit", 1}, End{"_Exit", 1}, End{"quick_exit", 1}, End{"on_thread", 1},
                                         End{"in_handler", 1}, End{"after_children", 1}, End{"raw", 0}),
                         [](const auto &each) { return std::string(each.param.how); });

TEST(CheckOfAnEnd, WithoutExitHandlers) {
  struct {
    const char *mode, *how;
  } cases[] = {{"leak", "exit 23"}, {"held", "exit 7"}};
  for (auto [mode, how] : cases)
    EXPECT_EQ(run({{castaway(), "check", "--", program("hostile"), "end", "_exit", mode}}).how, how);
}

// dash ends by _exit.
TEST(CheckOfAnEnd, AShellScript) {
  if (installed("dash").empty()) GTEST_SKIP() << "no dash";
  Ended ended = run({{castaway(), "check", "--", "dash", "-c", "(true); echo fine; exit 5"}});
  EXPECT_EQ(ended.how, "exit 5") << ended.errors;
  EXPECT_EQ(ended.output, "fine\n");
  EXPECT_NE(ended.errors.find("nothing leaked in 1 process"), std::string::npos) << ended.errors;
}

} // namespace
} // namespace e2e
