// Unwinding and symbolizing a real process from its capture.
#include "profile/analysis.h"
#include "tests/profile_process.h"

#include <algorithm>
#include <chrono>
#include <gtest/gtest.h>
#include <unistd.h>

extern "C" const char etext; // end(3)

namespace castaway {
namespace {

struct Read {
  explicit Read(const CaptureBuilder &builder, SymbolDetail detail = SymbolDetail::full)
      : bytes(builder.build()), capture(std::move(*Capture::read(bytes))), map(*MemoryMap::parse(capture.maps())),
        modules(map, 4096, 0), symbols(modules, detail), analysis(capture, modules, symbols) {}

  std::vector<SourceFrame> frames(const AnalysedThread &thread) {
    std::vector<SourceFrame> all;
    for (const auto address : thread.addresses)
      for (const auto &frame : symbols.at(address).frames) all.push_back(frame);
    return all;
  }

  std::vector<std::byte> bytes;
  Capture capture;
  MemoryMap map;
  Modules modules;
  Symbolizer symbols;
  Analysis analysis;
};

std::string text_of(const std::vector<SourceFrame> &frames) {
  std::string text;
  for (const auto &frame : frames) text += frame.function + " " + frame.file + ":" + std::to_string(frame.line) + "\n";
  return text;
}

// `record` once more, with a stack of its own.
ThreadRecord &add_copy(CaptureBuilder &builder, const ThreadRecord &record, std::span<const std::byte> stack) {
  auto &copy = builder.thread(record.tid, record.name, stack);
  const auto offset = copy.stack_offset;
  copy = record;
  copy.stack_offset = offset;
  copy.stack_size = stack.size();
  return copy;
}

auto find_function(const std::vector<SourceFrame> &frames, const std::string &name) {
  return std::find_if(frames.begin(), frames.end(), [&](const auto &frame) { return frame.function == name; });
}

TEST(ProfileStacks, InlinedFramesWithFilesAndLines) {
  const BlockedProcess process(2);
  CaptureBuilder builder;
  process.capture(builder, 6);
  Read read(builder);
  ASSERT_EQ(read.analysis.threads().size(), 3u);
  const auto frames = read.frames(read.analysis.threads()[1]);
  const auto inlined = find_function(frames, "castaway::known::inlined_wait");
  const auto outer = find_function(frames, "castaway::known::Waiter::outer_wait<long>");
  const auto start = find_function(frames, "castaway::known::run_cond");
  ASSERT_NE(inlined, frames.end()) << text_of(frames);
  ASSERT_NE(outer, frames.end()) << text_of(frames);
  ASSERT_NE(start, frames.end()) << text_of(frames);
  EXPECT_EQ(outer, inlined + 1);
  EXPECT_EQ(inlined->line, kLineOfInlinedWait);
  EXPECT_EQ(outer->line, kLineOfOuterCall);
  EXPECT_TRUE(outer->file.ends_with(kProcessSource)) << outer->file;
  EXPECT_TRUE(outer->system_name.starts_with("_ZN8castaway5known6Waiter10outer_wait")) << outer->system_name;
}

// Internal linkage: in GCC's debug information such functions have no linkage name.
[[gnu::noinline]] uint64_t return_address() { return reinterpret_cast<uint64_t>(__builtin_return_address(0)); }
struct Local {};
template <typename T> struct Holder {
  [[gnu::always_inline]] static uint64_t address_inside() {
    const uint64_t address = return_address();
    asm volatile("" ::: "memory"); // no tail call
    return address;
  }
};

TEST(ProfileStacks, FunctionsWithoutLinkageNameKeepTheirScopes) {
  const uint64_t inside = Holder<Local>::address_inside() - 1;
  const BlockedProcess process(0); // this very program
  CaptureBuilder builder;
  process.capture(builder, 0);
  Read read(builder);
  const auto &frames = read.symbols.at(inside).frames;
  ASSERT_GE(frames.size(), 2u);
  EXPECT_TRUE(frames[0].function.starts_with("castaway::(anonymous namespace)::Holder<")) << frames[0].function;
  EXPECT_TRUE(frames[0].function.ends_with(">::address_inside")) << frames[0].function;
}

TEST(ProfileStacks, WaitsAreNamedAfterTheFunctionsOnTheStack) {
  const BlockedProcess process(2);
  CaptureBuilder builder;
  process.capture(builder, 6);
  for (const auto detail : {SymbolDetail::full, SymbolDetail::names_only}) {
    Read read(builder, detail);
    const auto &threads = read.analysis.threads();
    EXPECT_EQ(threads[0].wait, WaitKind::none);
    EXPECT_EQ(threads[1].wait, WaitKind::cond) << text_of(read.frames(threads[1]));
    EXPECT_EQ(threads[2].wait, WaitKind::mutex) << text_of(read.frames(threads[2]));
    EXPECT_TRUE(threads[1].leaked && threads[1].confirmed);
    EXPECT_FALSE(threads[0].leaked);
  }
}

// Debian's libc6-dbg is such a file; without it there is nothing to see.
TEST(ProfileStacks, SeparateDebugInformationIsFoundByBuildId) {
  const BlockedProcess process(1);
  CaptureBuilder builder;
  process.capture(builder, 6);
  builder.fact("trigger", "demand");
  Read read(builder);
  const auto leaf = read.analysis.threads()[1].addresses[0];
  const auto id = read.modules.at(leaf)->file->build_id();
  const auto path = "/usr/lib/debug/.build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug";
  if (access(path.c_str(), R_OK) != 0) GTEST_SKIP() << path << " is not installed";
  EXPECT_GT(read.symbols.at(leaf).frames.back().line, 0);
  Symbolizer elsewhere(read.modules, SymbolDetail::full, "/no/such/directory");
  EXPECT_EQ(elsewhere.at(leaf).frames.back().line, 0);
}

TEST(ProfileStacks, WholeStacksEndAtTheThreadsStart) {
  const BlockedProcess process(1);
  CaptureBuilder builder;
  process.capture(builder, 0);
  Read read(builder);
  EXPECT_TRUE(read.analysis.notes().empty()) << read.analysis.notes()[0];
  const auto main = read.frames(read.analysis.threads()[0]);
  EXPECT_NE(find_function(main, "main"), main.end()) << text_of(main);
}

TEST(ProfileStacks, CutStackSaysSo) {
  const BlockedProcess process(1);
  CaptureBuilder builder;
  process.capture(builder, 0);
  const auto bytes = builder.build();
  const auto capture = Capture::read(bytes);
  const auto &record = capture->threads()[1];
  add_copy(builder, record, capture->stack_of(record).first(192));
  Read read(builder);
  EXPECT_LT(read.analysis.threads()[2].addresses.size(), read.analysis.threads()[1].addresses.size());
  ASSERT_EQ(read.analysis.notes().size(), 1u);
  EXPECT_EQ(read.analysis.notes()[0], "1 thread stacks are incomplete");
}

TEST(ProfileStacks, ThousandsOfThreadsInTwoSeconds) {
  const BlockedProcess process(2);
  CaptureBuilder one;
  process.capture(one, 6);
  const auto bytes = one.build();
  const auto capture = Capture::read(bytes);
  CaptureBuilder many;
  many.maps(capture->maps());
  for (int i = 0; i < 5000; i++) {
    const auto &record = capture->threads()[1 + static_cast<size_t>(i % 2)];
    const auto whole = capture->stack_of(record);
    add_copy(many, record, whole.first(std::min<size_t>(whole.size(), 16384)));
  }
  const auto start = std::chrono::steady_clock::now();
  Read read(many);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  RecordProperty("seconds", std::to_string(seconds.count()));
  EXPECT_EQ(read.analysis.threads().size(), 5000u);
  EXPECT_EQ(read.analysis.threads()[4999].wait, WaitKind::mutex);
  EXPECT_LT(seconds.count(), 10.0); // some 0.2 s alone on the machine: leaves room for sanitizers and neighbours
}

TEST(ProfileStacks, ModuleThatIsGoneKeepsItsName) {
  const BlockedProcess process(1);
  CaptureBuilder builder;
  process.capture(builder, 0);
  auto maps = process.maps();
  for (size_t at = 0; (at = maps.find("libc.so.6", at)) != std::string::npos; at++) maps.replace(at, 9, "libX.so.9");
  builder.maps(maps);
  Read read(builder);
  const auto frames = read.frames(read.analysis.threads()[1]);
  EXPECT_TRUE(frames[0].function.starts_with("libX.so.9+0x")) << frames[0].function;
  ASSERT_EQ(read.analysis.notes().size(), 1u);
  EXPECT_NE(read.analysis.notes()[0].find("libX.so.9: No such file"), std::string::npos);
}

// Copies of a blocked thread, to be damaged.
struct DamagedThreads {
  DamagedThreads() {
    process.capture(builder, 0);
    bytes = builder.build();
    const auto capture = Capture::read(bytes);
    record = capture->threads()[1];
    stack = capture->stack_of(record);
    damaged.maps(process.maps());
  }
  void expect_survived() {
    Read read(damaged);
    for (const auto &thread : read.analysis.threads()) EXPECT_LE(thread.addresses.size(), kMostFrames);
  }

  const BlockedProcess process{1};
  CaptureBuilder builder, damaged;
  decltype(builder.build()) bytes;
  ThreadRecord record;
  std::span<const std::byte> stack; // of `bytes`
};

TEST(ProfileStacks, RandomRegistersAndStacksAreSurvived) {
  DamagedThreads threads;
  srand(1);
  for (int i = 0; i < 2000; i++) {
    std::vector<std::byte> stack(threads.stack.begin(), threads.stack.begin() + 4096);
    for (int j = 0; j < 64; j++) stack[static_cast<size_t>(rand()) % stack.size()] = static_cast<std::byte>(rand());
    auto &copy = add_copy(threads.damaged, threads.record, stack);
    copy.registers[static_cast<size_t>(rand()) % 17] += static_cast<uint64_t>(rand() % 512);
  }
  threads.expect_survived();
}

// A mapping ends with its page, a segment with its last byte.
TEST(ProfileStacks, FramesBehindTheEndOfASegmentAreSurvived) {
  const auto behind_text = reinterpret_cast<uint64_t>(&etext) | 0xff0;
  DamagedThreads threads;
  for (size_t i = 0; i < 17; i++) add_copy(threads.damaged, threads.record, threads.stack).registers[i] = behind_text;
  threads.expect_survived();
}

} // namespace
} // namespace castaway
