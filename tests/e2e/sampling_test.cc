// Leaks of sizes that sampling has missed are recorded more densely, and then have a stack.
#include "target.h"

#include <gtest/gtest.h>

namespace e2e {
namespace {

// So that nothing is recorded by chance: some ten thousand blocks are leaked here, of which one in 16 million would be.
const Settings kSparse{.interval = "500ms", .sample_bytes = "1073741824"};

TEST(Sampling, FindsTheLineOfASlowLeak) {
  Target target({program("drip"), "leak"}, kSparse);
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 2; })) << target.process().errors();
  Profile first(target.profiles()[1]); // what is leaked at the first is confirmed by the second
  EXPECT_GT(first.totals().objects, 0) << first.text();
  EXPECT_EQ(first.totals_of("drip").objects, 0) << first.text();
  EXPECT_TRUE(eventually([&] { return target.newest().totals_of("drip").objects > 0; })) << target.newest().text();
  Profile last = target.newest();
  EXPECT_EQ(last.totals_of("drip").objects, last.totals().objects) << last.text(); // all of this size are its
  EXPECT_EQ(last.totals_of("drip").bytes, 64 * last.totals().objects) << last.text();
  EXPECT_EQ(last.totals_of("traffic").objects, 0) << last.text();
  target.expect_clean_end();
}

TEST(Sampling, FindsNothingWhereNothingIsLeaked) {
  Target target({program("drip"), "fixed"}, kSparse);
  target.await_ready();
  ASSERT_TRUE(eventually([&] { return target.safepoints() >= 5; })) << target.process().errors();
  expect_nothing_leaked(target.newest());
  target.expect_clean_end();
}

} // namespace
} // namespace e2e
