// Texts: the summary, debug=1 and debug=2; profiles read back; damaged input.
#include "profile/gzip.h"
#include "profile/make_profiles.h"
#include "profile/show.h"
#include "tests/profile_process.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <regex>
#include <unistd.h>

namespace castaway {
namespace {

std::string serialized(const CaptureBuilder &builder, bool threads = false) {
  const auto bytes = builder.build();
  const auto profiles = make_profiles(*Capture::read(bytes));
  return threads ? profiles.threads : profiles.leak.bytes;
}

ProfileData parsed(const std::string &bytes) { return *parse_profile(std::as_bytes(std::span(bytes))); }

std::string rendered(const CaptureBuilder &builder, int debug, bool threads = false) {
  ShowOptions options;
  options.debug = debug;
  return render(parsed(serialized(builder, threads)), options);
}

// Two groups of threads, two of memory. No code behind them.
CaptureBuilder small() {
  CaptureBuilder builder;
  builder.fact("trigger", "demand");
  for (int tid = 10; tid < 13; tid++) {
    auto &thread = builder.leaked_thread(tid, "worker", 6);
    thread.wait = WaitKind::cond;
    thread.registers[16] = 0x1000;
    thread.since_ns = 310000000000;
    thread.retained_bytes = 1000;
  }
  builder.leaked_thread(17, "late\033[31m", 7).registers[16] = 0x2000;
  builder.call_stack(1, {0x3001, 0x4001});
  return builder.leak(1, 6, 100, 1 << 20, false, 65000000000).leak(0, 7, 2, 32, true);
}

bool has_line(const std::string &text, const std::string &line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(ProfileShow, Debug1HasTheShapeOfGo) {
  const auto text = rendered(small(), 1);
  EXPECT_TRUE(text.starts_with("leak profile: total 106\n3 @ 0x1000\n")) << text;
  EXPECT_TRUE(has_line(text, "100 @ 0x3000 0x4000")) << text;
  EXPECT_TRUE(has_line(text, "#\t0x3000\t0x3000")) << text;
  EXPECT_TRUE(has_line(text, "#\t0x0\t[allocation not sampled]")) << text;
  EXPECT_TRUE(has_line(text, "# retained: 3000 bytes")) << text;
  EXPECT_NE(text.find("\"wait\":\"cond\""), std::string::npos) << text;
  EXPECT_NE(text.find("\"age\":\"310 seconds\""), std::string::npos) << text;
}

TEST(ProfileShow, Debug2HasOneEntryPerThreadOrGroup) {
  const auto text = rendered(small(), 2);
  EXPECT_TRUE(text.starts_with("thread ×3 \"worker\" [cond wait (leaked), unreachable, 5 minutes]:\n")) << text;
  EXPECT_TRUE(has_line(text, "thread 17 \"late\\x1b[31m\" [mutex lock (leaked, unconfirmed), unreachable]:")) << text;
  EXPECT_TRUE(has_line(text, "memory ×100, 1048576 bytes [direct leak, 1 minute]:")) << text;
  EXPECT_TRUE(has_line(text, "memory ×2, 32 bytes [indirect leak, unconfirmed]:")) << text;
}

TEST(ProfileShow, ThreadsProfile) {
  auto builder = small();
  builder.thread(99, "idle").system_call = 9999;
  const auto stacks = rendered(builder, 1, true);
  EXPECT_TRUE(stacks.starts_with("threads profile: total 5\n")) << stacks;
  const auto threads = rendered(builder, 2, true);
  EXPECT_TRUE(has_line(threads, "thread ×3 \"worker\" [cond wait (leaked), 5 minutes]:")) << threads;
  EXPECT_TRUE(has_line(threads, "thread 99 \"idle\" [system call 9999]:")) << threads;
  EXPECT_TRUE(has_line(threads, "thread 17 \"late\\x1b[31m\" [mutex lock (leaked, unconfirmed)]:")) << threads;
  builder.fact("trigger", "periodic");
  EXPECT_TRUE(has_line(rendered(builder, 2, true), "thread 17 \"late\\x1b[31m\" [mutex lock]:"));
}

TEST(ProfileShow, SummaryTellsTotalsSitesAndGaps) {
  auto builder = small();
  builder.note("3 threads escaped");
  const auto text = rendered(builder, 0);
  EXPECT_TRUE(has_line(text, "./server --port 80")) << text;
  EXPECT_TRUE(has_line(text, "3 leaked threads, 2.9 KiB retained; 100 leaked blocks, 1.0 MiB")) << text;
  EXPECT_TRUE(has_line(text, "1 leaked thread, 0 B retained; 2 leaked blocks, 32 B (unconfirmed: found once so far)"))
      << text;
  EXPECT_TRUE(has_line(text, "3 leaked threads, 2.9 KiB retained, \"worker\", cond wait, unreachable, for 5m10s"))
      << text;
  EXPECT_TRUE(has_line(text, "  3 threads escaped")) << text;
  EXPECT_EQ(text.find('\033'), std::string::npos) << "no colours unless asked for, none smuggled in";
}

TEST(ProfileShow, SummaryColoursAndLimits) {
  ShowOptions options;
  options.colour = true;
  options.sites = 1;
  options.path = "a.pb.gz";
  const auto text = render(parsed(serialized(small())), options);
  EXPECT_NE(text.find("\033[1;31m3 leaked threads"), std::string::npos) << text;
  EXPECT_NE(text.find("3 more, with less impact each"), std::string::npos) << text;
  EXPECT_NE(text.find("go tool pprof -http=: a.pb.gz"), std::string::npos) << text;
  EXPECT_TRUE(has_line(rendered(CaptureBuilder(), 0), "no leaks found"));
}

TEST(ProfileShow, FilesInAllThreeForms) {
  const auto path = testing::TempDir() + "show." + std::to_string(getpid());
  const auto builder = small();
  const auto plain = serialized(builder);
  const auto capture = builder.build();
  const auto texts = [&](std::string_view bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ShowOptions options;
    options.debug = 1;
    const auto text = show(path, options);
    return text ? *text : text.error();
  };
  const auto expected = rendered(builder, 1);
  EXPECT_EQ(texts(plain), expected);
  EXPECT_EQ(texts(*gzip(plain)), expected);
  EXPECT_EQ(texts({reinterpret_cast<const char *>(capture.data()), capture.size()}), expected);
  EXPECT_EQ(texts(""), path + ": not a pprof profile, or truncated");
  EXPECT_EQ(texts("just some text"), path + ": not a pprof profile, or truncated");
  EXPECT_EQ(texts(gzip(plain)->substr(0, 100)), path + ": gzip: truncated");
  EXPECT_EQ(texts({reinterpret_cast<const char *>(capture.data()), 100}),
            path + ": capture is truncated: it has 100 of " + std::to_string(capture.size()) + " bytes");
  std::filesystem::remove(path);
  EXPECT_EQ(show(path, {}).error(), path + ": No such file or directory");
  EXPECT_EQ(show("/", {}).error(), "/: not a regular file");
}

TEST(ProfileShow, TruncatedAndChangedProfilesAreSurvived) {
  const auto plain = serialized(small());
  const auto packed = *gzip(plain);
  const auto try_all = [](const std::string &bytes) {
    const auto copy = std::vector<char>(bytes.begin(), bytes.end()); // without a byte behind its end
    if (const auto profile = parse_profile(std::as_bytes(std::span(copy))))
      for (const int debug : {0, 1, 2}) {
        ShowOptions options;
        options.debug = debug;
        render(*profile, options);
      }
  };
  for (size_t size = 0; size < plain.size(); size++) try_all(plain.substr(0, size));
  for (size_t size = 0; size < packed.size(); size++) {
    EXPECT_FALSE(parse_profile(std::as_bytes(std::span(packed).first(size))).ok());
    try_all(packed.substr(0, size));
  }
  for (size_t i = 0; i < plain.size(); i++)
    for (const int value : {0, 1, 0x7f, 0x80, 0xff}) {
      auto changed = plain;
      changed[i] = static_cast<char>(value);
      try_all(changed);
    }
}

TEST(ProfileShow, BombsAreRefused) {
  const auto bomb = gzip(std::string(size_t(8) << 20, '\0'));
  EXPECT_EQ(gunzip(std::as_bytes(std::span(*bomb)), 1 << 20).error(), "gzip: more than 1048576 bytes");
}

TEST(ProfileShow, OffsetsFilesAndLinesOfRealCode) {
  const BlockedProcess process(2);
  CaptureBuilder builder;
  process.capture(builder, 6);
  builder.call_stack(1, {address_in_outer_wait()});
  auto &thread = builder.leaked_thread(7, "made", 6);
  thread.created_stack = 1;
  const auto stacks = rendered(builder, 1);
  const auto line = std::to_string(kLineOfOuterCall);
  EXPECT_TRUE(std::regex_search(stacks, std::regex("\n#\t0x[0-9a-f]+\tcastaway::known::Waiter::outer_wait<long>"
                                                   "\\+0x[0-9a-f]+\t[^\n]*tests/profile_process.cc:" +
                                                   line + "\n")))
      << stacks;
  const auto threads = rendered(builder, 2);
  EXPECT_TRUE(std::regex_search(threads, std::regex("\ncastaway::known::inlined_wait\\(...\\) \\[inlined\\]\n"
                                                    "\t[^\n]*tests/profile_process.cc:[0-9]+ \\+0x[0-9a-f]+\n")))
      << threads;
  EXPECT_TRUE(has_line(threads, "created by castaway::known::Waiter::outer_wait<long>")) << threads;
}

TEST(ProfileShow, SitesAndIdentitiesAreThoseOfTheProgram) {
  const BlockedProcess process(1);
  CaptureBuilder builder;
  process.capture(builder, 6);
  const auto profile = parsed(serialized(builder));
  ASSERT_EQ(profile.samples.size(), 1u);
  const auto frames = profile.frames(profile.samples[0]);
  EXPECT_EQ(frames[site_frame(frames)].function, "castaway::known::inlined_wait");
  EXPECT_EQ(sample_identity(profile, profile.samples[0]), "thread\ncond\n\n\ncastaway::known::inlined_wait\n"
                                                          "castaway::known::Waiter::outer_wait<long>\n"
                                                          "castaway::known::run_cond\n");
}

} // namespace
} // namespace castaway
