// The parts of the castaway command that need no process: readers of values and names.
#include "tests/run_command.h"
#include "tools/failure.h"
#include "tools/profile_files.h"
#include "tools/status_client.h"
#include "tools/values.h"

#include <gtest/gtest.h>

namespace castaway {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

TEST(Duration, IsANumberAndAUnit) {
  EXPECT_EQ(read_duration("500ms"), 500ms);
  EXPECT_EQ(read_duration("60s"), 60s);
  EXPECT_EQ(read_duration("5m"), 5min);
  EXPECT_EQ(read_duration("1h"), 1h);
  EXPECT_EQ(read_duration("0"), 0s);
  EXPECT_EQ(read_duration("0s"), 0s);
  EXPECT_EQ(read_duration("8784h"), kLongestDuration);
}

TEST(Duration, IsNothingElse) {
  for (const char *text : {"", "60", "s", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1d", "1S", "8785h", "0x1s"})
    EXPECT_EQ(read_duration(text), std::nullopt) << text;
}

TEST(Number, KeepsItsBounds) {
  EXPECT_EQ(read_number("1", 1, 10), 1u);
  EXPECT_EQ(read_number("10", 1, 10), 10u);
  EXPECT_EQ(read_number("18446744073709551615", 0, UINT64_MAX), UINT64_MAX);
  for (const char *text : {"", "0", "11", "-1", "1k", " 1", "18446744073709551616"})
    EXPECT_EQ(read_number(text, 1, 10), std::nullopt) << text;
}

TEST(Switch, HasTheRuntimesWords) {
  for (const char *text : {"1", "on", "true", "yes"}) EXPECT_EQ(read_switch(text), true) << text;
  for (const char *text : {"0", "off", "false", "no"}) EXPECT_EQ(read_switch(text), false) << text;
  for (const char *text : {"", "2", "ON", "maybe"}) EXPECT_EQ(read_switch(text), std::nullopt) << text;
}

TEST(Follow, TakesKeywordsAndNames) {
  for (const char *text : {"all", "fork", "none", "nginx", "nginx,redis-server"}) EXPECT_TRUE(is_follow(text)) << text;
  for (const char *text : {"", ",", "a,", ",a", "a,,b", "/bin/a", "a,b/c"}) EXPECT_FALSE(is_follow(text)) << text;
}

TEST(Message, IsOneLine) {
  EXPECT_EQ(one_line("a\nb\tc\r\x7f\x01"), "a\\nb\\tc\\r\\x7f\\x01");
  EXPECT_EQ(one_line("äß"), "äß"); // UTF-8 is left alone
  EXPECT_EQ(escaped(std::string(2000, 'x')), std::string(1000, 'x') + "...");
}

TEST(ProfileName, IsReadFromItsEnd) {
  const auto name = parse_profile_name("my.server 2.leak.4711.leak.12.pb.gz");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->comm, "my.server 2.leak");
  EXPECT_EQ(name->pid, 4711);
  EXPECT_EQ(name->sequence, 12u);
}

TEST(ProfileName, OtherFilesAreNone) {
  for (const char *text :
       {"", "a.1.leak.pb.gz", "a.1.threads.2.pb.gz", "a.1.leak.2.pb", ".1.leak.2.pb.gz", "a.0.leak.2.pb.gz",
        "a.x.leak.2.pb.gz", "a.1.leak.x.pb.gz", "1.leak.2.pb.gz", "a.1.leak.2.pb.gz.tmp"})
    EXPECT_FALSE(parse_profile_name(text)) << text;
}

TEST(NewestProfiles, AreOnePerProcessAndNew) {
  const TestDirectory directory;
  directory.write("a.1.leak.8.pb.gz", "old");
  const Present before = list_present(directory.path());
  directory.write("a.1.leak.9.pb.gz", "");
  directory.write("a.1.leak.10.pb.gz", "");
  directory.write("b.2.leak.1.pb.gz", "");
  directory.write("b.2.threads.1.pb.gz", "");
  std::filesystem::create_symlink("b.2.leak.1.pb.gz", directory / "c.3.leak.1.pb.gz");
  const std::vector<ProfileFile> files = newest_profiles(directory.path(), before);
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].path, directory / "a.1.leak.10.pb.gz");
  EXPECT_EQ(files[1].path, directory / "b.2.leak.1.pb.gz");
}

TEST(NewestProfiles, NameThatComesAgainIsNew) {
  const TestDirectory directory;
  directory.write("a.1.leak.1.pb.gz", "old");
  const Present before = list_present(directory.path());
  std::filesystem::rename(directory.write("new", "new"), directory / "a.1.leak.1.pb.gz");
  EXPECT_EQ(newest_profiles(directory.path(), before).size(), 1u);
}

TEST(NewestProfiles, MissingDirectoryHasNone) {
  EXPECT_TRUE(newest_profiles("/no/such/directory", list_present("/no/such/directory")).empty());
}

TEST(StatusMapping, IsFoundByItsName) {
  const auto file = find_status_mapping("5500-5600 r-xp 00000000 fe:00 77 /bin/server\n"
                                        "7f00-7f10 rw-s 00000000 fe:00 4711    /var/my out/.a b.1.castaway (deleted)\n"
                                        "7f20-7f30 rw-p 00000000 00:00 0 \n");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->range, "7f00-7f10");
  EXPECT_EQ(file->inode, 4711u);
  EXPECT_EQ(file->path, "/var/my out/.a b.1.castaway");
}

TEST(StatusMapping, OtherTextHasNone) {
  for (const char *text : {"", "\n\n", "nonsense", "1-2 r 0 0:0 1 /x.castaway/y\n", "1-2 r 0 0:0 x /a.castaway\n"})
    EXPECT_FALSE(find_status_mapping(text)) << text;
}

} // namespace
} // namespace castaway
