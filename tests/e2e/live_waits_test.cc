// Threads whose wait can still end are live, and so is what only their stacks hold.
#include "target.h"

#include <gtest/gtest.h>
#include <tuple>

namespace e2e {
namespace {

class LiveWaits : public testing::TestWithParam<std::tuple<const char *, const char *>> {};

TEST_P(LiveWaits, AreSilent) {
  const auto [name, stop] = GetParam();
  Target target({program("live_waits"), name}, {.stop = stop});
  target.await_ready();
  Profile profile = target.snap();
  expect_stopped_by(profile, stop);
  expect_nothing_leaked(profile);
  target.expect_clean_end();
}

std::string test_name(const testing::TestParamInfo<LiveWaits::ParamType> &each) {
  return std::string(std::get<0>(each.param)) +
         (std::string_view(std::get<1>(each.param)) == "signal" ? "_by_signal" : "");
}

INSTANTIATE_TEST_SUITE_P(, LiveWaits,
                         testing::Combine(testing::Values("timed_cond", "timed_sem", "timed_futex", "just_signalled",
                                                          "shared_anonymous", "shared_file", "owner_alive_global",
                                                          "owner_alive_heap", "join_live", "read", "poll", "select",
                                                          "epoll_wait", "accept", "sigwait", "nanosleep", "pause",
                                                          "waitpid", "flock"),
                                          testing::Values("ptrace", "signal")),
                         test_name);

} // namespace
} // namespace e2e
