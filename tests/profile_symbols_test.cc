// What was symbolized at one safepoint is not looked up again at the next: told apart by names that only the earlier
// profile has.
#include "profile/earlier_symbols.h"
#include "profile/file.h"
#include "profile/gzip.h"
#include "profile/make_profiles.h"
#include "profile/pprof_builder.h"
#include "profile/profile_comments.h"
#include "profile/reporter.h"
#include "tests/profile_process.h"

#include <algorithm>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/file.h>
#include <unistd.h>

namespace castaway {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kKnown = "castaway::known::inlined_wait", kRenamed = "castaway::KNOWN::inlined_wait";

using Frame = std::tuple<std::string, std::string, int64_t, uint64_t>;

// All frames of all samples, in their order.
std::vector<Frame> frames_of(const ProfileData &profile) {
  std::vector<Frame> all;
  for (const auto &sample : profile.samples)
    for (const auto &frame : profile.frames(sample))
      all.emplace_back(frame.function, frame.file, frame.line, frame.address);
  return all;
}

size_t count_of(const ProfileData &profile, std::string_view function) {
  const auto frames = frames_of(profile);
  return static_cast<size_t>(
      std::count_if(frames.begin(), frames.end(), [&](const Frame &frame) { return std::get<0>(frame) == function; }));
}

ProfileData parsed(const std::string &bytes) { return *parse_profile(std::as_bytes(std::span(bytes))); }

void rename(ProfileData &profile) {
  for (auto &function : profile.functions)
    if (function.name == kKnown) function.name = kRenamed;
}

class EarlierProfiles : public testing::Test {
protected:
  EarlierProfiles() : process_(2) { process_.capture(builder_, 6); }

  ProfileData threads_profile(EarlierSymbols *earlier) {
    const auto bytes = builder_.build();
    return parsed(make_profiles(*Capture::read(bytes), earlier).threads);
  }
  // With one change to what was written before.
  template <typename Change> ProfileData after(Change change) {
    ProfileData before = threads_profile(nullptr);
    change(before);
    EarlierSymbols earlier;
    earlier.add(before);
    return threads_profile(&earlier);
  }
  // With another name, and `change` made to each element of a part: the name is not taken over.
  template <typename Change, typename Element>
  void expect_no_use(Change change, std::vector<Element> ProfileData::*part) {
    const auto changed = after([&](ProfileData &profile) {
      rename(profile);
      for (auto &element : profile.*part) change(element);
    });
    EXPECT_EQ(frames_of(changed), frames_of(threads_profile(nullptr)));
  }

  const BlockedProcess process_;
  CaptureBuilder builder_;
};

TEST_F(EarlierProfiles, AreTakenOverWithInlinedCallsFilesAndLines) {
  const auto fresh = threads_profile(nullptr);
  ASSERT_GT(count_of(fresh, kKnown), 0u);
  EXPECT_EQ(frames_of(after([](ProfileData &) {})), frames_of(fresh));
  const auto renamed = after(rename);
  EXPECT_EQ(count_of(renamed, kRenamed), count_of(fresh, kKnown));
  EXPECT_EQ(count_of(renamed, kKnown), 0u);
  EXPECT_EQ(frames_of(renamed).size(), frames_of(fresh).size());
}

TEST_F(EarlierProfiles, OfAnotherBuildAreNot) {
  expect_no_use([](ProfileMapping &mapping) { mapping.build_id += "0"; }, &ProfileData::mappings);
  expect_no_use([](ProfileMapping &mapping) { mapping.build_id.clear(); }, &ProfileData::mappings);
  expect_no_use([](ProfileMapping &mapping) { mapping.offset += 1; }, &ProfileData::mappings);
}

TEST_F(EarlierProfiles, WithoutSourceFilesOrSymbolsAreNot) {
  expect_no_use([](ProfileFunction &function) { function.file.clear(); }, &ProfileData::functions);
  expect_no_use([](ProfileLocation &location) { location.function_offset.reset(); }, &ProfileData::locations);
}

// Where other code of the file has source files, its debug information was there, and says no more of this one.
TEST_F(EarlierProfiles, WithoutASourceFileAreTakenOverWhereOthersOfTheSameFileHaveOne) {
  const auto renamed = after([](ProfileData &profile) {
    rename(profile);
    for (auto &function : profile.functions)
      if (function.name == kRenamed) function.file.clear();
  });
  EXPECT_EQ(count_of(renamed, kRenamed), count_of(threads_profile(nullptr), kKnown));
  EXPECT_EQ(count_of(renamed, kKnown), 0u);
}

std::string own_maps() {
  std::ostringstream text;
  text << std::ifstream("/proc/self/maps").rdbuf();
  return text.str();
}

// Only where debug information is compressed (profile_lines_test.cc).
TEST(Symbols, HaveLinesWhereverLinesAreCheap) {
  const auto map = *MemoryMap::parse(own_maps());
  const Modules modules(map, 4096, 0);
  Symbolizer symbols(modules, SymbolDetail::full);
  const auto address = reinterpret_cast<uint64_t>(&own_maps);
  symbols.spare_lines_of({address});
  EXPECT_TRUE(symbols.at(address).frames.back().file.ends_with("profile_symbols_test.cc"));
}

// libstdc++ is usually without debug information, and has a symbol for this.
uint64_t address_of_terminate() { return reinterpret_cast<uint64_t>(dlsym(RTLD_DEFAULT, "_ZSt9terminatev")); }

TEST(Symbols, NeedNoHttpLibraryToLearnThatThereAreNoServers) {
  const auto map = MemoryMap::parse(own_maps());
  ASSERT_TRUE(map);
  const Modules modules(*map, 4096, 0);
  Symbolizer symbols(modules, SymbolDetail::full);
  EXPECT_EQ(symbols.at(address_of_terminate()).frames.back().function, "std::terminate");
  EXPECT_EQ(own_maps().find("debuginfod"), std::string::npos);
}

// What std::terminate is called if an earlier profile has this for it; empty where libstdc++ has debug information.
std::string name_of_terminate(const std::string &earlier_name, std::optional<uint64_t> earlier_offset) {
  const auto map = *MemoryMap::parse(own_maps());
  const Modules modules(map, 4096, 0);
  const auto address = address_of_terminate();
  Symbolizer fresh(modules, SymbolDetail::full);
  if (!fresh.at(address).frames.back().file.empty()) return "";
  const auto &mapping = map.mappings()[static_cast<size_t>(map.find(address))];
  ProfileData before;
  before.mappings = {{mapping.begin, mapping.end, mapping.offset, mapping.path, modules.at(address)->file->build_id()}};
  before.functions = {{earlier_name, earlier_offset ? earlier_name : "", ""}}; // a fallback is no symbol
  before.locations = {{address, 0, {{0, 0}}, earlier_offset}};
  EarlierSymbols earlier;
  earlier.add(before);
  return Symbolizer(modules, SymbolDetail::full, "", &earlier).at(address).frames.back().function;
}

TEST(Symbols, OfFilesWithoutDebugInformationAreTakenOver) {
  const auto name = name_of_terminate("earlier", 0);
  if (name.empty()) GTEST_SKIP() << "libstdc++ has debug information";
  EXPECT_EQ(name, "earlier");
}

// A name that stands for none is made of the file's, which may be another one today.
TEST(Symbols, ThatWereNotFoundStayWithTheirFallbackNames) {
  if (name_of_terminate("earlier", 0).empty()) GTEST_SKIP() << "libstdc++ has debug information";
  const auto map = *MemoryMap::parse(own_maps());
  const auto address = address_of_terminate();
  const Modules modules(map, 4096, 0);
  std::ostringstream fallback;
  fallback << fs::path(modules.at(address)->path).filename().string() << "+0x" << std::hex
           << address - modules.at(address)->bias;
  EXPECT_EQ(name_of_terminate(fallback.str(), std::nullopt), fallback.str());
  EXPECT_EQ(name_of_terminate("other.so+0x17", std::nullopt), "std::terminate");
}

// ---- by the reporter, from the files of the output directory

class EarlierFiles : public EarlierProfiles {
protected:
  EarlierFiles() : dir_(testing::TempDir() + "symbols." + std::to_string(getpid())) {
    fs::create_directories(dir_);
    builder_.fact("output", dir_);
  }
  ~EarlierFiles() override { fs::remove_all(dir_); }

  ProfileData report_at(int safepoint) {
    builder_.fact("safepoint", std::to_string(safepoint));
    const auto bytes = builder_.build();
    const auto path = dir_ + "/capture";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    const Descriptor capture(open(path.c_str(), O_RDONLY | O_CLOEXEC)),
        output(open(dir_.c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(report({capture.get(), output.get(), -1}), 0);
    return *read_profile(file_of("threads", safepoint));
  }
  std::string file_of(const char *kind, int safepoint) const {
    return dir_ + "/server.4242." + kind + "." + std::to_string(safepoint) + ".pb.gz";
  }
  // Another name of the same length in both files of a safepoint.
  void rename_in_files(int safepoint) {
    for (const auto *kind : {"leak", "threads"}) rename_in_file(file_of(kind, safepoint));
  }
  static void rename_in_file(const std::string &path) {
    const auto bytes = *read_file(path, 1 << 24);
    auto text = *gunzip(bytes, 1 << 26);
    for (size_t at = 0; (at = text.find(kKnown, at)) != std::string::npos;) text.replace(at, kKnown.size(), kRenamed);
    std::ofstream(path, std::ios::binary) << *gzip(text);
  }

  const std::string dir_;
};

TEST_F(EarlierFiles, OfTheSafepointsBeforeAreRead) {
  const auto first = report_at(1);
  const auto count = count_of(first, kKnown);
  ASSERT_GT(count, 0u);
  rename_in_files(1);
  EXPECT_EQ(count_of(report_at(2), kRenamed), count);
  EXPECT_EQ(count_of(report_at(5), kRenamed), count) << "two were missing";
  EXPECT_EQ(count_of(report_at(20), kKnown), count) << "too long ago";
}

// A thread that runs is somewhere else each time, and often where it was before.
TEST_F(EarlierFiles, OfOlderSafepointsAreReadWhereTheLastOnesDoNotSayIt) {
  const auto count = count_of(report_at(1), kKnown);
  rename_in_files(1);
  const auto knows_nothing = [&](int safepoint) {
    for (const auto *kind : {"leak", "threads"})
      std::ofstream(file_of(kind, safepoint), std::ios::binary) << *gzip(PprofBuilder().finish());
  };
  for (const int safepoint : {2, 4, 7, 8}) knows_nothing(safepoint);
  EXPECT_EQ(count_of(report_at(9), kRenamed), count);
  knows_nothing(9);
  EXPECT_EQ(count_of(report_at(10), kKnown), count) << "too long ago";
}

// A server's workers run the same code; the first report of each need not read all debug information again.
TEST_F(EarlierFiles, OfProcessesWithTheSameNameAreReadWhereThereAreNone) {
  const auto count = count_of(report_at(1), kKnown);
  for (const auto *name : {"another", "server.x", "server"}) {
    const bool is_sibling = std::string_view(name) == "server";
    rename_in_files(1);
    for (const auto *kind : {"leak", "threads"})
      fs::rename(file_of(kind, 1), dir_ + "/" + name + ".17." + kind + ".3.pb.gz");
    EXPECT_EQ(count_of(report_at(1), is_sibling ? kRenamed : kKnown), count) << name;
  }
}

// They do not all do the same: what one has not met another one has, and the youngest is asked first.
TEST_F(EarlierFiles, OfProcessesWithTheSameNameAreReadOneAfterTheOther) {
  const auto count = count_of(report_at(1), kKnown);
  const auto own = file_of("threads", 1), sibling = dir_ + "/server.17.threads.3.pb.gz";
  fs::remove(file_of("leak", 1));
  rename_in_file(own);
  fs::rename(own, sibling);
  std::ofstream(dir_ + "/server.9.threads.1.pb.gz", std::ios::binary) << *gzip(PprofBuilder().finish());
  std::ofstream(dir_ + "/server.18.threads.2.pb.gz", std::ios::binary) << *gzip(PprofBuilder().finish());
  EXPECT_EQ(count_of(report_at(1), kRenamed), count);
  // Its own earlier profile knows nothing of this code.
  std::ofstream(file_of("threads", 1), std::ios::binary) << *gzip(PprofBuilder().finish());
  fs::remove(file_of("leak", 1));
  EXPECT_EQ(count_of(report_at(2), kRenamed), count);
  // The newest of a process only.
  std::ofstream(dir_ + "/server.17.threads.10.pb.gz", std::ios::binary) << *gzip(PprofBuilder().finish());
  for (const auto *kind : {"leak", "threads"})
    for (int safepoint : {1, 2}) fs::remove(file_of(kind, safepoint));
  EXPECT_EQ(count_of(report_at(1), kKnown), count);
}

// Workers that were started together report together. What one is about to write the others wait for, rather than that
// each reads the same debug information.
TEST_F(EarlierFiles, ThatAreBeingMadeAreWaitedFor) {
  const auto count = count_of(report_at(1), kKnown);
  rename_in_files(1);
  for (const auto *kind : {"leak", "threads"}) fs::rename(file_of(kind, 1), dir_ + "/hidden." + kind);
  Descriptor other(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(flock(other.get(), LOCK_EX), 0);
  auto report = std::async(std::launch::async, [this] { return report_at(1); });
  EXPECT_EQ(report.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  for (const auto *kind : {"leak", "threads"})
    fs::rename(dir_ + "/hidden." + kind, dir_ + "/server.17." + kind + ".1.pb.gz");
  other = Descriptor();
  EXPECT_EQ(count_of(report.get(), kRenamed), count);
}

// Others may hold a directory that all share for ever.
TEST_F(EarlierFiles, AreNotWaitedForLong) {
  Descriptor other(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(flock(other.get(), LOCK_EX), 0);
  EXPECT_GT(count_of(report_at(1), kKnown), 0u);
}

TEST_F(EarlierFiles, OfAnotherUserAreNot) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const auto count = count_of(report_at(1), kKnown);
  rename_in_files(1);
  for (const auto *kind : {"leak", "threads"}) ASSERT_EQ(chown(file_of(kind, 1).c_str(), 12345, 12345), 0);
  EXPECT_EQ(count_of(report_at(2), kKnown), count);
}

TEST_F(EarlierFiles, ThatCannotBeReadAreNoTrouble) {
  const auto first = report_at(1);
  for (const auto *kind : {"leak", "threads"}) fs::resize_file(file_of(kind, 1), 100);
  EXPECT_EQ(frames_of(report_at(2)), frames_of(first));
  for (const auto *kind : {"leak", "threads"}) {
    fs::remove(file_of(kind, 2));
    fs::create_directory(file_of(kind, 2));
    fs::remove(file_of(kind, 1));
    fs::create_symlink(dir_ + "/capture", file_of(kind, 1));
  }
  EXPECT_EQ(frames_of(report_at(3)), frames_of(first));
}

} // namespace
} // namespace castaway
