// Leaked memory: counts and bytes are exact, stacks name who allocated, direct and indirect are told apart.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

struct BlockCase {
  const char *name;
  const char *frame;
  int direct; // blocks; the rest is indirect. -1: any number, but not none
  bool can_be_held = true;
};

const BlockCase kCases[] = {
    {"direct", "single", 3},
    {"chain", "lose_node", 1},
    {"long_chain", "lose_node", 1},
    {"tree", "lose_node", 1},
    {"ring", "lose_node", -1},
    {"many", "single", 10'000},
    {"large", "single", 1},
    {"tiny", "single", 5},
    {"grown", "lose_by_growing", 1},
    {"every_function", "every_function", 18},
    {"page_function", "by_pvalloc", 1},
    {"closed_library", "lose_in_plugin", 4, false},
};

struct Named {
  const char *program;
  BlockCase blocks;
};

std::vector<Named> every_case() {
  std::vector<Named> all;
  for (const char *program : {"blocks", "blocks_O0"})
    for (const BlockCase &each : kCases) all.push_back({program, each});
  return all;
}

void PrintTo(const Named &named, std::ostream *out) { *out << named.program << " " << named.blocks.name; }

class Blocks : public testing::TestWithParam<Named> {};

TEST_P(Blocks, LeakedAreFound) {
  const BlockCase &blocks = GetParam().blocks;
  Target target({program(GetParam().program), blocks.name});
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text().substr(0, 20'000));
  long objects = target.number("objects"), bytes = target.number("bytes");
  EXPECT_EQ(profile.totals().objects, objects);
  EXPECT_EQ(profile.totals().bytes, bytes);
  EXPECT_EQ(profile.totals_of(blocks.frame, {{"kind", "memory"}}).bytes, bytes);
  long direct = profile.totals_of("", {{"leak", "direct"}}).objects;
  long indirect = profile.totals_of("", {{"leak", "indirect"}}).objects;
  EXPECT_EQ(direct + indirect, objects);
  if (blocks.direct < 0)
    EXPECT_GT(direct, 0);
  else
    EXPECT_EQ(direct, blocks.direct);
  EXPECT_EQ(profile.totals().threads, 0);
  target.expect_clean_end();
}

TEST_P(Blocks, FreedAreGone) {
  Target target({program(GetParam().program), GetParam().blocks.name, "fixed"});
  target.await_ready();
  expect_nothing_leaked(target.snap());
}

using HeldBlocks = Blocks;

TEST_P(HeldBlocks, AreLive) {
  Target target({program(GetParam().program), GetParam().blocks.name, "held"});
  target.await_ready();
  expect_nothing_leaked(target.snap());
}

std::vector<Named> cases_that_can_be_held() {
  std::vector<Named> all = every_case();
  std::erase_if(all, [](const Named &each) { return !each.blocks.can_be_held; });
  return all;
}

std::string test_name(const testing::TestParamInfo<Named> &each) {
  return std::string(each.param.blocks.name) + (std::string_view(each.param.program) == "blocks" ? "_O2" : "_O0");
}
INSTANTIATE_TEST_SUITE_P(, Blocks, testing::ValuesIn(every_case()), test_name);
INSTANTIATE_TEST_SUITE_P(, HeldBlocks, testing::ValuesIn(cases_that_can_be_held()), test_name);

TEST(BlockStacks, EveryAllocationFunctionIsNamed) {
  Target target({program("blocks"), "every_function"});
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text());
  for (const char *name :
       {"by_malloc", "by_calloc", "by_realloc_null", "by_realloc", "by_reallocarray", "by_memalign", "by_aligned_alloc",
        "by_posix_memalign", "by_valloc", "by_strdup", "by_strndup", "by_new", "by_new_array", "by_new_nothrow",
        "by_new_array_nothrow", "by_new_aligned", "by_new_array_aligned", "by_new_aligned_nothrow"})
    EXPECT_EQ(profile.totals_of(name).objects, 1) << name;
}

// At the default sampling rate the totals are exact all the same; what no sample covers has a name of its own.
TEST(BlockStacks, TotalsAreExactWithSampling) {
  for (const char *name : {"many", "long_chain", "direct"}) {
    Target target({program("blocks"), name}, {.sample_bytes = "524288"});
    target.await_ready();
    Profile profile = target.snap();
    SCOPED_TRACE(profile.text());
    EXPECT_EQ(profile.totals().objects, target.number("objects")) << name;
    EXPECT_EQ(profile.totals().bytes, target.number("bytes")) << name;
    auto named = profile.totals_of("support::take"), unnamed = profile.totals_of("[allocation not sampled]");
    EXPECT_EQ(named.bytes + unnamed.bytes, target.number("bytes")) << name;
  }
}

class ForkedChild : public testing::TestWithParam<const char *> {};

// A forked child that never calls exec is profiled under its own pid.
TEST_P(ForkedChild, HasProfilesOfItsOwn) {
  Target target({program("blocks"), "child", GetParam()});
  target.await_ready();
  pid_t child = static_cast<pid_t>(target.number("child"));
  Profile of_child = target.snap(child), of_parent = target.snap();
  bool leaks = std::string_view(GetParam()) == "leak";
  EXPECT_EQ(of_child.totals().objects, leaks ? 1 : 0) << of_child.text();
  EXPECT_EQ(of_child.totals_of("lose_in_child").bytes, leaks ? 555 : 0) << of_child.text();
  EXPECT_NE(of_child.path().find("." + std::to_string(child) + "."), std::string::npos) << of_child.path();
  expect_nothing_leaked(of_parent);
  target.expect_clean_end();
}

INSTANTIATE_TEST_SUITE_P(, ForkedChild, testing::Values("leak", "held", "fixed"),
                         [](const auto &each) { return std::string(each.param); });

} // namespace
} // namespace e2e
