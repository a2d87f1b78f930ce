// Debug information that is compressed is not read for threads that run alone, nor for the C library. This program's
// is: see CMakeLists.txt.
#include "profile/earlier_symbols.h"
#include "profile/make_profiles.h"
#include "tests/profile_process.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

namespace castaway {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFunction = "castaway::known::Waiter::outer_wait<long>";
#if defined(__x86_64__)
constexpr size_t kPc = 16;
#else
constexpr size_t kPc = 32;
#endif

ProfileData parsed(const std::string &bytes) { return *parse_profile(std::as_bytes(std::span(bytes))); }

class Lines : public testing::Test {
protected:
  Lines() : process_(0) {
    builder_.maps(process_.maps());
    busy().registers[kPc] = address_in_outer_wait() - 1;
  }
  ThreadRecord &busy() { return builder_.thread(17, "busy"); }

  ProfileData threads_profile(EarlierSymbols *earlier = nullptr) {
    const auto bytes = builder_.build();
    return parsed(make_profiles(*Capture::read(bytes), earlier).threads);
  }
  // How many frames of the thread's only address have a source line; expects its function to be there.
  static size_t lines_of_busy(const ProfileData &profile) {
    size_t lines = 0;
    std::string function;
    for (const auto &sample : profile.samples)
      for (const auto &frame : profile.frames(sample))
        if (frame.address == address_in_outer_wait() - 1) lines += frame.line > 0, function = frame.function;
    EXPECT_EQ(function, kFunction);
    return lines;
  }
  // The same of a periodic profile that follows one that somebody asked for.
  size_t lines_after_demand() {
    builder_.fact("trigger", "demand");
    EarlierSymbols earlier;
    earlier.add(threads_profile());
    builder_.fact("trigger", "periodic");
    return lines_of_busy(threads_profile(&earlier));
  }

  const BlockedProcess process_;
  CaptureBuilder builder_;
};

TEST_F(Lines, AreSparedWhereAThreadRuns) { EXPECT_EQ(lines_of_busy(threads_profile()), 0u); }

TEST_F(Lines, AreThereWhenSomebodyAsks) {
  builder_.fact("trigger", "demand");
  EXPECT_GT(lines_of_busy(threads_profile()), 0u);
}

TEST_F(Lines, AreThereWhereAThreadIsInASystemCall) {
  auto &blocked = busy();
  blocked.registers[kPc] = address_in_outer_wait() - 1;
  blocked.system_call = 0;
  EXPECT_GT(lines_of_busy(threads_profile()), 0u);
}

TEST_F(Lines, AreThereWhereALeakNeedsThem) {
  builder_.call_stack(5, {address_in_outer_wait()}).leak(5, 6, 1, 16);
  EXPECT_GT(lines_of_busy(threads_profile()), 0u);
}

// It has been read already.
TEST_F(Lines, AreThereWhereALeakElsewhereInTheFileNeedsLines) {
  builder_.call_stack(5, {address_in_outer_wait() + 1}).leak(5, 6, 1, 16);
  EXPECT_GT(lines_of_busy(threads_profile()), 0u);
}

TEST_F(Lines, ThatWereSparedAreLookedUpWhenTheyAreNeeded) {
  EarlierSymbols earlier;
  earlier.add(threads_profile());
  EXPECT_EQ(lines_of_busy(threads_profile(&earlier)), 0u);
  builder_.call_stack(5, {address_in_outer_wait()}).leak(5, 6, 1, 16);
  EXPECT_GT(lines_of_busy(threads_profile(&earlier)), 0u);
}

TEST_F(Lines, ThatAreKnownAlreadyAreTakenOver) { EXPECT_GT(lines_after_demand(), 0u); }

// This program in the C library's stead, and a leak that was allocated there.
class LinesOfTheCLibrary : public Lines {
protected:
  LinesOfTheCLibrary() {
    const auto self = fs::read_symlink("/proc/self/exe").string();
    fs::create_directories(directory_);
    fs::copy_file(self, directory_ + "/libc.so.6");
    auto maps = process_.maps();
    for (size_t at = 0; (at = maps.find(self, at)) != maps.npos;)
      maps.replace(at, self.size(), directory_ + "/libc.so.6");
    builder_.maps(maps).call_stack(5, {address_in_outer_wait()}).leak(5, 6, 1, 16);
  }
  ~LinesOfTheCLibrary() override { fs::remove_all(directory_); }

  const std::string directory_ = testing::TempDir() + "lines." + std::to_string(getpid());
};

TEST_F(LinesOfTheCLibrary, AreSpared) { EXPECT_EQ(lines_of_busy(threads_profile()), 0u); }

TEST_F(LinesOfTheCLibrary, AreThereWhenSomebodyAsks) {
  EarlierSymbols earlier;
  earlier.add(threads_profile());
  builder_.fact("trigger", "demand");
  EXPECT_GT(lines_of_busy(threads_profile()), 0u);
  EXPECT_GT(lines_of_busy(threads_profile(&earlier)), 0u) << "that they were spared says nothing of them";
}

TEST_F(LinesOfTheCLibrary, ThatAreKnownAlreadyAreTakenOver) { EXPECT_GT(lines_after_demand(), 0u); }

} // namespace
} // namespace castaway
