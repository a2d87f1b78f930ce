// The capture reader: good captures come out whole, bad ones give one line that names what is wrong.
#include "profile/capture_reader.h"
#include "profile/make_profiles.h"
#include "tests/capture_builder.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

CaptureBuilder full_capture() {
  CaptureBuilder builder;
  builder.maps("400000-500000 r-xp 00000000 08:01 77 /no/such/program\n").note("half of it is missing");
  const std::vector<std::byte> stack(64, std::byte{7});
  builder.thread(11, "first", stack);
  builder.thread(12, "second", stack);
  builder.call_stack(1, {0x401000, 0x402000}).call_stack(9, {});
  builder.leak(1, 6, 10, 1000).leak(0, 7, 2, 20, true);
  return builder;
}

std::string error_of(const std::vector<std::byte> &bytes) {
  const auto capture = Capture::read(bytes);
  return capture ? "" : capture.error();
}

// The capture with `value` at `offset` of its bytes.
template <typename T> std::string error_with(std::vector<std::byte> bytes, size_t offset, T value) {
  memcpy(bytes.data() + offset, &value, sizeof value);
  return error_of(bytes);
}

size_t payload_offset(const std::vector<std::byte> &bytes, SectionType type) {
  for (size_t offset = sizeof(CaptureHeader); offset < bytes.size();) {
    SectionHeader header;
    memcpy(&header, bytes.data() + offset, sizeof header);
    if (header.type == type) return offset + sizeof header;
    offset += sizeof header + (header.size + 7) / 8 * 8;
  }
  return 0;
}

TEST(ProfileCapture, ReadsWhatWasWritten) {
  const auto bytes = full_capture().build();
  const auto capture = Capture::read(bytes);
  ASSERT_TRUE(capture.ok()) << capture.error();
  EXPECT_EQ(capture->fact("command"), "./server --port 80");
  EXPECT_EQ(capture->number("pid"), 4242u);
  EXPECT_EQ(capture->number("comm"), std::nullopt);
  EXPECT_EQ(capture->number_or("no such fact", 5), 5u);
  ASSERT_EQ(capture->threads().size(), 2u);
  EXPECT_EQ(capture->threads()[1].tid, 12);
  EXPECT_EQ(capture->stack_of(capture->threads()[1]).size(), 64u);
  EXPECT_EQ(capture->stack_of(capture->threads()[1])[0], std::byte{7});
  ASSERT_EQ(capture->call_stack(1).size(), 2u);
  EXPECT_EQ(capture->call_stack(1)[1], 0x402000u);
  EXPECT_TRUE(capture->call_stack(9).empty());
  EXPECT_TRUE(capture->call_stack(5).empty()) << "what the capture does not have is not known";
  ASSERT_EQ(capture->leaks().size(), 2u);
  EXPECT_EQ(capture->leaks()[1].bytes, 20u);
  ASSERT_EQ(capture->notes().size(), 1u);
  EXPECT_EQ(capture->notes()[0], "half of it is missing");
}

TEST(ProfileCapture, UnknownSectionsAreSkipped) {
  auto builder = full_capture();
  builder.section(static_cast<SectionType>(99), std::vector<std::byte>(13));
  EXPECT_EQ(error_of(builder.build()), "");
}

TEST(ProfileCapture, TruncatedAtEveryByteIsAnError) {
  const auto bytes = full_capture().build();
  for (size_t size = 0; size < bytes.size(); size++) {
    // Each in memory of its own, so that a read past the end is seen.
    const std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    const auto error = error_of(part);
    ASSERT_NE(error.find("truncated"), std::string::npos) << size << ": " << error;
  }
}

TEST(ProfileCapture, TruncatedWithAHeaderThatAgreesIsSurvived) {
  const auto bytes = full_capture().build();
  for (size_t size = sizeof(CaptureHeader); size < bytes.size(); size++) {
    std::vector<std::byte> part(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    const uint64_t total = size;
    memcpy(part.data() + offsetof(CaptureHeader, total_size), &total, sizeof total);
    if (const auto capture = Capture::read(part)) make_profiles(*capture);
  }
}

TEST(ProfileCapture, EveryByteChangedIsSurvived) {
  const auto bytes = full_capture().build();
  for (size_t i = 0; i < bytes.size(); i++)
    for (const auto value : {0x00, 0xff}) {
      auto changed = bytes;
      changed[i] = static_cast<std::byte>(value);
      if (const auto capture = Capture::read(changed)) make_profiles(*capture);
    }
}

TEST(ProfileCapture, ErrorsNameWhatIsWrong) {
  const auto bytes = full_capture().build();
  EXPECT_EQ(error_of({}), "capture is truncated: 0 bytes, shorter than its header");
  EXPECT_EQ(error_with(bytes, 0, 'X'), "not a capture: wrong magic");
  EXPECT_EQ(error_with(bytes, offsetof(CaptureHeader, version), 2u),
            "capture has version 2; this program reads version 1");
  EXPECT_EQ(error_with(bytes, offsetof(CaptureHeader, machine), 3u), "capture is from an unknown kind of machine: 3");
  EXPECT_EQ(error_with(bytes, offsetof(CaptureHeader, total_size), uint64_t(3)), "capture's total size is wrong: 3");
}

TEST(ProfileCapture, ErrorsNameTheThread) {
  const auto bytes = full_capture().build();
  const auto second = payload_offset(bytes, SectionType::threads) + sizeof(ThreadRecord);
  EXPECT_EQ(error_with(bytes, second + offsetof(ThreadRecord, wait), uint8_t(77)),
            "capture: thread 1: unknown wait 77");
  EXPECT_EQ(error_with(bytes, second + offsetof(ThreadRecord, reason), uint8_t(9)),
            "capture: thread 1: unknown reason 9");
  EXPECT_EQ(error_with(bytes, second + offsetof(ThreadRecord, stack_size), ~uint64_t(0)),
            "capture: thread 1: its stack lies outside of the copied bytes");
  EXPECT_EQ(error_with(bytes, second + offsetof(ThreadRecord, stack_address), ~uint64_t(7)),
            "capture: thread 1: its stack goes past the end of the address space");
  struct Name {
    char text[16];
  } name;
  memset(name.text, 'x', sizeof name.text);
  EXPECT_EQ(error_with(bytes, second + offsetof(ThreadRecord, name), name), "capture: thread 1: its name has no end");
}

TEST(ProfileCapture, ErrorsNameTheStackAndTheLeak) {
  const auto bytes = full_capture().build();
  const auto stacks = payload_offset(bytes, SectionType::call_stacks);
  EXPECT_EQ(error_with(bytes, stacks, 0u), "capture: call stack 0: it has the id 0");
  EXPECT_EQ(error_with(bytes, stacks, 9u), "capture: call stack 1: its id 9 is there twice");
  EXPECT_EQ(error_with(bytes, stacks + 4, ~0u), "capture: call stack 0: it goes past the section's end");
  const auto leaks = payload_offset(bytes, SectionType::leaks);
  EXPECT_EQ(error_with(bytes, leaks + offsetof(LeakRecord, indirect), uint8_t(2)),
            "capture: leak 0: neither direct nor indirect: 2");
}

TEST(ProfileCapture, MissingFactsAndRepeatedSectionsAreErrors) {
  CaptureBuilder builder;
  builder.fact("safepoint", "many");
  EXPECT_EQ(error_of(builder.build()), "capture: the fact `safepoint` is missing or no number");
  auto twice = full_capture();
  twice.section(SectionType::facts, {});
  EXPECT_EQ(error_of(twice.build()), "capture: section 1 is there twice");
}

} // namespace
} // namespace castaway
