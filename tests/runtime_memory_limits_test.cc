// How near limits on memory are, from files such as the kernel shows.
#include "runtime/memory_limits.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

namespace castaway {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = 1 << 20;

class Limits : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "castaway-limits-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    fs::create_directories(root_ / "proc/42");
    fs::create_directories(root_ / "groups");
  }
  void TearDown() override { fs::remove_all(root_); }

  void file(const std::string &path, const std::string &text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void group(const std::string &path, const std::string &limit, int64_t used, int64_t files) {
    file(path + "/memory.max", limit + "\n");
    file(path + "/memory.current", std::to_string(used) + "\n");
    file(path + "/memory.stat", "anon 1\ninactive_file " + std::to_string(files - 1) + "\nactive_file 1\n");
  }
  int64_t margin() {
    int proc = open((root_ / "proc").c_str(), O_RDONLY), groups = open((root_ / "groups").c_str(), O_RDONLY);
    MemoryLimits limits;
    limits.open(Proc(proc, 42), groups);
    return limits.margin();
  }

private:
  fs::path root_;
};

TEST_F(Limits, NoneAreKnown) { EXPECT_EQ(margin(), INT64_MAX); }

TEST_F(Limits, OfTheMachine) {
  file("proc/meminfo", "MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:    2097152 kB\n");
  EXPECT_EQ(margin(), 1024 * kMiB); // a 64th in reserve
}

TEST_F(Limits, OfAGroup) {
  file("proc/42/cgroup", "0::/a/b\n");
  group("groups/a/b", std::to_string(100 * kMiB), 30 * kMiB, 30 * kMiB);
  EXPECT_EQ(margin(), 62 * kMiB); // below half of it, files' pages are not asked for
  group("groups/a/b", std::to_string(100 * kMiB), 99 * kMiB, 30 * kMiB);
  EXPECT_EQ(margin(), 23 * kMiB);
  group("groups/a/b", std::to_string(100 * kMiB), 99 * kMiB, 1 * kMiB);
  EXPECT_EQ(margin(), -6 * kMiB);
}

TEST_F(Limits, TheTightestCounts) {
  file("proc/42/cgroup", "0::/a/b\n");
  group("groups/a/b", "max", 90 * kMiB, 1);
  group("groups/a", std::to_string(1024 * kMiB), 100 * kMiB, 1);
  EXPECT_EQ(margin(), (1024 - 16 - 100) * kMiB);
  file("proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 17408 kB\n");
  EXPECT_EQ(margin(), kMiB);
}

// A container's own group is the top of what it sees.
TEST_F(Limits, OfAContainer) {
  file("proc/42/cgroup", "0::/outside/name\n");
  group("groups", std::to_string(100 * kMiB), 10 * kMiB, 1);
  EXPECT_EQ(margin(), 82 * kMiB);
}

TEST_F(Limits, OfVersionOne) {
  file("proc/42/cgroup", "5:cpu:/x\n4:memory:/a\n0::/\n");
  file("groups/memory/a/memory.limit_in_bytes", std::to_string(100 * kMiB) + "\n");
  file("groups/memory/a/memory.usage_in_bytes", std::to_string(90 * kMiB) + "\n");
  file("groups/memory/a/memory.stat", "inactive_file 5\ntotal_inactive_file " + std::to_string(20 * kMiB) +
                                          "\ntotal_active_file " + std::to_string(kMiB) + "\n");
  file("groups/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(margin(), (92 - 90 + 21) * kMiB);
}

} // namespace
} // namespace castaway
