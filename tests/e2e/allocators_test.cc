// The same over any allocator: preloaded, linked, linked statically; and one that cannot be seen is said so.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

struct Allocator {
  const char *name;
  const char *library; // preloaded behind the runtime, empty: none
  const char *suffix;  // of the programs that are linked with it
};

const Allocator kAllocators[] = {
    {"jemalloc_preloaded", "libjemalloc.so.2", ""},
    {"tcmalloc_preloaded", "libtcmalloc_minimal.so.4", ""},
    {"mimalloc_preloaded", "libmimalloc.so.2.0", ""},
    {"jemalloc_linked", "", "_jemalloc"},
    {"tcmalloc_linked", "", "_tcmalloc"},
    {"mimalloc_linked", "", "_mimalloc"},
    {"tcmalloc_static", "", "_tcmalloc_static"},
};

struct Check {
  const char *program, *name;
  bool threads; // leaked threads, else leaked blocks
};

const Check kChecks[] = {
    {"waits", "cond", true},
    {"waits", "thousand", true},
    {"waits", "retained_list", true},
    {"blocks", "direct", false},
    {"blocks", "tree", false},
    {"blocks", "many", false},
    {"blocks", "every_function", false},
    {"blocks", "large", false},
    {"blocks", "grown", false},
};

struct Named {
  Allocator allocator;
  Check check;
};

std::vector<Named> every_pair() {
  std::vector<Named> all;
  for (const Allocator &allocator : kAllocators)
    for (const Check &check : kChecks) all.push_back({allocator, check});
  return all;
}

void PrintTo(const Named &named, std::ostream *out) { *out << named.allocator.name << " " << named.check.name; }

// gperftools' tcmalloc loses 8 bytes of its own when it starts: an object that it makes and then replaces. A true leak,
// and none of the program's.
castaway::LeakTotals totals_without_its_own(const Profile &profile) {
  castaway::LeakTotals all = profile.totals(), own = profile.totals_of("MallocExtension::Register");
  EXPECT_LE(own.objects, 1) << profile.text();
  all.objects -= own.objects;
  all.bytes -= own.bytes;
  return all;
}

void expect_nothing_leaked_but_its_own(const Profile &profile) {
  castaway::LeakTotals totals = totals_without_its_own(profile);
  EXPECT_EQ(totals.threads, 0) << profile.text();
  EXPECT_EQ(totals.objects, 0) << profile.text();
}

class Allocators : public testing::TestWithParam<Named> {
protected:
  Target target_in_mode(const char *mode) {
    const auto &[allocator, check] = GetParam();
    return Target({program(std::string(check.program) + allocator.suffix), check.name, mode},
                  {.beside = allocator.library, .through_command = false});
  }
  // gperftools' MallocHook tells of aligned blocks the size that tcmalloc rounded them up to.
  static bool are_sizes_known() {
    return GetParam().allocator.name != std::string_view("tcmalloc_static") ||
           GetParam().check.name != std::string_view("every_function");
  }
};

TEST_P(Allocators, LeakedAreFound) {
  Target target = target_in_mode("leak");
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text().substr(0, 20'000));
  castaway::LeakTotals totals = totals_without_its_own(profile);
  if (GetParam().check.threads) {
    EXPECT_EQ(totals.threads, std::string_view(GetParam().check.name) == "thousand" ? 1000 : 1);
    EXPECT_EQ(totals.retained_bytes, target.number("bytes"));
    EXPECT_EQ(totals.objects, 0);
  } else {
    EXPECT_EQ(totals.objects, target.number("objects"));
    EXPECT_TRUE(totals.bytes == target.number("bytes") || !are_sizes_known()) << totals.bytes;
  }
  target.expect_clean_end();
}

TEST_P(Allocators, HeldAreLive) {
  Target target = target_in_mode("held");
  target.await_ready();
  expect_nothing_leaked_but_its_own(target.snap());
  target.expect_clean_end();
}

TEST_P(Allocators, FixedAreGone) {
  Target target = target_in_mode("fixed");
  target.await_ready();
  expect_nothing_leaked_but_its_own(target.snap());
  target.expect_clean_end();
}

INSTANTIATE_TEST_SUITE_P(, Allocators, testing::ValuesIn(every_pair()), [](const auto &each) {
  return std::string(each.param.allocator.name) + "_" + each.param.check.name;
});

struct StormCase {
  Allocator allocator;
  const char *storm;
};
void PrintTo(const StormCase &each, std::ostream *out) { *out << each.allocator.name << " " << each.storm; }

class AllocatorStorms : public testing::TestWithParam<StormCase> {};

TEST_P(AllocatorStorms, NothingIsReported) {
  const auto &[allocator, storm] = GetParam();
  Target target(
      {program(std::string("calm") + allocator.suffix), storm, "2000"},
      {.interval = "50ms", .more = {"CASTAWAY_SYMBOLIZE=off"}, .beside = allocator.library, .through_command = false});
  Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, "exit 0") << ended.errors;
  EXPECT_EQ(ended.output, std::string(storm) + " done\n");
  EXPECT_TRUE(eventually([&] { return target.safepoints() >= 1; })) << ended.errors;
  for (const std::string &path : target.profiles()) expect_nothing_leaked_but_its_own(Profile(path));
}
std::vector<StormCase> every_storm() {
  std::vector<StormCase> all;
  for (size_t i = 0; i < 3; ++i)
    for (const char *storm : {"realloc_storm", "hand_off", "thread_storm"}) all.push_back({kAllocators[i], storm});
  return all;
}
INSTANTIATE_TEST_SUITE_P(, AllocatorStorms, testing::ValuesIn(every_storm()), [](const auto &each) {
  return std::string(each.param.allocator.name) + "_" + each.param.storm;
});

// An empty result that nobody explains would be the worst of all.
TEST(UnseenAllocator, IsSaidInOneLine) {
  for (bool through_command : {true, false}) {
    Target target({program("blocks_own_malloc"), "direct"}, {.interval = "100ms", .through_command = through_command});
    target.await_ready();
    sleep_for(Seconds(0.5));
    Ended ended = target.process().finish();
    EXPECT_EQ(ended.how, "exit 0");
    EXPECT_EQ(std::count(ended.errors.begin(), ended.errors.end(), '\n'), 1) << ended.errors;
    EXPECT_NE(ended.errors.find("malloc"), std::string::npos) << ended.errors;
    for (const std::string &path : target.profiles())
      EXPECT_FALSE(Profile(path).data().notes().empty()) << "a profile that does not say what it lacks";
  }
}

} // namespace
} // namespace e2e
