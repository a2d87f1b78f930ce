// What we write, as Go's pprof reads it.
#include "profile/gzip.h"
#include "profile/make_profiles.h"
#include "tests/profile_process.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <unistd.h>

namespace castaway {
namespace {

class ProfilePprof : public testing::Test {
protected:
  ProfilePprof() : path_(testing::TempDir() + "pprof." + std::to_string(getpid())) {}
  ~ProfilePprof() override { std::filesystem::remove_all(path_); }

  void SetUp() override {
    std::filesystem::create_directories(path_);
    if (std::system("go version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no go";
  }

  void write(const CaptureBuilder &builder, bool threads = false) {
    const auto bytes = builder.build();
    const auto profiles = make_profiles(*Capture::read(bytes));
    const auto packed = *gzip(threads ? profiles.threads : profiles.leak.bytes);
    std::ofstream(path_ + "/p.pb.gz", std::ios::binary)
        .write(packed.data(), static_cast<std::streamsize>(packed.size()));
  }

  // Both outputs of `go tool pprof OPTIONS` on the profile.
  std::string pprof(const std::string &options) {
    const auto command = "HOME=" + path_ + " GOFLAGS= GOCACHE=" + path_ + "/cache PPROF_TMPDIR=" + path_ +
                         " go tool pprof " + options + " " + path_ + "/p.pb.gz >" + path_ + "/out 2>&1";
    const int status = std::system(command.c_str());
    std::ifstream file(path_ + "/out");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return status == 0 ? text : "FAILED: " + text;
  }

  std::string path_;
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

CaptureBuilder blocked(const BlockedProcess &process) {
  CaptureBuilder builder;
  process.capture(builder, 6);
  builder.call_stack(1, {address_in_outer_wait()});
  return builder.leak(1, 6, 100, 1 << 20, false, 400000000000).leak(0, 6, 3, 77, true);
}

TEST_F(ProfilePprof, RawHasTypesLabelsMappingsAndComments) {
  const BlockedProcess process(5);
  write(blocked(process));
  const auto raw = pprof("-raw");
  EXPECT_HAS(raw, "leaked_threads/count[dflt] retained_space/bytes leaked_objects/count leaked_space/bytes");
  EXPECT_HAS(raw, "\n          3       3072          0          0:");
  EXPECT_HAS(raw, "kind:[thread] reason:[unreachable] state:[confirmed] thread:[worker] wait:[cond]");
  EXPECT_HAS(raw, "kind:[memory] leak:[direct] state:[confirmed]");
  EXPECT_HAS(raw, "age:[300 seconds]");
  EXPECT_HAS(raw, "[allocation not sampled]");
  EXPECT_HAS(raw, "Comment: program: ./server --port 80");
  EXPECT_HAS(raw, "[FN][FL][LN][IN]");
  EXPECT_HAS(raw, "castaway::known::inlined_wait");
}

TEST_F(ProfilePprof, TopTracesAndTags) {
  const BlockedProcess process(5);
  write(blocked(process));
  EXPECT_HAS(pprof("-top"), "Type: leaked_threads");
  EXPECT_HAS(pprof("-top -cum"), "castaway::known::Waiter::outer_wait<long>");
  EXPECT_HAS(pprof("-top -sample_index=leaked_space"), "1MB total");
  EXPECT_HAS(pprof("-top -sample_index=retained_space"), "5kB total");
  const auto traces = pprof("-traces");
  EXPECT_HAS(traces,
             "castaway::known::inlined_wait (inline)\n             castaway::known::Waiter::outer_wait<long>\n");
  const auto tags = pprof("-tags");
  EXPECT_HAS(tags, "5.0 (  100%): thread");
  EXPECT_HAS(tags, "2.0 (40.00%): mutex");
  EXPECT_HAS(pprof("-top -tagfocus=wait=mutex"), "2, 40.00% of 5 total");
  EXPECT_HAS(pprof("-list=outer_wait -source_path=/ -trim_path=/"), "inlined_wait();");
}

TEST_F(ProfilePprof, SurvivesARoundTripThroughPprof) {
  const BlockedProcess process(2);
  write(blocked(process));
  const auto raw = pprof("-raw");
  EXPECT_EQ(pprof("-proto -output=" + path_ + "/again.pb.gz").find("FAILED"), std::string::npos);
  std::filesystem::rename(path_ + "/again.pb.gz", path_ + "/p.pb.gz");
  EXPECT_HAS(pprof("-top -cum"), "castaway::known::run_lock");
  const auto again = read_profile(path_ + "/p.pb.gz");
  ASSERT_TRUE(again.ok()) << again.error();
  EXPECT_EQ(again->kind, ProfileKind::leak);
  EXPECT_EQ(leak_totals(*again).threads, 2);
  EXPECT_EQ(leak_totals(*again, LeakState::confirmed).objects, 103);
}

TEST_F(ProfilePprof, NeedsNoBinary) {
  const BlockedProcess process(2);
  auto builder = blocked(process);
  write(builder);
  const auto top = pprof("-top -cum -symbolize=local");
  EXPECT_HAS(top, "castaway::known::inlined_wait");
  EXPECT_EQ(top.find("symbolization"), std::string::npos) << top;
}

TEST_F(ProfilePprof, WithoutSymbolsPprofFindsThemItself) {
  const BlockedProcess process(2);
  auto builder = blocked(process);
  builder.fact("symbolize", "off");
  write(builder);
  const auto profile = read_profile(path_ + "/p.pb.gz");
  EXPECT_EQ(profile->functions.size(), 1u) << "the marker's only";
  // Go's own pprof knows C++ functions by line only; google/pprof asks addr2line for names as well.
  EXPECT_HAS(pprof("-raw"), std::string(kProcessSource) + ":" + std::to_string(kLineOfInlinedWait));
}

TEST_F(ProfilePprof, ThreadsProfile) {
  const BlockedProcess process(4);
  write(blocked(process), true);
  EXPECT_HAS(pprof("-raw"), "threads/count");
  const auto tags = pprof("-tags");
  EXPECT_HAS(tags, "cond wait (leaked)");
  EXPECT_HAS(tags, "main");
  EXPECT_HAS(pprof("-top"), "of 5 total");
}

TEST_F(ProfilePprof, AnEmptyProfileIsAProfile) {
  write(CaptureBuilder());
  const auto raw = pprof("-raw");
  EXPECT_HAS(raw, "leaked_threads/count[dflt]");
  EXPECT_EQ(raw.find("FAILED"), std::string::npos) << raw;
}

} // namespace
} // namespace castaway
