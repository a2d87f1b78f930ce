// castaway check, snap and show on real profiles: target programs under the real runtime.
#include "tests/run_command.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

namespace castaway {
namespace {

const std::string kWaits = built("../tests/programs/waits");

// Checks that say something write one line of this beginning.
constexpr char kSays[] = "castaway: check: ";

Finished check(const std::vector<std::string> &options, const std::vector<std::string> &command) {
  std::vector<std::string> argv = {"castaway", "check"};
  argv.insert(argv.end(), options.begin(), options.end());
  argv.emplace_back("--");
  argv.insert(argv.end(), command.begin(), command.end());
  return run_command(argv);
}

bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

TEST(Check, LeakIsPrintedAndFails) {
  const Finished alone = run_command({kWaits, "cond", "leak"});
  ASSERT_EQ(alone.status, 0) << alone.err;
  const Finished checked = check({}, {kWaits, "cond", "leak"});
  EXPECT_EQ(checked.status, 23) << checked.err;
  EXPECT_EQ(checked.out.substr(checked.out.find("READY")), alone.out.substr(alone.out.find("READY")));
  EXPECT_TRUE(has(checked.err, "1 leaked thread")) << checked.err;
  EXPECT_TRUE(has(checked.err, "cond wait")) << checked.err;
  EXPECT_TRUE(has(checked.err, std::string(kSays) + "leaked: 1 thread ")) << checked.err;
}

TEST(Check, FixedProgramPasses) {
  const Finished checked = check({}, {kWaits, "cond", "fixed"});
  EXPECT_EQ(checked.status, 0);
  EXPECT_EQ(checked.err, std::string(kSays) + "nothing leaked in 1 process\n");
}

TEST(Check, StatusOfACleanProgramIsItsOwn) {
  const Finished checked = check({}, {"bash", "-c", "exit 5"});
  EXPECT_EQ(checked.status, 5);
  EXPECT_EQ(checked.err, std::string(kSays) + "nothing leaked in 1 process\n");
}

TEST(Check, LeakOfADescendantFails) {
  const Finished checked = check({}, {"bash", "-c", kWaits + " cond leak; exit 4"});
  EXPECT_EQ(checked.status, 23) << checked.err;
}

TEST(Check, SuppressedLeakPassesAndIsCounted) {
  const TestDirectory directory;
  const std::string all = directory.write("all", "thread:*\nleak:*\n");
  const Finished checked = check({"--suppressions", all}, {kWaits, "cond", "leak"});
  EXPECT_EQ(checked.status, 0) << checked.err;
  EXPECT_TRUE(has(checked.err, "nothing leaked in 1 process; suppressed: 1 thread ")) << checked.err;
  const std::string other = directory.write("other", "thread:no_such_function\n");
  EXPECT_EQ(check({"--suppressions", other}, {kWaits, "cond", "leak"}).status, 23);
}

TEST(Check, ProgramThatGaveNoProfileIsNoCleanOne) {
  const Finished killed = check({}, {"bash", "-c", "kill -KILL $$"});
  EXPECT_EQ(killed.status, 128 + 9);
  EXPECT_EQ(killed.err, std::string(kSays) + "no profile of 'bash': signal 9 (Killed) ended it\n");
}

TEST(Check, ObstacleIsSaidAndTheProgramRuns) {
  const Finished checked = check({"--output", "/dev/null/x"}, {"bash", "-c", "echo ran; exit 6"});
  EXPECT_EQ(checked.status, 6);
  EXPECT_EQ(checked.out, "ran\n");
  EXPECT_EQ(checked.error_lines(), 1u) << checked.err;
  EXPECT_TRUE(has(checked.err, "nothing is checked: ") && has(checked.err, "'/dev/null/x'")) << checked.err;
}

TEST(Check, TroubleOfTheRuntimeIsPassedOnOnce) {
  const Finished checked = run_shell("CASTAWAY_KEEP=many $CASTAWAY check -- bash -c '/bin/true; /bin/true; exit 3'");
  EXPECT_EQ(checked.status, 3);
  EXPECT_EQ(checked.error_lines(), 1u) << checked.err;
  EXPECT_TRUE(has(checked.err, "profiling is off: CASTAWAY_KEEP=many")) << checked.err;
}

TEST(Check, OnlyAskedForProfilesStay) {
  const TestDirectory directory;
  const std::string out = directory / "out";
  const Finished checked =
      run_shell("mkdir " + (directory / "tmp").string() + "; TMPDIR=" + (directory / "tmp").string() +
                " $CASTAWAY check --output " + out + " -- " + kWaits + " cond leak");
  EXPECT_EQ(checked.status, 23);
  EXPECT_FALSE(std::filesystem::is_empty(out));
  EXPECT_TRUE(std::filesystem::is_empty(directory / "tmp"));
  // What is there from before is not counted again.
  EXPECT_EQ(check({"--output", out}, {kWaits, "cond", "fixed"}).status, 0);
}

TEST(Check, SignalsGoToTheProgram) {
  const Finished checked =
      run_shell("$CASTAWAY check -- sleep 20 & until pgrep -P $! sleep > /dev/null; do sleep 0.01; done; "
                "kill -TERM $!; wait $!");
  EXPECT_EQ(checked.status, 128 + 15);
  EXPECT_EQ(checked.err, std::string(kSays) + "no profile of 'sleep': signal 15 (Terminated) ended it\n");
}

TEST(Snap, ProfileOfARunningProgramCanBeShown) {
  const TestDirectory directory;
  const std::string in = directory / "in";
  const Finished finished =
      run_shell("mkfifo " + in + "; exec 4<>" + in + "; exec 3< <($CASTAWAY run --interval 0 --output " +
                (directory / "out").string() + " -- bash -c 'echo $$; exec " + kWaits + " cond leak' <" + in +
                "); read pid <&3; "
                "while read word <&3 && [ \"$word\" != READY ]; do :; done; "
                "file=$($CASTAWAY snap --wait $pid) && $CASTAWAY show $file; exec 4>&-; kill $pid");
  EXPECT_EQ(finished.err, "");
  EXPECT_TRUE(has(finished.out, "1 leaked thread")) << finished.out;
}

TEST(Show, RealProfileCutAnywhereGetsOneLine) {
  const TestDirectory directory;
  ASSERT_EQ(check({"--output", directory / "out"}, {kWaits, "cond", "leak"}).status, 23);
  std::string profile;
  for (const auto &entry : std::filesystem::directory_iterator(directory / "out"))
    if (entry.path().native().ends_with(".leak.1.pb.gz")) profile = entry.path();
  std::ifstream file(profile, std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(file), {});
  ASSERT_GT(whole.size(), 100u);
  ASSERT_EQ(run_command({"castaway", "show", directory.write("whole", whole)}).status, 0);
  for (size_t size = 0; size < whole.size(); size += 97) {
    const Finished shown = run_command({"castaway", "show", directory.write("cut", whole.substr(0, size))});
    EXPECT_EQ(shown.status, 1) << size;
    EXPECT_EQ(shown.out, "") << size;
    EXPECT_EQ(shown.error_lines(), 1u) << shown.err;
    EXPECT_TRUE(has(shown.err, directory / "cut")) << shown.err;
  }
}

} // namespace
} // namespace castaway
