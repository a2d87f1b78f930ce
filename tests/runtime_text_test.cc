// Text without libc: what fits is there, what does not is cut off at its place, and numbers that overflow are refused.
#include "runtime/text.h"

#include <gtest/gtest.h>
#include <limits>
#include <string>

namespace castaway {
namespace {

template <typename T> std::string shown(T value) { return (Text<64>() << value).c_str(); }

TEST(Text, IsEmptyAndTerminatedFromTheStart) {
  Text<8> text;
  EXPECT_EQ(text.view(), "");
  EXPECT_EQ(text.c_str()[0], 0);
  EXPECT_EQ(text.size(), 0u);
  EXPECT_FALSE(text.full());
}

TEST(Text, JoinsItsParts) {
  Text<64> text;
  text << "a" << std::string_view("bcd", 2) << -7 << 32u << "" << std::string_view() << "!";
  EXPECT_EQ(text.view(), "abc-732!");
  EXPECT_EQ(text.size(), 8u);
}

TEST(Text, CutsOffWhatDoesNotFitAndStaysTerminated) {
  for (size_t length = 0; length <= 20; ++length) {
    struct {
      Text<8> text;
      char beyond[16] = "untouched";
    } at;
    std::string whole = std::string("0123456789abcdefghijklmno").substr(0, length);
    at.text << whole;
    EXPECT_EQ(at.text.view(), whole.substr(0, 7)) << length;
    EXPECT_EQ(at.text.c_str(), whole.substr(0, 7)) << length;
    EXPECT_EQ(at.text.full(), length >= 7) << length;
    at.text << "more" << uint64_t{12345678901234567890u};
    at.text.hex(0xabcdefabcdef);
    EXPECT_EQ(at.text.view(), (whole + "more12345678901234567890").substr(0, 7)) << length;
    EXPECT_STREQ(at.beyond, "untouched");
  }
}

TEST(Text, OfOneByteHoldsNothing) {
  Text<1> text;
  text << "x" << 5;
  EXPECT_EQ(text.view(), "");
  EXPECT_TRUE(text.full());
}

TEST(Text, StartsAnewWhenCleared) {
  Text<8> text;
  text << "1234567890";
  text.clear();
  EXPECT_STREQ(text.c_str(), "");
  EXPECT_FALSE(text.full());
  text << "ab";
  EXPECT_STREQ(text.c_str(), "ab");
}

TEST(Text, ShowsNumbersOfEveryTypeToTheirEnds) {
  EXPECT_EQ(shown(uint64_t{0}), "0");
  EXPECT_EQ(shown(uint64_t{10}), "10");
  EXPECT_EQ(shown(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(shown(std::numeric_limits<int64_t>::max()), "9223372036854775807");
  EXPECT_EQ(shown(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(shown(std::numeric_limits<int>::min()), "-2147483648");
  EXPECT_EQ(shown(-1), "-1");
  EXPECT_EQ(shown(std::numeric_limits<unsigned>::max()), "4294967295");
  EXPECT_EQ(shown(0u), "0");
}

TEST(Text, ShowsHexadecimalWithoutLeadingZeros) {
  EXPECT_EQ(Text<64>().hex(0).view(), "0");
  EXPECT_EQ(Text<64>().hex(0x7f00abcdef10).view(), "7f00abcdef10");
  EXPECT_EQ(Text<64>().hex(UINT64_MAX).view(), "ffffffffffffffff");
}

struct Taken {
  bool found;
  uint64_t value;
  std::string rest;
  bool operator==(const Taken &) const = default;
};

Taken take(std::string_view text, unsigned base = 10) {
  uint64_t value = 4711;
  bool found = take_number(text, value, base);
  return {found, found ? value : 0, std::string(text)};
}

TEST(TakeNumber, TakesDigitsAndLeavesTheRest) {
  EXPECT_EQ(take("0"), (Taken{true, 0, ""}));
  EXPECT_EQ(take("007 x"), (Taken{true, 7, " x"}));
  EXPECT_EQ(take("60s"), (Taken{true, 60, "s"}));
  EXPECT_EQ(take("12ab"), (Taken{true, 12, "ab"}));
  EXPECT_EQ(take("12abg", 16), (Taken{true, 0x12ab, "g"}));
  EXPECT_EQ(take("DeadBeef-", 16), (Taken{true, 0xdeadbeef, "-"}));
  EXPECT_EQ(take("0x10", 16), (Taken{true, 0, "x10"}));
  EXPECT_EQ(take("1782", 8), (Taken{true, 017, "82"}));
}

TEST(TakeNumber, RefusesWhatIsNoNumber) {
  for (const char *text : {"", " 1", "-1", "+1", "x", "g", ":5", "/5", "@1", "`1"}) {
    EXPECT_EQ(take(text), (Taken{false, 0, text}));
    EXPECT_EQ(take(text, 16), (Taken{false, 0, text}));
  }
  EXPECT_EQ(take("a"), (Taken{false, 0, "a"}));
}

TEST(TakeNumber, RefusesWhatOverflows) {
  EXPECT_EQ(take("18446744073709551615"), (Taken{true, UINT64_MAX, ""}));
  EXPECT_EQ(take("0000018446744073709551615"), (Taken{true, UINT64_MAX, ""}));
  EXPECT_FALSE(take("18446744073709551616").found); // the addition
  EXPECT_FALSE(take("18446744073709551620").found); // the multiplication
  EXPECT_FALSE(take("99999999999999999999999999999999999999999").found);
  EXPECT_EQ(take("ffffffffffffffff", 16), (Taken{true, UINT64_MAX, ""}));
  EXPECT_FALSE(take("10000000000000000", 16).found);
}

TEST(TakeNumber, ReadsBackWhatTextShows) {
  for (int bit = 0; bit < 64; ++bit)
    for (uint64_t value : {uint64_t{1} << bit, (uint64_t{1} << bit) - 1, ~(uint64_t{1} << bit)}) {
      EXPECT_EQ(take(shown(value)), (Taken{true, value, ""}));
      EXPECT_EQ(take(Text<64>().hex(value).c_str(), 16), (Taken{true, value, ""}));
    }
}

TEST(TakePrefix, RemovesItWhereItIs) {
  std::string_view text = "abc";
  EXPECT_FALSE(take_prefix(text, "b"));
  EXPECT_FALSE(take_prefix(text, "abcd"));
  EXPECT_EQ(text, "abc");
  EXPECT_TRUE(take_prefix(text, ""));
  EXPECT_TRUE(take_prefix(text, "ab"));
  EXPECT_EQ(text, "c");
}

TEST(TakeUntil, TakesPartsWithoutTheirEnd) {
  std::string_view text = "a,,bc";
  EXPECT_EQ(take_until(text, ','), "a");
  EXPECT_EQ(take_until(text, ','), "");
  EXPECT_EQ(text, "bc");
  EXPECT_EQ(take_until(text, ','), "bc");
  EXPECT_EQ(text, "");
  EXPECT_EQ(take_until(text, ','), "");
}

} // namespace
} // namespace castaway
