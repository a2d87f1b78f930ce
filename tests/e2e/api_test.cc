// The C API and LeakSanitizer's interface: what programs declare counts, and without libcastaway.so nothing happens.
#include "target.h"

#include <gtest/gtest.h>
#include <regex>
#include <set>
#include <sstream>

namespace e2e {
namespace {

// Covered where the call is made, and found where it is not. `others`: blocks that are lost in any case.
struct Declared {
  const char *name;
  int objects, bytes;
  int others = 0, other_bytes = 0;
};
void PrintTo(const Declared &declared, std::ostream *out) { *out << declared.name; }

class Declaration : public testing::TestWithParam<Declared> {};

TEST_P(Declaration, Covers) {
  Target target({program("api"), GetParam().name, "held"}, {.sample_bytes = "524288"});
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(profile.totals().objects, GetParam().others);
  EXPECT_EQ(profile.totals().bytes, GetParam().other_bytes);
  EXPECT_EQ(profile.totals().threads, 0);
  target.expect_clean_end();
}

TEST_P(Declaration, IsMissed) {
  Target target({program("api"), GetParam().name, "leak"}, {.sample_bytes = "524288"});
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(profile.totals().objects, GetParam().objects + GetParam().others);
  EXPECT_EQ(profile.totals().bytes, GetParam().bytes + GetParam().other_bytes);
  target.expect_clean_end();
}

constexpr int kPair = 1237 + 321;
INSTANTIATE_TEST_SUITE_P(, Declaration,
                         testing::Values(Declared{"ignore", 2, kPair}, Declared{"ignore_inside", 2, kPair},
                                         Declared{"ignore_large_inside", 1, 1 << 20},
                                         Declared{"ignore_over_edge", 1, 70 << 20}, Declared{"lsan_ignore", 2, kPair},
                                         Declared{"root", 2, kPair, 1, 4000}, Declared{"lsan_root", 2, kPair, 1, 4000},
                                         Declared{"unroot", 2, kPair, 1, 4000}, Declared{"disable", 200, 100 * kPair},
                                         Declared{"lsan_disable", 200, 100 * kPair}),
                         [](const auto &each) { return std::string(each.param.name); });

TEST(Api, DisabledOnOneThreadOnly) {
  Target target({program("api"), "disabled_elsewhere"});
  target.await_ready();
  EXPECT_EQ(target.snap().totals().objects, 4);
  target.expect_clean_end();
}

class Snap : public testing::TestWithParam<const char *> {};
TEST_P(Snap, AndStats) {
  Target target({program(GetParam()), "snap"});
  target.await_ready();
  EXPECT_EQ(target.number("present"), 1);
  EXPECT_EQ(target.number("before"), 0);
  EXPECT_EQ(target.number("snap"), 1);
  EXPECT_EQ(target.number("known"), 1);
  EXPECT_EQ(target.number("safepoints"), 1);
  EXPECT_EQ(target.number("leaked_objects"), 2);
  EXPECT_EQ(target.number("leaked_bytes"), kPair);
  EXPECT_EQ(target.number("leaked_threads"), 0);
  EXPECT_EQ(target.number("refuted"), 0);
  EXPECT_EQ(target.number("pause"), 1);
  EXPECT_EQ(target.number("threads"), 2); // the one that asked, and main
  EXPECT_EQ(target.newest().totals().objects, 2);
  target.expect_clean_end();
}
INSTANTIATE_TEST_SUITE_P(, Snap, testing::Values("api", "api_O0"));

TEST(Api, WithoutTheRuntimeNothingHappens) {
  for (std::string name : {"snap", "ignore", "root", "disable", "disabled_elsewhere"}) {
    Ended ended = run({{program("api"), name, name == "disable" || name == "ignore" ? "held" : "leak"}});
    EXPECT_EQ(ended.how, "exit 0") << name << ended.errors;
    bool silent = ended.output.find("present 0\nbefore 0\nsnap 0\nknown 0\n") != std::string::npos;
    EXPECT_EQ(silent, name == "snap") << ended.output;
  }
}

TEST(Api, WhereProfilingIsOffNothingHappens) {
  Target target({program("api"), "snap"}, {.more = {"CASTAWAY_FOLLOW=other"}});
  target.await_ready();
  EXPECT_EQ(target.number("present"), 1);
  EXPECT_EQ(target.number("snap"), 0);
  EXPECT_EQ(target.number("known"), 0);
  target.expect_clean_end();
}

TEST(Api, RecoverableLeakCheck) {
  for (auto [mode, leaks] : {std::pair("leak", 1), std::pair("fixed", 0)}) {
    Target target({program("api"), "leak_check", mode});
    target.await_ready();
    EXPECT_EQ(target.number("leaks"), leaks);
    target.expect_clean_end();
  }
}

TEST(Api, CallbackInsideSnapOnceForTheSameLeaks) {
  Target target({program("api"), "callback_of_snap"});
  target.await_ready();
  EXPECT_EQ(target.number("calls"), 1);
  EXPECT_EQ(target.number("leaked_objects"), 2);
  target.expect_clean_end();
  Target fixed({program("api"), "callback_of_snap", "fixed"});
  fixed.await_ready();
  EXPECT_EQ(fixed.number("calls"), 0);
  fixed.expect_clean_end();
}

TEST(Api, CallbackOnAThreadOfItsOwn) {
  Target target({program("api"), "callback_of_clock"}, {.interval = "100ms"});
  target.await_ready();
  EXPECT_EQ(target.process().read_until("CALLED"), "leaked_objects 2\nown_thread 1\n");
  int before = target.safepoints();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= before + 3; }));
  Profile profile = target.newest();
  EXPECT_EQ(profile.totals().threads, 0) << profile.text();
  EXPECT_EQ(profile.totals().objects, 2) << profile.text();
  target.expect_clean_end(); // and said nothing more
}

// In C, and not position-independent.
TEST(Api, Example) {
  std::string example = program("../../examples/example_annotations");
  Ended without = run({{example}});
  EXPECT_EQ(without.how, "exit 0") << without.errors;
  EXPECT_EQ(without.output, "health: not known, castaway is not here\n");
  Target target({example});
  Ended with = target.process().finish();
  EXPECT_EQ(with.how, "exit 0") << with.errors;
  // One or two of the eleven may still be in a register or on the stack.
  std::regex expected(R"(leak: (9|10|11) blocks\nhealth: 0 leaked threads, (9|10|11)000 leaked bytes\n)");
  EXPECT_TRUE(std::regex_match(with.output, expected)) << with.output;
}

// All that is exported, and nothing else.
TEST(Api, ExportedSymbols) {
  Ended listed = run({{"nm", "-D", "--defined-only", "--format=posix", runtime_library()}});
  ASSERT_EQ(listed.how, "exit 0") << listed.errors;
  std::set<std::string> names;
  std::istringstream lines(listed.output);
  for (std::string line; std::getline(lines, line);) names.insert(line.substr(0, line.find(' ')));
  for (const char *name : {"castaway_snap", "castaway_stats", "castaway_on_leak", "castaway_ignore", "castaway_root",
                           "castaway_unroot", "castaway_disable", "castaway_enable", "__lsan_ignore_object",
                           "__lsan_disable", "__lsan_enable", "__lsan_register_root_region",
                           "__lsan_unregister_root_region", "__lsan_do_leak_check", "__lsan_do_recoverable_leak_check"})
    EXPECT_EQ(names.erase(name), 1u) << name;
  for (const std::string &name : names) // the hooks
    EXPECT_TRUE(name.find("castaway") == name.npos && name.find("lsan") == name.npos) << name;
}

} // namespace
} // namespace e2e
