// Claims that other tools' suites make of themselves, made of castaway: docs/claims.md has the table.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

long leaked(const Profile &profile, const char *how) { return profile.totals_of("", {{"leak", how}}).objects; }

// Valgrind's nine: which of AAA and BBB is lost, and how. A pointer into the middle counts as one to the start.
struct Chain {
  int number;
  long direct, indirect;
};
class Chains : public testing::TestWithParam<Chain> {};

TEST_P(Chains, AreToldApart) {
  Target target({program("blocks"), "chain_" + std::to_string(GetParam().number)});
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(leaked(profile, "direct"), GetParam().direct);
  EXPECT_EQ(leaked(profile, "indirect"), GetParam().indirect);
  EXPECT_EQ(profile.totals().bytes, 100 * (GetParam().direct + GetParam().indirect));
  target.expect_clean_end();
}
INSTANTIATE_TEST_SUITE_P(, Chains,
                         testing::Values(Chain{1, 0, 0}, Chain{2, 0, 0}, Chain{3, 1, 0}, Chain{4, 1, 1}, Chain{5, 0, 0},
                                         Chain{6, 0, 0}, Chain{7, 0, 0}, Chain{8, 0, 0}, Chain{9, 1, 1}),
                         [](const auto &each) { return std::to_string(each.param.number); });

// One of these is lost with all it holds, or held by a pointer that leads to no block's start.
struct Shape {
  const char *name;
  long direct;
};
class Shapes : public testing::TestWithParam<Shape> {};

TEST_P(Shapes, LostHeldAndFreed) {
  for (const char *mode : {"leak", "held", "fixed"}) {
    Target target({program("blocks"), GetParam().name, mode});
    target.await_ready();
    Profile profile = target.snap();
    SCOPED_TRACE(profile.text());
    bool lost = std::string_view(mode) == "leak";
    EXPECT_EQ(profile.totals().objects, lost ? target.number("objects") : 0);
    EXPECT_EQ(profile.totals().bytes, lost ? target.number("bytes") : 0);
    EXPECT_EQ(leaked(profile, "direct"), lost ? GetParam().direct : 0);
    target.expect_clean_end();
  }
}
INSTANTIATE_TEST_SUITE_P(, Shapes,
                         testing::Values(Shape{"itself", 1}, Shape{"array", 1}, Shape{"empty_array", 1},
                                         Shape{"second_base", 1}, Shape{"empty", 1}),
                         [](const auto &each) { return std::string(each.param.name); });

// jemalloc linked into the executable cannot be seen. The program does as ever, and one line says so.
TEST(StaticJemalloc, IsLeftAloneAndSaid) {
  for (const char *name : {"realloc_storm", "exceptions", "jumps", "spawn", "thread_ends", "exit"}) {
    std::vector<std::string> command = {program("calm_jemalloc_static"), name, "700"};
    Process plain({command});
    // Not what it spawns, which may live for longer than that.
    Target target(command, {.interval = "50ms", .more = {"CASTAWAY_FOLLOW=none"}});
    Ended without = plain.finish(), with = target.process().finish();
    EXPECT_EQ(with.how, without.how) << name;
    EXPECT_EQ(with.output, without.output) << name;
    EXPECT_NE(with.errors.find("allocator of its own that cannot be seen"), std::string::npos) << with.errors;
    EXPECT_EQ(target.safepoints(), 0) << name;
  }
}

} // namespace
} // namespace e2e
