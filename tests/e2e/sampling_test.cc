// Leaks of sizes that sampling has missed are recorded more densely, and then have a stack.
#include "target.h"

#include <algorithm>
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

size_t groups_with(const Profile &profile, std::string_view frame) {
  return static_cast<size_t>(std::count_if(profile.groups().begin(), profile.groups().end(),
                                           [&](const Group &group) { return group.has_frame(frame); }));
}

// Before the torrent some 2400 stacks are recorded, at nearly all of 500 places; behind it some 75, which stand for as
// many blocks.
TEST(Sampling, FewerStacksWeighMore) {
  Target target({program("torrent")}, {.sample_bytes = "524288"});
  target.await_ready();
  Profile profile = target.snap();
  EXPECT_GT(groups_with(profile, "lose_before"), 450u);
  EXPECT_GT(groups_with(profile, "lose_after"), 30u);
  EXPECT_LT(groups_with(profile, "lose_after"), 120u);
  EXPECT_EQ(profile.totals().objects, 40'000);
  EXPECT_EQ(profile.totals_of("lose_before").objects + profile.totals_of("lose_after").objects, 40'000);
  EXPECT_GT(profile.totals_of("lose_after").objects, 14'000);
  EXPECT_LT(profile.totals_of("lose_after").objects, 26'000);
  target.expect_clean_end();
}

} // namespace
} // namespace e2e
