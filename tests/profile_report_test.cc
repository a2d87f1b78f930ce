// The reporter: files, links, what is kept, result lines, and what it does when it cannot write.
#include "profile/file.h"
#include "profile/profile_comments.h"
#include "profile/profile_data.h"
#include "profile/profile_store.h"
#include "profile/reporter.h"
#include "tests/capture_builder.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace castaway {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

class ProfileReport : public testing::Test {
protected:
  ProfileReport() : dir_(testing::TempDir() + "report." + std::to_string(getpid())) { fs::create_directories(dir_); }
  ~ProfileReport() override { fs::remove_all(dir_); }

  std::string report(const CaptureBuilder &builder) {
    const auto bytes = builder.build();
    const auto capture = dir_ + "." + std::to_string(getpid()) + ".capture";
    std::ofstream(capture, std::ios::binary)
        .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    const auto lines = report_file(capture, dir_);
    fs::remove(capture);
    return lines ? *lines : lines.error();
  }

  CaptureBuilder at(uint64_t safepoint) {
    CaptureBuilder builder;
    builder.fact("safepoint", std::to_string(safepoint)).fact("output", dir_);
    return builder;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto &entry : fs::directory_iterator(dir_)) found.push_back(entry.path().filename());
    std::sort(found.begin(), found.end());
    return found;
  }

  ProfileData newest() const { return *read_profile(dir_ + "/server.4242.leak.pb.gz"); }

  std::string dir_;
};

using Names = std::vector<std::string>;

TEST_F(ProfileReport, WritesBothProfilesAndTheirLinks) {
  EXPECT_EQ(report(at(7)), "profile " + dir_ + "/server.4242.leak.7.pb.gz\n" +
                               "threads 0\nobjects 0\nbytes 0\nretained 0\n"
                               "unconfirmed_threads 0\nunconfirmed_objects 0\nunconfirmed_bytes 0\n"
                               "unconfirmed_retained 0\n");
  EXPECT_EQ(names(), (Names{"server.4242.leak.7.pb.gz", "server.4242.leak.pb.gz", "server.4242.threads.7.pb.gz",
                            "server.4242.threads.pb.gz"}));
  EXPECT_EQ(fs::read_symlink(dir_ + "/server.4242.leak.pb.gz"), "server.4242.leak.7.pb.gz");
  struct stat status;
  ASSERT_EQ(stat((dir_ + "/server.4242.leak.7.pb.gz").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(newest().kind, ProfileKind::leak);
  EXPECT_EQ(read_profile(dir_ + "/server.4242.threads.pb.gz")->kind, ProfileKind::threads);
}

TEST_F(ProfileReport, KeepsTheNewestOnesOfThisProcessOnly) {
  for (const auto *other : {"server.4243.leak.1.pb.gz", "server.4242.leak.old.pb.gz", "other.4242.leak.1.pb.gz"})
    std::ofstream(dir_ + "/" + other) << "somebody else's";
  for (uint64_t safepoint = 8; safepoint <= 12; safepoint++) report(at(safepoint));
  EXPECT_EQ(names(), (Names{"other.4242.leak.1.pb.gz", "server.4242.leak.10.pb.gz", "server.4242.leak.11.pb.gz",
                            "server.4242.leak.12.pb.gz", "server.4242.leak.old.pb.gz", "server.4242.leak.pb.gz",
                            "server.4242.threads.10.pb.gz", "server.4242.threads.11.pb.gz",
                            "server.4242.threads.12.pb.gz", "server.4242.threads.pb.gz", "server.4243.leak.1.pb.gz"}));
  EXPECT_EQ(fs::read_symlink(dir_ + "/server.4242.leak.pb.gz"), "server.4242.leak.12.pb.gz");
}

TEST_F(ProfileReport, AProcessWithARecycledPidReplacesItsPredecessor) {
  for (uint64_t safepoint = 100; safepoint <= 102; safepoint++) report(at(safepoint));
  report(at(1));
  report(at(2));
  EXPECT_TRUE(fs::exists(dir_ + "/server.4242.leak.1.pb.gz"));
  EXPECT_TRUE(fs::exists(dir_ + "/server.4242.leak.2.pb.gz"));
  EXPECT_EQ(std::count_if(fs::directory_iterator(dir_), {},
                          [](const auto &entry) { return entry.path().string().find(".leak.1") != std::string::npos; }),
            2)
      << "the new process's 1 and one of the old one's";
}

TEST_F(ProfileReport, TotalsOfConfirmedAndUnconfirmed) {
  auto builder = at(7);
  builder.leaked_thread(1, "a", 6).retained_bytes = 100;
  builder.leaked_thread(2, "b", 7).retained_bytes = 50;
  builder.leaked_thread(3, "main", 1).flags |= kThreadMain;
  builder.leak(0, 5, 10, 1000).leak(0, 7, 3, 30).leak(0, 0, 1, 1).leak(0, 99, 1, 1);
  const auto lines = report(builder);
  EXPECT_NE(lines.find("\nthreads 1\nobjects 10\nbytes 1000\nretained 100\n"
                       "unconfirmed_threads 1\nunconfirmed_objects 5\nunconfirmed_bytes 32\nunconfirmed_retained 50\n"),
            std::string::npos)
      << lines;
  const auto periodic = newest();
  EXPECT_EQ(leak_totals(periodic).threads, 1);
  EXPECT_EQ(leak_totals(periodic).bytes, 1000) << "a periodic profile holds what is confirmed";

  builder.fact("trigger", "exit");
  report(builder);
  const auto at_exit = newest();
  EXPECT_EQ(leak_totals(at_exit).threads, 2);
  EXPECT_EQ(leak_totals(at_exit, LeakState::confirmed).bytes, 1000);
  EXPECT_EQ(leak_totals(at_exit, LeakState::unconfirmed).bytes, 32);
  EXPECT_EQ(leak_totals(at_exit, LeakState::unconfirmed).retained_bytes, 50);
}

TEST_F(ProfileReport, SuppressedLeaksAreCountedApart) {
  const auto path = dir_ + ".suppressions";
  std::ofstream(path) << "leak:no-such-library\nthread:no-such-library\n";
  auto builder = at(7);
  builder.fact("suppressions", path);
  builder.maps("10000-20000 r-xp 00000000 00:00 1 /opt/no-such-library.so\n30000-40000 r-xp 00000000 00:00 1 /opt/x\n");
  builder.call_stack(1, {0x10010, 0x30010}).call_stack(2, {0x30010});
  builder.leak(1, 6, 10, 1000).leak(2, 6, 1, 10);
  builder.leaked_thread(1, "a", 6).registers[16] = 0x10010;
  builder.leaked_thread(2, "b", 6).registers[16] = 0x30010;
  const auto lines = report(builder);
  EXPECT_NE(lines.find("\nthreads 1\nobjects 1\nbytes 10\n"), std::string::npos) << lines;
  const auto profile = newest();
  EXPECT_EQ(suppressed_totals(profile).threads, 1);
  EXPECT_EQ(suppressed_totals(profile).objects, 10);
  EXPECT_EQ(suppressed_totals(profile).bytes, 1000);
  EXPECT_EQ(leak_totals(profile).bytes, 10);
  fs::remove(path);
}

TEST_F(ProfileReport, BadSuppressionsSuppressNothingAndAreToldOf) {
  const auto path = dir_ + ".suppressions";
  std::ofstream(path) << "leak:*\nnonsense\n";
  auto builder = at(7);
  builder.fact("suppressions", path).leak(0, 6, 1, 10);
  const auto lines = report(builder);
  EXPECT_NE(lines.find("\nobjects 1\n"), std::string::npos) << lines;
  EXPECT_NE(lines.find("\ntrouble suppressions are not applied: " + path + ":2: expected"), std::string::npos) << lines;
  ASSERT_EQ(newest().notes().size(), 1u);
  fs::remove(path);
}

TEST_F(ProfileReport, NamesAreSafe) {
  EXPECT_EQ(safe_comm("../../etc/passwd"), "_._.._etc_passwd");
  EXPECT_EQ(safe_comm("my server:1"), "my_server_1");
  EXPECT_EQ(safe_comm(""), "unknown");
  EXPECT_EQ(safe_comm(".."), "_.");
  auto builder = at(7);
  builder.fact("comm", "../evil\n");
  report(builder);
  EXPECT_EQ(names().front(), "_._evil.4242.leak.7.pb.gz");
}

TEST_F(ProfileReport, NothingInTheDirectoryIsFollowed) {
  std::ofstream(dir_ + ".victim") << "precious";
  const auto temporary = "." + std::to_string(getpid()) + ".tmp";
  for (const auto &name : {".server.4242.leak.7.pb.gz" + temporary, "server.4242.leak.7.pb.gz"s,
                           "server.4242.leak.pb.gz"s, ".server.4242.leak.pb.gz" + temporary})
    fs::create_symlink(dir_ + ".victim", dir_ + "/" + name);
  EXPECT_EQ(report(at(7)).find("trouble"), std::string::npos);
  std::string content;
  std::ifstream(dir_ + ".victim") >> content;
  EXPECT_EQ(content, "precious");
  EXPECT_FALSE(fs::is_symlink(dir_ + "/server.4242.leak.7.pb.gz"));
  EXPECT_EQ(names().size(), 4u);
  fs::remove(dir_ + ".victim");
}

// As after a tracer was killed: its snapshot's reporter is at work still when the next safepoint's begins.
TEST_F(ProfileReport, SeveralReportersOfAProcessAreInNoOnesWay) {
  std::vector<pid_t> reporters;
  for (uint64_t first : {1, 101, 201, 301}) {
    reporters.push_back(fork());
    if (reporters.back() != 0) continue;
    bool failed = false;
    for (uint64_t safepoint = first; safepoint < first + 25; safepoint++)
      failed |= report(at(safepoint).fact("keep", "100")).find("trouble") != std::string::npos;
    _exit(failed ? 1 : 0);
  }
  for (const pid_t reporter : reporters) {
    int status = 0;
    ASSERT_EQ(waitpid(reporter, &status, 0), reporter);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(names().size(), 2 * (100u + 1));
  EXPECT_TRUE(fs::exists(dir_ + "/server.4242.leak.pb.gz"));
}

// What another process with the same name and pid left goes first, or in time.
TEST_F(ProfileReport, OnlyTheNewestAreKept) {
  const auto numbers = [this] {
    std::set<int> found;
    for (const auto &name : names())
      if (int number = 0; sscanf(name.c_str(), "server.4242.leak.%d.pb.gz", &number) == 1) found.insert(number);
    return found;
  };
  std::ofstream(dir_ + "/server.4242.leak.17.pb.gz") << "another process'";
  for (int safepoint = 1; safepoint <= 3; safepoint++) report(at(safepoint));
  EXPECT_EQ(numbers(), (std::set{1, 2, 3}));
  std::ofstream(dir_ + "/server.4242.leak.77.pb.gz") << "another process'";
  for (int safepoint = 4; safepoint <= 9; safepoint++) report(at(safepoint));
  EXPECT_EQ(numbers(), (std::set{7, 8, 9, 77}));
  report(at(12));
  EXPECT_EQ(numbers(), (std::set{8, 9, 12}));
  std::ofstream(dir_ + "/server.4242.leak.2.pb.gz") << "left, and never removed by its own number";
  for (int safepoint = 61; safepoint <= 63; safepoint++) report(at(safepoint));
  EXPECT_EQ(numbers(), (std::set{61, 62, 63}));
  std::ofstream(dir_ + "/server.4242.leak.2.pb.gz") << "left";
  report(at(64));
  EXPECT_EQ(numbers(), (std::set{62, 63, 64}));
}

TEST_F(ProfileReport, WhatAKilledReporterLeftIsRemoved) {
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  ASSERT_EQ(waitpid(gone, nullptr, 0), gone);
  const auto by_gone = "." + std::to_string(gone) + ".tmp", by_living = "." + std::to_string(getppid()) + ".tmp";
  for (const auto &name : {".server.4242.leak.6.pb.gz" + by_gone, ".server.4242.leak.pb.gz" + by_gone,
                           ".server.4242.leak.6.pb.gz" + by_living, ".other.4242.leak.6.pb.gz" + by_gone})
    std::ofstream(dir_ + "/" + name) << "half";
  report(at(7));
  EXPECT_EQ(names(), (Names{".other.4242.leak.6.pb.gz" + by_gone, ".server.4242.leak.6.pb.gz" + by_living,
                            "server.4242.leak.7.pb.gz", "server.4242.leak.pb.gz", "server.4242.threads.7.pb.gz",
                            "server.4242.threads.pb.gz"}));
}

TEST_F(ProfileReport, ALinkThatCannotBeReplacedIsTroubleButTheProfileStands) {
  fs::create_directories(dir_ + "/server.4242.leak.pb.gz/full");
  const auto lines = report(at(7));
  EXPECT_TRUE(lines.starts_with("profile ")) << lines;
  EXPECT_NE(lines.find("trouble cannot link server.4242.leak.pb.gz: "), std::string::npos) << lines;
  EXPECT_EQ(std::count_if(fs::directory_iterator(dir_), {},
                          [](const auto &entry) { return entry.path().string().ends_with(".tmp"); }),
            0);
}

TEST_F(ProfileReport, FileSizeLimitLeavesNoHalfFile) {
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit limit = {64, 64};
    const auto bytes = at(7).build();
    const int capture = memfd_create("capture", MFD_CLOEXEC);
    if (write(capture, bytes.data(), bytes.size()) < 0) _exit(9);
    const Descriptor directory(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    int result[2];
    if (pipe(result) != 0 || setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(9);
    const int status = castaway::report({capture, directory.get(), result[1]});
    char lines[1024] = {};
    if (read(result[0], lines, sizeof lines - 1) < 0) _exit(9);
    const bool told =
        std::string(lines).find("trouble cannot write server.4242.leak.7.pb.gz: File too large\n") != std::string::npos;
    const bool no_profile = std::string(lines).find("profile ") == std::string::npos;
    _exit(status == 1 && told && no_profile ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(names(), Names{});
}

TEST_F(ProfileReport, FullDiskLeavesNoHalfFile) {
  if (mount("castaway", dir_.c_str(), "tmpfs", 0, "size=8k") != 0) GTEST_SKIP() << "no right to mount";
  std::ofstream(dir_ + "/filler") << std::string(8192, 'x');
  const auto lines = report(at(7));
  EXPECT_NE(lines.find("trouble cannot write server.4242.leak.7.pb.gz: No space left on device\n"), std::string::npos)
      << lines;
  EXPECT_EQ(names(), Names{"filler"});
  umount(dir_.c_str());
}

TEST_F(ProfileReport, DirectoryThatVanishedIsTrouble) {
  const auto bytes = at(7).build();
  const Descriptor capture(memfd_create("capture", MFD_CLOEXEC));
  ASSERT_EQ(write_all(capture.get(), {reinterpret_cast<const char *>(bytes.data()), bytes.size()}), 0);
  const Descriptor directory(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  fs::remove_all(dir_);
  EXPECT_EQ(castaway::report({capture.get(), directory.get(), -1}), 1);
  EXPECT_EQ(castaway::report({capture.get(), -1, -1}), 1);
  EXPECT_EQ(castaway::report({-1, directory.get(), -1}), 1);
}

TEST_F(ProfileReport, DamagedCapturesAreTrouble) {
  std::ofstream(dir_ + ".capture") << "CASTAWAY has eight letters, like CASTAWY1";
  EXPECT_EQ(*report_file(dir_ + ".capture", dir_), "trouble not a capture: wrong magic\n");
  std::ofstream(dir_ + ".capture") << "";
  EXPECT_EQ(*report_file(dir_ + ".capture", dir_), "trouble capture: empty\n");
  fs::remove(dir_ + ".capture");
  EXPECT_EQ(report_file(dir_ + ".capture", dir_).error(), dir_ + ".capture: No such file or directory");
  EXPECT_EQ(names(), Names{});
}

TEST_F(ProfileReport, DuplicateStacksAndLabelsAreOneSample) {
  auto builder = at(7);
  builder.call_stack(1, {0x5000}).call_stack(2, {0x5000});
  builder.leak(1, 5, 1, 16, false, 5000000000).leak(2, 5, 2, 64, false, 9000000000).leak(2, 5, 4, 64, true);
  for (int tid = 10; tid < 20; tid++) {
    auto &thread = builder.leaked_thread(tid, "worker", 5);
    thread.since_ns = static_cast<uint64_t>(tid) * 1000000000;
    thread.retained_bytes = 8;
  }
  builder.leaked_thread(20, "another", 5);
  report(builder);
  const auto profile = newest();
  ASSERT_EQ(profile.samples.size(), 4u);
  for (const auto &sample : profile.samples) {
    const auto totals = sample_totals(profile, sample);
    if (sample.label("thread") == "worker") {
      EXPECT_EQ(totals.threads, 10);
      EXPECT_EQ(totals.retained_bytes, 80);
      EXPECT_EQ(sample.number("age"), 19);
      EXPECT_EQ(sample.number("tid"), std::nullopt);
      EXPECT_EQ(sample.label("wait"), "mutex");
      EXPECT_EQ(sample.label("reason"), "unreachable");
      EXPECT_EQ(sample.label("kind"), "thread");
    } else if (sample.label("thread") == "another") {
      EXPECT_EQ(sample.number("tid"), 20);
    } else if (sample.label("leak") == "direct") {
      EXPECT_EQ(totals.objects, 3);
      EXPECT_EQ(totals.bytes, 80);
      EXPECT_EQ(sample.number("age"), 9);
    } else {
      EXPECT_EQ(sample.label("leak"), "indirect");
      EXPECT_EQ(totals.objects, 4);
    }
  }
}

TEST_F(ProfileReport, DefaultSampleTypeIsTheFirstThatIsNotZero) {
  const auto type_of = [&](const CaptureBuilder &builder) {
    report(builder);
    const auto profile = newest();
    return profile.sample_types[profile.default_sample_type].type;
  };
  EXPECT_EQ(type_of(at(7)), "leaked_threads");
  EXPECT_EQ(type_of(at(7).leak(0, 5, 3, 0)), "leaked_objects");
  auto builder = at(7);
  builder.leaked_thread(1, "a", 5);
  EXPECT_EQ(type_of(builder.leak(0, 5, 3, 48)), "leaked_threads");
}

TEST_F(ProfileReport, ACommentTellsWhatFollowedThePause) {
  auto builder = at(7);
  builder.fact("faults_after", "1234").fact("after_ns", "97000000");
  report(builder);
  EXPECT_EQ(newest().comment(kAfter), "1234 page faults in the 97.0 ms since the pause");
}

TEST_F(ProfileReport, ACommentTellsTheMemoryOfTheScan) {
  auto builder = at(7);
  builder.fact("scan_bytes", "3250000");
  report(builder);
  EXPECT_EQ(newest().comment(kScan), "3.1 MiB of memory");
  builder.fact("shared_spared", "1");
  report(builder);
  EXPECT_EQ(newest().comment(kScan), "3.1 MiB of memory, none for shared memory");
}

TEST_F(ProfileReport, CommentsTellWhatTheyShould) {
  auto builder = at(7);
  builder.note("12 threads could not be stopped").note("evil \033[31m").fact("previous_wall_ns", "1699999999000000000");
  report(builder);
  const auto profile = newest();
  EXPECT_EQ(profile.comment(kProgram), "./server --port 80");
  EXPECT_EQ(profile.comment(kPause), "2.5 ms, threads stopped by ptrace");
  EXPECT_EQ(profile.comment(kHeap), "1000 blocks, 65536 bytes");
  EXPECT_EQ(profile.comment(kSafepoint), "7, periodic");
  ASSERT_EQ(profile.notes().size(), 2u);
  EXPECT_EQ(profile.notes()[0], "12 threads could not be stopped");
  EXPECT_EQ(profile.notes()[1], "evil \\x1b[31m");
  EXPECT_EQ(profile.comment(kAfter), "") << "the process was gone";
  EXPECT_EQ(profile.time_nanos, 1700000000000000000);
  EXPECT_EQ(profile.duration_nanos, 1000000000);
}

TEST_F(ProfileReport, HugeNumbersDoNotWrap) {
  auto builder = at(7);
  for (int i = 0; i < 3; i++) builder.leak(0, 5, ~uint64_t(0), uint64_t(1) << 62, false, ~uint64_t(0));
  builder.fact("pause_ns", "18446744073709551615").fact("keep", "18446744073709551615");
  const auto lines = report(builder);
  EXPECT_NE(lines.find("objects 9223372036854775807\nbytes 9223372036854775807\n"), std::string::npos) << lines;
  EXPECT_EQ(leak_totals(newest()).bytes, INT64_MAX);
}

} // namespace
} // namespace castaway
