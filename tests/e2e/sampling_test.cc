// Leaks of sizes that sampling has missed are recorded more densely, and then have a stack.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

// So that nothing is recorded by chance: some thousand blocks are leaked here, and of the large ones one in seven
// million would be.
const Settings kSparse{.interval = "500ms", .sample_bytes = "68719476736"};

class SlowLeak : public testing::TestWithParam<long> {
protected:
  std::string size_ = std::to_string(GetParam());
};

TEST_P(SlowLeak, HasItsLineSoon) {
  Target target({program("drip"), "leak", size_}, kSparse);
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 2; })) << target.process().errors();
  Profile first(target.profiles()[1]); // what is leaked at the first is confirmed by the second
  EXPECT_GT(first.totals().objects, 0) << first.text();
  EXPECT_EQ(first.totals_of("drip").objects, 0) << first.text();
  EXPECT_TRUE(eventually([&] { return target.newest().totals_of("drip").objects > 0; })) << target.newest().text();
  Profile last = target.newest();
  EXPECT_EQ(last.totals_of("drip").objects, last.totals().objects) << last.text(); // all of this size are its
  EXPECT_EQ(last.totals_of("drip").bytes, GetParam() * last.totals().objects) << last.text();
  EXPECT_EQ(last.totals_of("traffic").objects, 0) << last.text();
  target.expect_clean_end();
}

TEST_P(SlowLeak, IsNoneWhereNothingIsLeaked) {
  Target target({program("drip"), "fixed", size_}, kSparse);
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 5; })) << target.process().errors();
  expect_nothing_leaked(target.newest());
  target.expect_clean_end();
}
INSTANTIATE_TEST_SUITE_P(Sampling, SlowLeak, testing::Values(64, 10'000), testing::PrintToStringParamName());

// Of some 2500 recorded stacks those behind the torrent are 40. Each stands for 64 times as many blocks.
TEST(Sampling, FewerStacksWeighMore) {
  Target target({program("torrent")}, {.sample_bytes = "524288"});
  target.await_ready();
  Profile profile = target.snap();
  EXPECT_EQ(profile.totals().objects, 40'000) << profile.text();
  EXPECT_EQ(profile.totals_of("lose_before").objects + profile.totals_of("lose_after").objects, 40'000);
  EXPECT_GT(profile.totals_of("lose_after").objects, 12'000);
  EXPECT_LT(profile.totals_of("lose_after").objects, 28'000);
  target.expect_clean_end();
}

} // namespace
} // namespace e2e
