// Limits of memory, files and disks: the target has what it would have had, and ends as it would have.
#include "target.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <optional>
#include <regex>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace e2e {
namespace {

namespace fs = std::filesystem;

#define NEEDS_ROOT()                                                                                                   \
  if (geteuid() != 0) GTEST_SKIP() << "needs root"

int lines_in(const std::string &text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

// The command in a shell that sets something up first.
std::vector<std::string> after(const std::string &set_up, std::vector<std::string> command) {
  std::vector<std::string> all = {"/bin/bash", "-c", set_up + " && exec \"$0\" \"$@\""};
  all.insert(all.end(), command.begin(), command.end());
  return all;
}

const Settings kOften{.interval = "100ms", .more = {"CASTAWAY_FOLLOW=hostile"}};

TEST(Limits, OfAddressSpaceLeaveTheProgramItsMemory) {
  for (std::string limit : {"200000", "2000000"}) {
    std::vector<std::string> command = after("ulimit -v " + limit, {program("hostile"), "fill"});
    Ended without = run({command});
    Target target(command, kOften);
    Ended with = target.process().finish();
    EXPECT_EQ(with.how, "exit 0");
    EXPECT_LE(std::stoi(without.output) - std::stoi(with.output), 20) << limit; // the library itself
    EXPECT_EQ(lines_in(with.errors), 1) << with.errors;
    EXPECT_NE(with.errors.find("RLIMIT_AS"), std::string::npos) << with.errors;
  }
}

TEST(Limits, OfFileSizes) {
  Target target(after("ulimit -S -f 0", {program("hostile"), "lost_waiter"}), kOften);
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 3; })) << target.process().errors();
  EXPECT_EQ(target.newest().totals().threads, 1);
  target.expect_clean_end();
}

TEST(Limits, OfFileSizesThatCannotBeLifted) {
  Target target(after("ulimit -f 8", {program("hostile"), "lost_waiter"}), kOften);
  target.await_ready();
  EXPECT_TRUE(eventually([&] { return lines_in(target.process().errors()) >= 1; }));
  sleep_for(Seconds(0.5));
  // With the privilege to lift it, the leak is found; else there is trouble.
  std::string errors = target.process().errors();
  EXPECT_EQ(lines_in(errors), 1) << errors;
  EXPECT_NE(errors.find("leaked thread"), errors.find("capture cannot be written")) << errors;
  EXPECT_EQ(target.process().finish().how, "exit 0");
}

// The library's own lines on the target's threads bring no signal about.
TEST(Limits, StandardErrorThatNobodyReads) {
  Settings settings = kOften;
  settings.more.push_back("CASTAWAY_AT_EXIT=1");
  Target target(after("exec 2> >(:) && sleep 0.2", {program("hostile"), "lost_waiter"}), settings);
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 2; }));
  target.expect_clean_end();
}

// Of the processes of a user: nothing can be started, no agent either.
TEST(Limits, OfProcesses) {
  NEEDS_ROOT();
  for (std::string most : {"1", "2", "3", "1000"}) {
    std::vector<std::string> command =
        after("ulimit -u " + most, {"/usr/bin/setpriv", "--reuid", "64321", "--clear-groups", "/bin/echo", "fine"});
    Settings settings = kOften;
    settings.more = {"CASTAWAY_FOLLOW=echo"};
    Target target(command, settings);
    Ended ended = target.process().finish();
    EXPECT_EQ(ended.how, "exit 0");
    EXPECT_EQ(ended.output, "fine\n");
    EXPECT_LE(lines_in(ended.errors), 1) << ended.errors;
  }
}

TEST(Limits, OfDescriptors) {
  for (std::string most : {"4", "5", "6", "8", "12"}) {
    Target target(after("ulimit -n " + most, {program("hostile"), "lost_waiter"}), kOften);
    target.await_ready();
    sleep_for(Seconds(0.3));
    Ended ended = target.process().finish();
    EXPECT_EQ(ended.how, "exit 0") << ended.errors;
    EXPECT_LE(lines_in(ended.errors), 2) << ended.errors; // one may be of the leak
  }
}

// A disk of 64 KiB, full after some profiles.
TEST(Disk, ThatFillsUp) {
  NEEDS_ROOT();
  TemporaryDirectory directory;
  std::string mount = "mount -t tmpfs -o size=64k none " + directory.path().string();
  std::vector<std::string> command = profiled({program("hostile"), "lost_waiter"}, kOften, directory.path()).arguments;
  Process process({[&] {
    std::vector<std::string> all = after(mount, command);
    all.insert(all.begin(), {"unshare", "-m"});
    return all;
  }()});
  process.read_until("READY");
  fs::path seen = "/proc/" + std::to_string(process.pid()) + "/root" + directory.path().string();
  ASSERT_TRUE(eventually([&] { return process.errors().find("No space left") != std::string::npos; }));
  sleep_for(Seconds(0.5));
  std::vector<std::string> complete;
  for (const fs::directory_entry &entry : fs::directory_iterator(seen)) {
    std::string name = entry.path().filename();
    if (name.ends_with(".pb.gz") && !entry.is_symlink()) complete.push_back(entry.path());
    // One may be under way.
    EXPECT_TRUE(name.ends_with(".pb.gz") || name.ends_with(".castaway") || name.ends_with(".tmp")) << name;
  }
  EXPECT_GE(complete.size(), 2u);
  for (const std::string &path : complete) EXPECT_FALSE(Profile(path).data().sample_types.empty()) << path;
  Ended ended = process.finish();
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(lines_in(ended.errors), 3) << ended.errors; // the leak, the trouble, the end
}

TEST(Disk, ThatCannotBeWritten) {
  NEEDS_ROOT();
  TemporaryDirectory directory;
  std::string mount = "mount -t tmpfs -o ro none " + directory.path().string();
  std::vector<std::string> all =
      after(mount, profiled({program("hostile"), "lost_waiter"}, kOften, directory.path() / "out").arguments);
  all.insert(all.begin(), {"unshare", "-m"});
  Process process({all});
  process.read_until("READY");
  sleep_for(Seconds(0.3));
  Ended ended = process.finish();
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(lines_in(ended.errors), 1) << ended.errors;
  EXPECT_NE(ended.errors.find("ead-only file system"), std::string::npos) << ended.errors;
}

size_t resident_anonymous_kib(pid_t pid) {
  std::string status = text_of("/proc/" + std::to_string(pid) + "/status");
  size_t at = status.find("RssAnon:"), kib = 0;
  if (at != status.npos) sscanf(status.c_str() + at, "RssAnon: %zu", &kib);
  return kib;
}

// Neither what castaway has reserved is brought into memory, nor do its tables keep what they held at the last
// safepoint.
TEST(Memory, ThatTheProgramLocks) {
  NEEDS_ROOT();
  constexpr size_t kMost = 48 << 10; // KiB: 17 of the library, 4 for each 64 of the heap, tables
  Process without({{program("hostile"), "locked_memory"}});
  without.read_until("READY");
  const size_t usual = resident_anonymous_kib(without.pid());
  for (const auto &[mode, stop] : {std::pair("leak", "ptrace"), {"leak", "signal"}, {"fixed", "ptrace"}}) {
    Settings settings = kOften;
    settings.stop = stop;
    Target target({program("hostile"), "locked_memory", mode}, settings);
    target.await_ready();
    EXPECT_LE(resident_anonymous_kib(target.process().pid()), usual + kMost);
    ASSERT_TRUE(eventually([&] { return target.safepoints() >= 6; })) << target.process().errors();
    EXPECT_LE(resident_anonymous_kib(target.process().pid()), usual + kMost);
    Profile profile = target.newest();
    EXPECT_EQ(profile.totals().threads, mode == std::string("leak") ? 1 : 0) << profile.text();
    expect_nothing_refuted(profile);
    target.expect_clean_end();
  }
}

// A control group whose memory is limited, for a target that rewrites 60 MiB.
class Grouped : public testing::Test {
protected:
  void SetUp() override {
    std::error_code error;
    if (geteuid() != 0 || !fs::create_directory(group_, error))
      GTEST_SKIP() << "needs root, and control groups of version 1";
  }
  void TearDown() override {
    EXPECT_TRUE(!fs::exists(group_) || eventually([&] { return rmdir(group_.c_str()) == 0; }));
  }

  void set_limit(size_t bytes) const { std::ofstream(group_ / "memory.limit_in_bytes") << bytes; }
  Target start(size_t limit, std::vector<std::string> arguments = {"restless"}, const char *interval = "50ms") {
    set_limit(limit);
    arguments.insert(arguments.begin(), program("hostile"));
    return Target(after("echo $$ > " + (group_ / "cgroup.procs").string(), arguments),
                  {.interval = interval, .more = {"CASTAWAY_FOLLOW=hostile"}});
  }
  // Whether shared memory of this process of the group's is in swap once all that can be reclaimed has been.
  bool swap_out(pid_t pid) const {
    for (int i = 0; i < 10; ++i) std::ofstream(group_ / "memory.force_empty") << 1;
    std::string smaps = text_of("/proc/" + std::to_string(pid) + "/smaps");
    return std::regex_search(smaps, std::regex("/dev/zero [^\\n]*\\n([A-Z][^\\n]*\\n)*Swap: +[1-9]"));
  }
  bool kernel_killed_any() const {
    return text_of(group_ / "memory.oom_control").find("oom_kill 0\n") == std::string::npos;
  }

private:
  const fs::path group_ = "/sys/fs/cgroup/memory/castaway-test-" + std::to_string(getpid());
};

// Less memory than the target and a copy of it: the copy goes before the kernel has to choose.
TEST_F(Grouped, TheSnapshotGivesWay) {
  Target target = start(100 << 20);
  target.await_ready();
  // One that was made before the target had filled its memory has little of it.
  ASSERT_TRUE(eventually([&] {
    pid_t held = hold_snapshot(target.process().pid(), "restless");
    if (held != 0 && resident_anonymous_kib(held) > (50 << 10)) return true;
    if (held != 0) kill(held, SIGCONT);
    return false;
  })) << target.process().errors();
  EXPECT_TRUE(
      eventually([&] { return target.process().errors().find("no profile: memory ran short") != std::string::npos; }));
  EXPECT_FALSE(kernel_killed_any());
  int then = target.safepoints();
  set_limit(400 << 20); // on a busy machine the next copies are late, and go too
  EXPECT_TRUE(eventually([&] { return target.safepoints() > then; })) << target.process().errors();
  target.expect_clean_end();
}

TEST_F(Grouped, NoCopyBeginsWhereNothingIsLeft) {
  Target target = start(76 << 20);
  target.await_ready();
  EXPECT_TRUE(eventually([&] {
    return target.process().errors().find("memory is nearly used up") != std::string::npos;
  })) << target.process().errors();
  EXPECT_FALSE(kernel_killed_any());
  target.expect_clean_end();
}

// Swap for the whole machine, for as long as this lives.
class SwapFile {
public:
  SwapFile() : on_(shell("head -c 32M /dev/zero > $0 && chmod 600 $0 && mkswap $0 && swapon $0")) {}
  ~SwapFile() { EXPECT_TRUE(!on_ || shell("swapoff $0")); }
  SwapFile(const SwapFile &) = delete;
  SwapFile &operator=(const SwapFile &) = delete;
  bool is_on() const { return on_; }

private:
  bool shell(const char *command) const {
    return run({{"/bin/sh", "-c", command, directory_.path() / "swap"}}).how == "exit 0";
  }
  TemporaryDirectory directory_;
  bool on_;
};

// Of shared memory that is swapped out the kernel does not tell that it is there.
TEST_F(Grouped, SharedMemoryInSwapKeepsBlocksAlive) {
  for (bool with_swap : {true, false}) {
    std::optional<SwapFile> swap;
    if (with_swap && !swap.emplace().is_on()) GTEST_SKIP() << "no swap to be had";
    for (const char *mode : {"held", "leak"}) {
      Target target = start(size_t{1} << 30, {"swapped", mode}, "0");
      target.await_ready();
      ASSERT_EQ(swap_out(target.process().pid()), with_swap);
      Profile profile = target.snap();
      bool is_found = !with_swap && mode == std::string("leak");
      EXPECT_EQ(profile.totals().bytes, is_found ? 1001 : 0) << profile.text();
      EXPECT_EQ(profile.data().notes().empty(), !with_swap) << profile.text();
    }
  }
}

} // namespace
} // namespace e2e
