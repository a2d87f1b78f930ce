// The same programs under LeakSanitizer and under castaway: the same totals, count and bytes, direct and indirect.
// Where they differ, the difference has a reason, and is asserted.
#include "target.h"

#include <gtest/gtest.h>
#include <regex>

namespace e2e {
namespace {

struct Totals {
  long direct = 0, direct_bytes = 0, indirect = 0, indirect_bytes = 0;
  bool operator==(const Totals &) const = default;
};
void PrintTo(const Totals &totals, std::ostream *out) {
  *out << totals.direct << " direct (" << totals.direct_bytes << " bytes), " << totals.indirect << " indirect ("
       << totals.indirect_bytes << " bytes)";
}

// What LeakSanitizer says when the program ends.
Totals by_lsan(const std::string &name, const std::string &which, const std::string &mode) {
  Ended ended = run({{program(name + "_lsan"), which, mode}, {"LSAN_OPTIONS="}});
  static const std::regex kLeak(R"((Direct|Indirect) leak of (\d+) byte\(s\) in (\d+) object\(s\))");
  Totals totals;
  for (std::sregex_iterator leak(ended.errors.begin(), ended.errors.end(), kLeak), end; leak != end; ++leak) {
    bool direct = (*leak)[1] == "Direct";
    (direct ? totals.direct : totals.indirect) += std::stol((*leak)[3]);
    (direct ? totals.direct_bytes : totals.indirect_bytes) += std::stol((*leak)[2]);
  }
  // Its own status for leaks: a run that found none by mistake, or could not look, is neither.
  EXPECT_EQ(ended.how, totals == Totals{} ? "exit 0" : "exit 23") << ended.errors;
  return totals;
}

Totals by_castaway(const std::string &name, const std::string &which, const std::string &mode) {
  Target target({program(name), which, mode});
  target.await_ready();
  Profile profile = target.snap();
  auto direct = profile.totals_of("", {{"leak", "direct"}}), indirect = profile.totals_of("", {{"leak", "indirect"}});
  return {direct.objects, direct.bytes, indirect.objects, indirect.bytes};
}

struct LsanCase {
  const char *program, *name;
  const char *differs = nullptr; // with `held`: LeakSanitizer says leaked what castaway knows to be reachable. Why
};
void PrintTo(const LsanCase &each, std::ostream *out) { *out << each.program << " " << each.name; }

constexpr const char *kMapped = "it takes mapped memory for a root only where it is told to";
constexpr const char *kKernel = "it does not ask the kernel what pointers it holds";
constexpr const char *kTagged = "it takes no tag off the top 16 bits";
constexpr const char *kAtExit = "it looks when static objects are destroyed, and what they held is lost then";

const LsanCase kCases[] = {
    {"blocks", "direct"},
    {"blocks", "chain"},
    {"blocks", "long_chain"},
    {"blocks", "tree"},
    {"blocks", "many"},
    {"blocks", "large"},
    {"blocks", "tiny"},
    {"blocks", "grown"},
    {"blocks", "every_function"},
    {"blocks", "page_function"},
    {"blocks", "closed_library"},
    {"roots", "global"},
    {"roots", "static_local"},
    {"roots", "plugin_bss"},
    {"roots", "putenv"},
    {"roots", "setenv"},
    {"roots", "initial_stack"},
    {"roots", "on_exit"},
    {"roots", "atexit"},
    {"roots", "stdio_buffer"},
    {"roots", "thread_stack"},
    {"roots", "thread_local"},
    {"roots", "plugin_thread_local"},
    {"roots", "early_key"},
    {"roots", "late_key"},
    {"roots", "under_handler"},
    {"roots", "alternate_stack", kKernel},
#if defined(__x86_64__)
    {"roots", "callee_saved_register"},
    {"roots", "caller_saved_register"},
    {"roots", "xmm_register"},
    {"roots", "register_in_call"},
#endif
    {"roots", "mmap", kMapped},
    {"roots", "shared_anonymous", kMapped},
    {"roots", "private_file", kMapped},
    {"roots", "shared_file", kMapped},
    {"roots", "mremap", kMapped},
    {"roots", "heap_neighbour", kMapped},
    {"roots", "epoll_data", kKernel},
    {"roots", "timer_value", kKernel},
    {"roots", "low_tagged_1"},
    {"roots", "low_tagged_7"},
    {"roots", "high_tagged", kTagged},
    {"roots", "both_tagged", kTagged},
    {"roots", "interior"},
    {"roots", "last_byte"},
    {"roots", "function_capture", kAtExit},
    {"roots", "ucontext_mmap", kMapped},
    {"roots", "ucontext_heap"},
};

class Lsan : public testing::TestWithParam<LsanCase> {};
INSTANTIATE_TEST_SUITE_P(, Lsan, testing::ValuesIn(kCases),
                         [](const auto &each) { return std::string(each.param.program) + "_" + each.param.name; });

TEST_P(Lsan, FindsTheSameLeaks) {
  auto [program, name, differs] = GetParam();
  Totals leaked = by_castaway(program, name, "leak");
  EXPECT_NE(leaked, Totals{});
  EXPECT_EQ(by_lsan(program, name, "leak"), leaked);
  // To castaway nothing is leaked then, as roots_test.cc and blocks_test.cc show; but what a library lost that is
  // closed.
  Totals held = std::string_view(name) == "closed_library" ? leaked : Totals{};
  EXPECT_EQ(by_lsan(program, name, "held"), differs ? leaked : held) << (differs ? differs : "");
}

// To LeakSanitizer all of a ring is indirect, and nothing direct stands for it.
TEST(LsanDiffers, OnWhichBlockOfARingIsDirect) {
  Totals lsan = by_lsan("blocks", "ring", "leak"), castaway = by_castaway("blocks", "ring", "leak");
  EXPECT_EQ(lsan, (Totals{0, 0, 5, 280}));
  EXPECT_EQ(castaway, (Totals{1, 56, 4, 224}));
}

// The stack of a thread that can never run again is a root to it like any other.
TEST(LsanDiffers, OnLeakedThreads) {
  EXPECT_EQ(by_lsan("waits", "retained_list", "leak"), Totals{});
  Target target({program("waits"), "retained_list"});
  target.await_ready();
  Profile profile = target.snap();
  EXPECT_EQ(profile.totals().threads, 1) << profile.text();
  EXPECT_EQ(profile.totals().retained_bytes, target.number("bytes")) << profile.text();
}

} // namespace
} // namespace e2e
