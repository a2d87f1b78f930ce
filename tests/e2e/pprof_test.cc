// go tool pprof reads every profile and names the leaking function, as text, as a file of its own and on its web page.
#include "target.h"
#include "tcp.h"

#include <arpa/inet.h>
#include <csignal>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace e2e {
namespace {

struct PprofCase {
  const char *name;
  const char *program, *program_case;
  const char *kind;     // leak or threads
  const char *function; // that every report must show
  const char *label;    // that -tags must show
};

const PprofCase kCases[] = {
    {"leaked_threads", "waits", "cond", "leak", "DroppedCond::wait", "unreachable"},
    {"deadlock", "waits", "abba", "leak", "lock_next", "deadlock"},
    {"leaked_memory", "blocks", "tree", "leak", "lose_node", "indirect"},
    {"threads", "waits", "cond", "threads", "DroppedCond::wait", "waits"},
};

void PrintTo(const PprofCase &each, std::ostream *out) { *out << each.name; }

class Pprof : public testing::TestWithParam<PprofCase> {
protected:
  void SetUp() override {
    if (installed("go").empty()) GTEST_SKIP() << "go is not installed";
    // The program itself: what `go tool` starts would outlive it.
    Ended named = run({{installed("go"), "tool", "-n", "pprof"}, {"HOME=" + home_.path().string()}});
    ASSERT_EQ(named.how, "exit 0") << named.errors;
    program_ = named.output.substr(0, named.output.find('\n'));
    target_ = std::make_unique<Target>(std::vector<std::string>{program(GetParam().program), GetParam().program_case});
    target_->await_ready();
    profile_ = target_->snap().path();
    if (std::string_view(GetParam().kind) == "threads") profile_.replace(profile_.find(".leak."), 6, ".threads.");
  }
  Command pprof(std::vector<std::string> options) {
    Command command{{program_}, {"HOME=" + home_.path().string(), "PPROF_TMPDIR=" + home_.path().string()}};
    command.arguments.insert(command.arguments.end(), options.begin(), options.end());
    command.arguments.push_back(profile_);
    return command;
  }
  std::unique_ptr<Target> target_;
  std::string program_, profile_;
  TemporaryDirectory home_;
};

TEST_P(Pprof, EveryReportNamesTheFunction) {
  for (const char *report : {"-raw", "-top", "-traces", "-tree", "-peek=."}) {
    Ended ended = run(pprof({report}));
    EXPECT_EQ(ended.how, "exit 0") << report << ended.errors;
    EXPECT_NE(ended.output.find(GetParam().function), std::string::npos) << report << "\n" << ended.output;
    EXPECT_EQ(ended.errors.find("rror"), std::string::npos) << ended.errors;
  }
  Ended tags = run(pprof({"-tags"}));
  EXPECT_NE(tags.output.find(GetParam().label), std::string::npos) << tags.output;
}

// What pprof writes again is still the same profile, so it dropped nothing as unknown or broken.
TEST_P(Pprof, SurvivesARoundTrip) {
  std::string again = home_.path() / "again.pb.gz";
  Ended ended = run(pprof({"-proto", "-output", again}));
  ASSERT_EQ(ended.how, "exit 0") << ended.errors;
  Profile before(profile_), after(again);
  EXPECT_EQ(after.groups().size(), before.groups().size());
  EXPECT_EQ(after.totals().threads, before.totals().threads);
  EXPECT_EQ(after.totals().objects, before.totals().objects);
  EXPECT_EQ(after.totals().bytes, before.totals().bytes);
  EXPECT_GT(after.totals_of(GetParam().function).threads + after.totals_of(GetParam().function).objects +
                castaway::thread_total(after.data()),
            0);
}

TEST_P(Pprof, WebPageShowsTheFunction) {
  std::string chromium = installed("chromium"), curl = installed("curl");
  if (chromium.empty() || curl.empty()) GTEST_SKIP() << "chromium or curl is not installed";
  std::string host = "127.0.0.1:" + std::to_string(free_port()), page = "http://" + host + "/ui/flamegraph";
  Process server(pprof({"-http=" + host, "-no_browser"}));
  ASSERT_TRUE(eventually([&] {
    return run({{curl, "-sf", "-o", "/dev/null", page}}).how == "exit 0";
  })) << server.errors();
  Ended shown = run({{chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                      "--disable-background-networking", "--disable-component-update", "--disable-sync",
                      "--user-data-dir=" + (home_.path() / "chromium").string(), "--virtual-time-budget=5000",
                      "--window-size=1600,1000", "--dump-dom", page}});
  EXPECT_EQ(shown.how, "exit 0") << shown.errors;
  // Drawn, not only among the page's data: a rectangle of the graph carries it as its title or label.
  std::string drawn = shown.output.substr(std::min(shown.output.size(), shown.output.find("<svg")));
  EXPECT_NE(drawn.find(GetParam().function), std::string::npos) << shown.output.substr(0, 5000);
  server.signal(SIGTERM);
  EXPECT_EQ(server.finish().how, "signal 15");
  EXPECT_NE(run({{curl, "-sf", "-o", "/dev/null", page}}).how, "exit 0") << "nothing is left behind";
}

INSTANTIATE_TEST_SUITE_P(, Pprof, testing::ValuesIn(kCases),
                         [](const auto &each) { return std::string(each.param.name); });

} // namespace
} // namespace e2e
