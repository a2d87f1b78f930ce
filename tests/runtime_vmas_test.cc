// The target's mappings: every field of a line, lines that are none, and what is found and readable.
#include "runtime/vmas.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace castaway {
namespace {

constexpr const char *kLines = "00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/dbus daemon\n"
                               "00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
                               "7f2c00000000-7f2c00021000 ---p 00000000 00:00 0 \n"
                               "7f2c00021000-7f2c00030000 rw-s 00000000 00:01 2049 /memfd:x (deleted)\n"
                               "7f2c00030000-7f2c00040000 rw-p 00000000 00:00 0 [anon:arena]\n"
                               "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";

class Parsed {
public:
  explicit Parsed(std::string text, size_t room = 64) : text_(std::move(text)), room_(room), vmas_(text_, room_) {}
  const Vmas *operator->() const { return &vmas_; }
  const Vma &operator[](size_t i) const { return vmas_.all()[i]; }
  size_t size() const { return vmas_.all().size(); }

private:
  std::string text_;
  std::vector<Vma> room_;
  Vmas vmas_;
};

TEST(Vmas, ReadsEveryFieldOfALine) {
  Parsed vmas(kLines);
  ASSERT_EQ(vmas.size(), 6u);
  EXPECT_TRUE(vmas->complete());
  EXPECT_EQ(vmas[0].range.begin, 0x400000u);
  EXPECT_EQ(vmas[0].range.end, 0x452000u);
  EXPECT_TRUE(vmas[0].readable);
  EXPECT_FALSE(vmas[0].writable);
  EXPECT_FALSE(vmas[0].shared);
  EXPECT_EQ(vmas[0].offset, 0x1000u);
  EXPECT_EQ(vmas[0].inode, 173521u);
  EXPECT_EQ(vmas[0].path, "/usr/bin/dbus daemon");
  EXPECT_EQ(vmas[1].path, "[heap]");
  EXPECT_TRUE(vmas[1].writable);
  EXPECT_FALSE(vmas[2].readable);
  EXPECT_FALSE(vmas[2].writable);
  EXPECT_EQ(vmas[2].path, "");
  EXPECT_TRUE(vmas[3].shared);
  EXPECT_EQ(vmas[3].path, "/memfd:x (deleted)");
  EXPECT_EQ(vmas[5].range.end, 0xffffffffff601000u);
}

TEST(Vmas, TellsAnonymousMemory) {
  Parsed vmas(kLines);
  const bool expected[] = {false, true, true, false, true, false};
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(vmas[i].is_anonymous(), expected[i]) << i;
  EXPECT_FALSE(Parsed("1000-2000 rw-s 0 00:01 9 /dev/zero\n")[0].is_anonymous());
  EXPECT_FALSE(Parsed("1000-2000 rw-s 0 00:01 0\n")[0].is_anonymous()) << "shared";
  EXPECT_FALSE(Parsed("1000-2000 rw-p 0 00:01 9\n")[0].is_anonymous()) << "a file of no name";
  EXPECT_FALSE(Parsed("1000-2000 rw-p 0 00:00 0 [stack]\n")[0].is_anonymous());
}

TEST(Vmas, ReadsALastLineWithoutItsEnd) {
  EXPECT_EQ(Parsed("1000-2000 rw-p 0 00:00 0 /a").size(), 1u);
  EXPECT_EQ(Parsed("1000-2000 rw-p 0 00:00 0 /a")[0].path, "/a");
  EXPECT_EQ(Parsed("").size(), 0u);
}

TEST(Vmas, LeavesOutLinesThatCannotBeRead) {
  const std::string good = "9000-a000 r--p 0 00:00 0 /good\n";
  for (std::string bad : {"",
                          " ",
                          "x",
                          "-",
                          "1000",
                          "1000-",
                          "1000-2000",
                          "1000-2000 ",
                          "1000-2000 rw-p",
                          "1000-2000 rw-p ",
                          "1000-2000 rw-p 0",
                          "1000-2000 rw-p 0 ",
                          "1000-2000 rw-p 0 00",
                          "1000-2000 rw-p 0 00:",
                          "1000-2000 rw-p 0 00:00",
                          "1000-2000 rw-p 0 00:00 ",
                          "1000-2000 rw-p 0 00:00 x",
                          "1000-2000 rw-p x 00:00 0",
                          "1000-2000 rw-p 0 x:00 0",
                          "1000 2000 rw-p 0 00:00 0",
                          "1000-2000rw-p 0 00:00 0",
                          "-1000-2000 rw-p 0 00:00 0",
                          "0x1000-0x2000 rw-p 0 00:00 0",
                          "2000-1000 rw-p 0 00:00 0",
                          "1000-1000 rw-p 0 00:00 0",
                          "1000-10000000000002000 rw-p 0 00:00 0",
                          "10000000000001000-2000 rw-p 0 00:00 0",
                          "1000-2000 rw-p 10000000000000000 00:00 0",
                          "1000-2000 rw-p 0 00:00 99999999999999999999"}) {
    for (std::string text : {bad + "\n" + good, good + bad, good + bad + "\n"}) {
      Parsed vmas(text);
      ASSERT_EQ(vmas.size(), 1u) << "'" << bad << "'";
      EXPECT_EQ(vmas[0].path, "/good");
      EXPECT_TRUE(vmas->complete());
    }
  }
}

TEST(Vmas, SurvivesDamageAnywhere) {
  std::mt19937 random(1);
  const std::string whole = kLines, bytes = "0-9af \n:[xrwps\xff" + std::string(1, '\0');
  for (int round = 0; round < 20000; ++round) {
    std::string text = whole.substr(0, random() % (whole.size() + 1));
    for (size_t i = random() % 4; i > 0 && !text.empty(); --i)
      text[random() % text.size()] = bytes[random() % bytes.size()];
    Parsed vmas(text, 8);
    EXPECT_LE(vmas.size(), 8u);
    for (const Vma &vma : vmas->all()) {
      ASSERT_LT(vma.range.begin, vma.range.end);
      ASSERT_EQ(vma.path.find('\n'), std::string_view::npos);
    }
    // In disorder too, what is found is around the address, and the walk comes to its end.
    for (uintptr_t at : {uintptr_t{0}, uintptr_t{0x400000}, uintptr_t{0x7f2c00021000}, UINTPTR_MAX}) {
      const Vma *found = vmas->find(at);
      ASSERT_TRUE(!found || found->range.contains(at));
      vmas->readable({at, UINTPTR_MAX});
    }
  }
}

TEST(Vmas, SaysSoWhenTheRoomIsTooSmall) {
  EXPECT_TRUE(Parsed(kLines, 6)->complete());
  Parsed vmas(kLines, 5);
  EXPECT_EQ(vmas.size(), 5u);
  EXPECT_FALSE(vmas->complete());
  EXPECT_EQ(vmas[4].path, "[anon:arena]");
  EXPECT_FALSE(Parsed(kLines, 0)->complete());
  EXPECT_TRUE(Parsed("bad\n", 0)->complete()) << "nothing was dropped";
}

TEST(Vmas, FindsTheMappingAroundAnAddress) {
  Parsed vmas(kLines);
  for (const Vma &vma : vmas->all()) {
    EXPECT_EQ(vmas->find(vma.range.begin), &vma);
    EXPECT_EQ(vmas->find(vma.range.end - 1), &vma);
  }
  for (uintptr_t outside : {uintptr_t{0}, uintptr_t{0x3fffff}, uintptr_t{0x452000}, uintptr_t{0x7f2c00040000},
                            uintptr_t{0xffffffffff601000}, UINTPTR_MAX})
    EXPECT_EQ(vmas->find(outside), nullptr) << std::hex << outside;
  EXPECT_EQ(Parsed("")->find(0x1000), nullptr);
}

TEST(Vmas, ReadsOverAdjacentMappingsButNotOverHolesAndGuards) {
  Parsed vmas("1000-2000 r--p 0 00:00 0\n"
              "2000-3000 rw-p 0 00:00 0\n"
              "3000-4000 r-xs 0 00:01 5 /x\n"
              "5000-6000 rw-p 0 00:00 0\n"
              "6000-7000 ---p 0 00:00 0\n"
              "7000-8000 r--p 0 00:00 0\n");
  for (Range range : {Range{0x1000, 0x1001}, Range{0x1000, 0x4000}, Range{0x1fff, 0x2001}, Range{0x1fff, 0x3001},
                      Range{0x5000, 0x6000}, Range{0x7fff, 0x8000}})
    EXPECT_TRUE(vmas->readable(range)) << std::hex << range.begin << "-" << range.end;
  for (Range range : {Range{0xfff, 0x1001}, Range{0x1000, 0x4001}, Range{0x3fff, 0x5001}, Range{0x5000, 0x6001},
                      Range{0x6000, 0x6008}, Range{0x5fff, 0x7001}, Range{0x7fff, 0x8001}, Range{0x9000, 0x9008},
                      Range{0x1000, 0x8000}})
    EXPECT_FALSE(vmas->readable(range)) << std::hex << range.begin << "-" << range.end;
}

TEST(Vmas, ReadsNothingFromAnEmptyOrWrappedRange) {
  Parsed vmas("1000-2000 r--p 0 00:00 0\n");
  EXPECT_FALSE(vmas->readable({0x1800, 0x1800}));
  EXPECT_FALSE(vmas->readable({0x1800, 0x1000})) << "an address near the end plus a length";
}

TEST(Vmas, OverlapsWhatItTouches) {
  Parsed vmas("1000-2000 ---p 0 00:00 0\n3000-4000 r--p 0 00:00 0\n");
  EXPECT_TRUE(vmas->overlaps({0x1fff, 0x2001}));
  EXPECT_TRUE(vmas->overlaps({0x0, 0x9000}));
  EXPECT_TRUE(vmas->overlaps({0x3800, 0x3801}));
  EXPECT_FALSE(vmas->overlaps({0x2000, 0x3000}));
  EXPECT_FALSE(vmas->overlaps({0x4000, 0x5000}));
  EXPECT_FALSE(vmas->overlaps({0x0, 0x1000}));
}

TEST(Vmas, KnowsThisProcess) {
  std::stringstream text;
  text << std::ifstream("/proc/self/maps").rdbuf();
  auto lines = static_cast<size_t>(std::ranges::count(text.str(), '\n'));
  Parsed vmas(text.str(), 10000);
  EXPECT_EQ(vmas.size(), lines);
  const Vma *stack = vmas->find(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
  ASSERT_NE(stack, nullptr);
  EXPECT_EQ(stack->path, "[stack]");
  EXPECT_TRUE(stack->writable);
  static int variable;
  auto at = reinterpret_cast<uintptr_t>(&variable);
  EXPECT_TRUE(vmas->readable({at, at + sizeof variable}));
}

} // namespace
} // namespace castaway
