// Suppressions: LeakSanitizer's patterns, and errors that name the line.
#include "profile/suppressions.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

TEST(ProfileSuppressions, PatternsMatchAsInLeakSanitizer) {
  EXPECT_TRUE(matches_pattern("bar", "foobarbaz"));
  EXPECT_TRUE(matches_pattern("", "anything"));
  EXPECT_TRUE(matches_pattern("*", "anything"));
  EXPECT_TRUE(matches_pattern("fo*ba*z", "foobarbaz"));
  EXPECT_FALSE(matches_pattern("ba*fo", "foobarbaz"));
  EXPECT_TRUE(matches_pattern("^foo", "foobar"));
  EXPECT_FALSE(matches_pattern("^bar", "foobar"));
  EXPECT_TRUE(matches_pattern("bar$", "foobar"));
  EXPECT_FALSE(matches_pattern("foo$", "foobar"));
  EXPECT_TRUE(matches_pattern("^foobar$", "foobar"));
  EXPECT_FALSE(matches_pattern("^foo$", "foofoo"));
  EXPECT_TRUE(matches_pattern("^*bar", "foobar"));
  EXPECT_TRUE(matches_pattern("^f*r$", "foobar"));
  EXPECT_FALSE(matches_pattern("^f*x$", "foobar"));
  EXPECT_TRUE(matches_pattern("a*aa$", "aaaa")) << "the last piece is held at the end";
  EXPECT_FALSE(matches_pattern("^aa*aa$", "aaa")) << "pieces do not overlap";
  EXPECT_FALSE(matches_pattern("foobarx", "foobar"));
}

TEST(ProfileSuppressions, LongPatternsAreLinear) {
  std::string pattern;
  for (int i = 0; i < 10000; i++) pattern += "a*";
  EXPECT_FALSE(matches_pattern(pattern + "b", std::string(20000, 'a')));
}

TEST(ProfileSuppressions, FilesAreReadLineByLine) {
  const auto suppressions =
      Suppressions::parse("# known\n\n  leak:^Cache::\r\nthread: worker pool\n#leak:x\nleak:*.so", "f");
  ASSERT_TRUE(suppressions.ok()) << suppressions.error();
  EXPECT_TRUE(suppressions->matches_leak("Cache::add"));
  EXPECT_FALSE(suppressions->matches_leak("MyCache::add"));
  EXPECT_TRUE(suppressions->matches_leak("/usr/lib/libx.so.1"));
  EXPECT_FALSE(suppressions->matches_thread("Cache::add"));
  EXPECT_FALSE(suppressions->matches_leak("")) << "what has no name matches nothing";
  EXPECT_TRUE(Suppressions().empty());
}

TEST(ProfileSuppressions, BadLinesAreNamed) {
  const auto error = [](const char *text) { return Suppressions::parse(text, "known.supp").error(); };
  EXPECT_EQ(error("leak:a\nnonsense\n"), "known.supp:2: expected leak:PATTERN, thread:PATTERN or a comment");
  EXPECT_EQ(error("race:f"), "known.supp:1: expected leak:PATTERN, thread:PATTERN or a comment");
  EXPECT_EQ(error("\n\nthread:\n"), "known.supp:3: `thread:` has no pattern");
  EXPECT_EQ(Suppressions::read("/no/such/file").error(), "/no/such/file: No such file or directory");
}

} // namespace
} // namespace castaway
