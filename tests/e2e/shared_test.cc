// Shared memory: it is read where it could make a difference, but only as often as its size allows, and what was not
// looked for there is not reported.
#include "profile/profile_comments.h"
#include "target.h"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <map>
#include <sched.h>

namespace e2e {
namespace {

bool spared_shared_memory(const Profile &profile) {
  return profile.data().comment(castaway::kScan).ends_with(", none for shared memory");
}

bool left_unread(const Profile &profile) {
  return profile.data().comment(castaway::kNote).find("of shared memory were left unread") != std::string_view::npos;
}

std::string refuted(const Profile &profile) { return std::string(profile.data().comment(castaway::kRefuted)); }

// The program does what its case has prepared, and says that it has.
void provoke(Target &target, std::string_view done) {
  target.process().signal(SIGUSR1);
  target.process().read_until(done);
}

// Has the program make a child, by which it says "child PID"; its first profiles, so many of them.
std::vector<Profile> profiles_of_child(Target &target, std::string_view done, size_t count) {
  target.process().signal(SIGUSR1);
  const std::string text = target.process().read_until(done);
  const pid_t child = std::stoi(text.substr(text.rfind("child ") + 6));
  std::vector<std::string> paths;
  EXPECT_TRUE(eventually([&] {
    paths = target.profiles();
    std::erase_if(
        paths, [&](const std::string &path) { return path.find("." + std::to_string(child) + ".leak.") == path.npos; });
    return paths.size() >= count;
  }));
  kill(child, SIGKILL);
  return {paths.begin(), paths.begin() + static_cast<long>(std::min(count, paths.size()))};
}

// Has a child made, and says of its first profiles whether they spared shared memory. They report what it inherited.
std::vector<bool> spared_of_child(Target &target) {
  std::vector<bool> spared;
  for (const Profile &profile : profiles_of_child(target, "done", 4)) {
    EXPECT_EQ(profile.totals().objects, spared.empty() ? 0 : 1) << profile.text();
    spared.push_back(spared_shared_memory(profile));
  }
  return spared;
}

// Whether the next safepoint's reporter is at work now.
bool await_next_reporter(Target &target) {
  const pid_t pid = target.process().pid();
  return eventually([&] { return !has_reporter(pid); }) && eventually([&] { return has_reporter(pid); });
}

// Shared memory is read only where it could make a difference; and another block in the place of a leaked one is one.
TEST(SharedMemory, IsReadForWhatWasNotLookedForThereBefore) {
  Target target({program("hidden"), "block_replaced"}, {.interval = "200ms", .more = {"CASTAWAY_KEEP=100"}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 8; })) << target.process().errors();
  std::vector<Profile> profiles;
  for (const std::string &path : target.profiles()) profiles.emplace_back(path);
  size_t reported = 0;
  while (reported < profiles.size() && profiles[reported].totals().objects == 0) ++reported;
  ASSERT_LT(reported + 3, profiles.size());
  EXPECT_TRUE(reported == 0 || !spared_shared_memory(profiles[reported - 1])); // seen for the first time
  EXPECT_FALSE(spared_shared_memory(profiles[reported]));                      // it is watched since the first
  EXPECT_TRUE(spared_shared_memory(profiles[reported + 1]));
  EXPECT_TRUE(spared_shared_memory(profiles[reported + 2]));
  EXPECT_EQ(target.newest().totals().objects, 1);
  provoke(target, "revived");
  next(target); // may have begun before
  for (int i = 0; i < 3; ++i) {
    Profile profile = next(target);
    expect_nothing_leaked(profile);
    EXPECT_EQ(refuted(profile), "0 threads, 1 blocks");
    EXPECT_FALSE(spared_shared_memory(profile));
  }
}

// While a profile is made, another block takes the place of one that was watched: it must not be watched in its stead.
TEST(SharedMemory, IsReadForWhatCameWhileAProfileWasMade) {
  TemporaryDirectory directory;
  Target target(
      {program("hidden"), "block_replaced"},
      {.interval = "100ms",
       .more = {"CASTAWAY_KEEP=100", "CASTAWAY_SUPPRESSIONS=" + directory.file("slow", slow_to_match(400'000))}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] {
    return target.safepoints() > 0 && spared_shared_memory(target.newest()) && target.newest().totals().objects == 1;
  })) << target.process().errors();
  ASSERT_TRUE(await_next_reporter(target));
  provoke(target, "revived");
  EXPECT_TRUE(has_reporter(target.process().pid())) << "too fast";
  next(target); // from before
  for (int i = 0; i < 3; ++i) {
    Profile profile = next(target);
    expect_nothing_leaked(profile);
    EXPECT_EQ(refuted(profile), "0 threads, 1 blocks");
  }
}

// A block that was thought lost for good, and then was not, is no longer known to be.
TEST(SharedMemory, IsReadForWhatWasInSightMeanwhile) {
  Target target({program("hidden"), "block_revealed"}, {.interval = "100ms", .more = {"CASTAWAY_KEEP=100"}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { // settled
    return target.safepoints() > 0 && spared_shared_memory(target.newest()) && target.newest().totals().objects == 1;
  })) << target.process().errors();
  provoke(target, "revived");
  next(target); // may have begun before
  expect_nothing_leaked(next(target));
  provoke(target, "revived");
  next(target); // may have begun before
  for (int i = 0; i < 3; ++i) {
    Profile profile = next(target);
    expect_nothing_leaked(profile);
    EXPECT_FALSE(spared_shared_memory(profile));
  }
  for (const Profile &profile : profiles_of_child(target, "revived", 3)) expect_nothing_leaked(profile);
}

// What a process knows to be lost for good, its later children know too.
TEST(SharedMemory, IsNotReadForWhatAForkWasMadeWith) {
  Target target({program("shared"), "inherited"}, {.interval = "700ms", .more = {"CASTAWAY_KEEP=100"}});
  target.await_ready();
  const std::vector<bool> young = spared_of_child(target);
  EXPECT_EQ(young, (std::vector<bool>{false, false, true, true}));
  ASSERT_TRUE(eventually([&] { return spared_shared_memory(target.newest()); }));
  const std::vector<bool> later = spared_of_child(target);
  EXPECT_EQ(later, (std::vector<bool>{true, true, true, true}));
}

TEST(SharedMemory, IsSparedWhereNothingIsLostButNowAndThen) {
  Target target({program("hidden"), "block_replaced", "held"}, {.interval = "50ms", .more = {"CASTAWAY_KEEP=100"}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 18; })) << target.process().errors();
  for (const std::string &path : target.profiles()) {
    Profile profile(path);
    expect_nothing_leaked(profile);
    const std::string number(profile.data().comment(castaway::kSafepoint));
    EXPECT_EQ(spared_shared_memory(profile), std::stoi(number) % 16 != 0) << number;
  }
}

TEST(SharedMemory, OfTheRuntimesOwnIsNone) {
  Target target({program("drip"), "fixed", "64"}, {.interval = "100ms"});
  target.await_ready();
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(spared_shared_memory(next(target)));
}

TEST(SharedMemory, IsReadWhereWhatIsFoundIsReportedAtOnce) {
  Target on_demand({program("hidden"), "block_replaced", "held"});
  on_demand.await_ready();
  EXPECT_FALSE(spared_shared_memory(on_demand.snap()));
  Target unconfirmed({program("hidden"), "block_replaced", "held"},
                     {.interval = "50ms", .more = {"CASTAWAY_CONFIRM=1"}});
  unconfirmed.await_ready();
  EXPECT_FALSE(spared_shared_memory(next(unconfirmed)));
}

void expect_leaked(const Profile &profile, long threads, long objects) {
  EXPECT_EQ(profile.totals().threads, threads) << profile.text();
  EXPECT_EQ(profile.totals().objects, objects) << profile.text();
}

TEST(MuchSharedMemory, IsNotReadAtEachSafepoint) {
  Target target({program("shared"), "too_much"}, {.interval = "100ms", .more = {"CASTAWAY_KEEP=100"}});
  target.await_ready();
  next(target); // may have begun before
  for (int i = 0; i < 4; ++i) {
    Profile profile = next(target);
    expect_nothing_leaked(profile);
    EXPECT_TRUE(left_unread(profile));
    EXPECT_TRUE(spared_shared_memory(profile));
  }
  Profile asked = target.snap(); // reads it all the same
  EXPECT_FALSE(left_unread(asked));
  EXPECT_FALSE(spared_shared_memory(asked));
  expect_leaked(asked, 1, 1);
  EXPECT_EQ(asked.totals_of("", {{"state", "unconfirmed"}}).objects, 1);
  expect_nothing_leaked(next(target));
  expect_leaked(target.snap(), 1, 1); // for the second time
  next(target);                       // may have begun before
  for (int i = 0; i < 3; ++i) {
    Profile profile = next(target);
    expect_leaked(profile, 1, 1);
    EXPECT_EQ(profile.totals_of("", {{"state", "confirmed"}}).objects, 1);
    EXPECT_EQ(profile.totals_of("", {{"state", "confirmed"}}).threads, 1);
    EXPECT_TRUE(left_unread(profile)); // the thread could be woken from there
    expect_nothing_refuted(profile);
  }
}

// What threads wait for in a deadlock is each other, whatever that memory holds.
TEST(MuchSharedMemory, DelaysNoDeadlock) {
  Target target({program("shared"), "deadlock"}, {.interval = "300ms"});
  target.await_ready();
  next(target); // may have begun before
  EXPECT_TRUE(left_unread(next(target)));
  Profile second = next(target);
  EXPECT_TRUE(left_unread(second));
  expect_leaked(second, 2, 0);
  EXPECT_EQ(second.totals_of("lock_next", {{"reason", "deadlock"}, {"state", "confirmed"}}).threads, 2);
  expect_leaked(target.snap(), 3, 0); // with one that waits on a semaphore
  expect_nothing_refuted(next(target));
}

TEST(MuchSharedMemory, MakesNoDeadlock) {
  Target target({program("shared"), "deadlock", "fixed"}, {.interval = "300ms"});
  target.await_ready();
  next(target); // may have begun before
  for (int i = 0; i < 2; ++i) expect_nothing_leaked(next(target));
  expect_nothing_leaked(target.snap());
}

TEST(MuchSharedMemory, KeepsWhatItHolds) {
  for (const char *mode : {"held", "fixed"}) {
    Target target({program("shared"), "too_much", mode}, {.interval = "100ms"});
    target.await_ready();
    ASSERT_TRUE(eventually([&] { return target.safepoints() >= 4; })) << target.process().errors();
    bool in_doubt = std::string_view(mode) == "held";
    EXPECT_EQ(left_unread(target.newest()), in_doubt);
    expect_nothing_leaked(target.newest());
    for (int i = 0; i < 2; ++i) expect_nothing_leaked(target.snap());
    expect_nothing_leaked(next(target));
  }
}

// What there is of it counts, not what is mapped alone.
TEST(MuchSharedMemory, IsNotReadAtEachSafepointWhereThereIsMuchOfIt) {
  Target target({program("shared"), "in_places"}, {.interval = "100ms"});
  target.await_ready();
  next(target); // may have begun before
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(left_unread(next(target)));
  expect_leaked(target.snap(), 1, 1);
  next(target);
  expect_nothing_leaked(next(target)); // or it had been read once before
}

// The first readings are made at once, then none for twenty seconds.
TEST(MuchSharedMemory, DelaysWhatIsNewAndKeepsWhatIsKnown) {
  Target target({program("shared"), "much"}, {.interval = "1s", .more = {"CASTAWAY_KEEP=100"}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 2; })) << target.process().errors();
  Profile first(target.profiles()[0]), second(target.profiles()[1]);
  expect_nothing_leaked(first);
  expect_leaked(second, 1, 1);
  EXPECT_FALSE(left_unread(first) || left_unread(second));
  provoke(target, "done");
  next(target); // may have begun before
  for (int i = 0; i < 4; ++i) {
    Profile profile = next(target);
    expect_leaked(profile, 1, 1);
    EXPECT_TRUE(left_unread(profile));
  }
  expect_leaked(target.snap(), 2, 2);
  expect_leaked(next(target), 1, 1);
  expect_leaked(target.snap(), 2, 2);
  next(target); // may have begun before
  expect_leaked(next(target), 2, 2);
  expect_nothing_refuted(target.newest());
}

std::string any_processor() {
  cpu_set_t allowed;
  EXPECT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int processor = 0;
  while (processor + 1 < CPU_SETSIZE && !CPU_ISSET(processor, &allowed)) ++processor;
  return std::to_string(processor);
}

// Each of three processes would read it twice at once. The first one does; the others together may do that once, and
// then, where they have one processor, each 24 seconds.
TEST(MuchSharedMemory, IsNotReadByEachOfAFamilyAtOnce) {
  Target target({"taskset", "--cpu-list", any_processor(), program("shared"), "family"},
                {.interval = "400ms", .more = {"CASTAWAY_KEEP=100"}});
  target.await_ready();
  std::map<pid_t, int> safepoints, readings;
  int unread = 0;
  ASSERT_TRUE(eventually([&] {
    safepoints.clear(), readings.clear(), unread = 0;
    for (const std::string &path : target.profiles()) {
      Profile profile(path);
      const std::string_view process = profile.data().comment(castaway::kProcess); // and its pid
      const pid_t pid = std::stoi(std::string(process.substr(process.rfind(' ') + 1)));
      ++safepoints[pid];
      unread += left_unread(profile);
      readings[pid] += !left_unread(profile) && !spared_shared_memory(profile);
    }
    return safepoints.size() == 3 && std::ranges::all_of(safepoints, [](const auto &of) { return of.second >= 3; });
  }));
  int of_children = 0;
  for (const auto &[pid, count] : readings)
    if (pid != target.process().pid()) of_children += count, kill(pid, SIGKILL);
  EXPECT_EQ(readings[target.process().pid()], 2);
  EXPECT_EQ(of_children, 1);
  EXPECT_GE(unread, 3);
  expect_leaked(target.snap(), 0, 1); // whoever asks gets an answer
}

// Another block is in the place of a leaked one, which counts as refuted: it has never been looked for there.
void expect_it_waits(Target &target) {
  next(target); // may have begun before
  for (int i = 0; i < 3; ++i) {
    Profile profile = next(target);
    expect_nothing_leaked(profile);
    EXPECT_EQ(refuted(profile), "0 threads, 1 blocks");
    EXPECT_TRUE(left_unread(profile));
  }
}

TEST(MuchSharedMemory, IsNotReadForWhatCameLater) {
  Target target({program("hidden"), "block_replaced_beside_much"},
                {.interval = "500ms", .more = {"CASTAWAY_KEEP=1000"}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() > 0 && target.newest().totals().objects == 1; }));
  next(target);
  provoke(target, "revived");
  expect_it_waits(target);
  provoke(target, "revived"); // it is freed, and was never reported
  next(target);
  EXPECT_EQ(refuted(next(target)), "0 threads, 1 blocks");
}

TEST(MuchSharedMemory, IsReadForWhatCameWhileAProfileWasMade) {
  TemporaryDirectory directory;
  Target target(
      {program("hidden"), "block_replaced_beside_much"},
      {.interval = "2s", // so that the block is lost before the first one
       .more = {"CASTAWAY_KEEP=1000", "CASTAWAY_SUPPRESSIONS=" + directory.file("slow", slow_to_match(400'000))}});
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() == 1; }));
  ASSERT_TRUE(await_next_reporter(target)); // of the second, which reports it
  provoke(target, "revived");
  ASSERT_EQ(target.safepoints(), 1) << "too fast";
  std::filesystem::rename(directory.file("none", ""), directory.path() / "slow"); // somebody may be reading it
  EXPECT_EQ(next(target).totals().objects, 1);
  expect_it_waits(target);
  ASSERT_TRUE(eventually([&] { return !left_unread(target.newest()); }, Seconds(60))); // read at last
  for (int i = 0; i < 3; ++i) expect_nothing_leaked(next(target));
}

} // namespace
} // namespace e2e
