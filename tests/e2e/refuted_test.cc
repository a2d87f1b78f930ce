// The watch over what was reported: a leak that comes to life counts as refuted, in the next profile, on the status
// page and in the log. The programs hide their pointers from castaway, which therefore reports what is none.
#include "profile/profile_comments.h"
#include "profile/show.h"
#include "target.h"
#include "tools/status_client.h"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>

namespace e2e {
namespace {

struct RefutedCase {
  const char *name;
  int threads, blocks; // that the signal brings to life
};

const RefutedCase kCases[] = {
    {"thread_ends", 1, 0}, {"thread_goes_on", 1, 0}, {"thread_waits_again", 1, 0},
    {"block_freed", 0, 1}, {"block_resized", 0, 1},  {"block_read", 0, 0}, // nobody sees that
};

void PrintTo(const RefutedCase &each, std::ostream *out) { *out << each.name; }

std::string counts(long threads, long blocks) {
  return std::to_string(threads) + " threads, " + std::to_string(blocks) + " blocks";
}

std::string refuted(const Profile &profile) { return std::string(profile.data().comment(castaway::kRefuted)); }

std::string refuted_on_page(pid_t pid) {
  castaway::StatusClient client(pid, std::chrono::seconds(10));
  return counts(static_cast<long>(client.page().refuted_threads), static_cast<long>(client.page().refuted_blocks));
}

bool is_shown(const Profile &profile) {
  return castaway::render(profile.data(), castaway::ShowOptions()).find("refuted ") != std::string::npos;
}

// The lines of a log that have this in them.
int lines_with(std::string_view part, const std::string &log) {
  int count = 0;
  for (size_t at = log.find(part); at != log.npos; at = log.find(part, at + 1)) ++count;
  return count;
}

void revive(Target &target) {
  target.process().signal(SIGUSR1);
  target.process().read_until("revived");
}

class Refuted : public testing::TestWithParam<RefutedCase> {};
INSTANTIATE_TEST_SUITE_P(, Refuted, testing::ValuesIn(kCases),
                         [](const auto &each) { return std::string(each.param.name); });

TEST_P(Refuted, WhatComesToLifeIsCounted) {
  const auto [name, threads, blocks] = GetParam();
  bool is_thread = std::string_view(name).starts_with("thread");
  Target target({program("hidden"), name});
  target.await_ready();
  Profile before = target.snap();
  EXPECT_EQ(before.totals().threads, is_thread ? 1 : 0) << before.text();
  EXPECT_EQ(before.totals().objects, is_thread ? 0 : 1) << before.text();
  EXPECT_EQ(refuted(before), counts(0, 0));
  EXPECT_FALSE(is_shown(before));
  EXPECT_EQ(refuted_on_page(target.process().pid()), counts(0, 0));
  revive(target);
  bool leaks_still = false;
  for (int i = 0; i < 2; ++i) { // and only once
    Profile after = target.snap();
    EXPECT_EQ(refuted(after), counts(threads, blocks));
    EXPECT_EQ(refuted_on_page(target.process().pid()), counts(threads, blocks));
    EXPECT_EQ(is_shown(after), threads + blocks > 0);
    leaks_still = after.totals().threads + after.totals().objects > 0;
  }
  std::string log = target.process().finish().errors;
  bool any = threads + blocks > 0;
  EXPECT_EQ(lines_with("refuted: " + counts(threads, blocks) + " came to life", log), any) << log;
  // The farewell, which there is where something is leaked still, tells of it too.
  EXPECT_EQ(lines_with("refuted", log), any + (any && leaks_still)) << log;
}

TEST_P(Refuted, WhatIsInSightIsNotReported) {
  for (const char *mode : {"held", "fixed"}) {
    Target target({program("hidden"), GetParam().name, mode});
    target.await_ready();
    expect_nothing_leaked(target.snap());
    revive(target);
    expect_nothing_refuted(target.snap());
    EXPECT_EQ(lines_with("refuted", target.process().finish().errors), 0) << mode;
  }
}

TEST(RefutedNot, WhatStaysLeaked) {
  for (const char *name : {"thread_ends", "block_freed"}) {
    Target target({program("hidden"), name}, {.interval = "50ms"});
    target.await_ready();
    ASSERT_TRUE(eventually([&] { return target.safepoints() >= 8; })) << target.process().errors();
    Profile profile = target.newest();
    EXPECT_EQ(profile.totals().threads + profile.totals().objects, 1) << profile.text();
    expect_nothing_refuted(profile);
    EXPECT_EQ(lines_with("refuted", target.process().finish().errors), 0) << name;
  }
}

// Between periodic safepoints as well, once it is confirmed; before that it is not reported and cannot be refuted.
TEST_P(Refuted, OnlyWhatWasConfirmedCounts) {
  for (int confirm : {2, 1000}) {
    Target target({program("hidden"), GetParam().name},
                  {.interval = "50ms", .more = {"CASTAWAY_CONFIRM=" + std::to_string(confirm)}});
    target.await_ready();
    ASSERT_TRUE(eventually([&] { return target.safepoints() >= 5; })) << target.process().errors();
    revive(target);
    int then = target.safepoints();
    ASSERT_TRUE(eventually([&] { return target.safepoints() >= then + 3; })) << target.process().errors();
    bool known = confirm == 2;
    EXPECT_EQ(refuted(target.newest()), known ? counts(GetParam().threads, GetParam().blocks) : counts(0, 0));
  }
}

// Freed while the profile that reports it is still being made: nobody watches it yet.
TEST(RefutedAtOnce, IsCountedToo) {
  TemporaryDirectory directory;
  Target target({program("hidden"), "block_freed"},
                {.more = {"CASTAWAY_SUPPRESSIONS=" + directory.file("suppressions", slow_to_match(400'000))}});
  target.await_ready();
  Process snap({{castaway(), "snap", "--wait", std::to_string(target.process().pid())}});
  ASSERT_TRUE(eventually([&] { return has_reporter(target.process().pid()); }));
  revive(target);
  EXPECT_EQ(snap.finish().how, "exit 0");
  EXPECT_EQ(target.newest().totals().objects, 1) << target.newest().text();
  directory.file("suppressions", "");
  EXPECT_EQ(refuted(target.snap()), counts(0, 1));
}

// Nobody asks again before the end: then the last line tells.
TEST(RefutedAtTheEnd, IsInTheLastLine) {
  Target target({program("hidden"), "block_freed"});
  target.await_ready();
  target.snap();
  revive(target);
  std::string log = target.process().finish().errors;
  EXPECT_EQ(lines_with("refuted: " + counts(0, 1) + "; 12345 leaked bytes in 1 object", log), 1) << log;
}

} // namespace
} // namespace e2e
