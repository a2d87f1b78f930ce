// Programs that change their user below `castaway run`, as root: the collector writes for them what they no longer may,
// and the program next to it does not notice it.
#include "profile/text.h"
#include "target.h"
#include "tcp.h"

#include <chrono>
#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <pwd.h>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

namespace e2e {
namespace {

namespace fs = std::filesystem;

#define NEEDS_ROOT()                                                                                                   \
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else"

std::string contents(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The collector of the program with this pid, or 0.
pid_t collector_of(pid_t program) {
  const std::string title = "castaway: collector of " + std::to_string(program);
  for (const fs::directory_entry &entry : fs::directory_iterator("/proc")) {
    const auto pid = castaway::parse_decimal(entry.path().filename().native());
    if (pid && contents(entry.path() / "cmdline").c_str() == title) return static_cast<pid_t>(*pid);
  }
  return 0;
}

void expect_collector_ends(pid_t program) {
  EXPECT_TRUE(eventually([program] { return collector_of(program) == 0; }, Seconds(8)));
}

// Root's alone, whoever the process was.
void expect_private(const std::string &path) {
  struct stat status = {};
  ASSERT_EQ(lstat(path.c_str(), &status), 0) << path;
  EXPECT_EQ(status.st_uid, 0u) << path;
  EXPECT_EQ(status.st_mode & 07777, 0600u) << path;
}

std::set<std::string> names_in(const fs::path &directory, const std::string &end) {
  std::set<std::string> names;
  for (const fs::directory_entry &entry : fs::directory_iterator(directory))
    if (entry.path().native().ends_with(end)) names.insert(entry.path().filename());
  return names;
}

std::string nginx_configuration(const fs::path &data, int port) {
  return "user www-data; daemon off; worker_processes 2; pid " + (data / "pid").string() +
         "; error_log stderr warn; events { worker_connections 64; } http { access_log off; server { listen "
         "127.0.0.1:" +
         std::to_string(port) + "; location / { return 200 fine; } } }";
}

void ask(int port) {
  LineClient client(port);
  client.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.line(), "HTTP/1.1 200 OK");
}

TEST(ChangedUser, NginxAndItsWorkers) {
  NEEDS_ROOT();
  if (installed("nginx").empty() || !getpwnam("www-data")) GTEST_SKIP() << "needs nginx and its user";
  TemporaryDirectory data; // 0700, root's
  const int port = free_port();
  const std::string configuration = data.file("nginx.conf", nginx_configuration(data.path(), port));
  Target target({installed("nginx"), "-c", configuration}, {.interval = "300ms", .sample_bytes = "524288"});
  ASSERT_TRUE(eventually([port] { return accepts_connections(port); })) << target.process().errors();
  const auto newest = [&] { return names_in(target.output(), ".leak.pb.gz"); };
  EXPECT_TRUE(eventually([&] { return ask(port), newest().size() == 3; })) << target.process().errors();
  EXPECT_NE(collector_of(target.process().pid()), 0);
  target.process().signal(SIGQUIT);
  const Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, "exit 0");
  EXPECT_EQ(ended.errors, "");
  EXPECT_EQ(newest().size(), 3u);
  for (const std::string &path : target.profiles()) {
    const Profile profile(path);
    EXPECT_EQ(profile.totals().threads, 0) << profile.text();
    expect_nothing_refuted(profile);
    expect_private(path);
  }
  expect_collector_ends(target.process().pid());
  EXPECT_EQ(names_in(target.output(), ".castaway").size(), 0u);
}

TEST(ChangedUser, LeakedThreadOfAProgramThatWasRoot) {
  NEEDS_ROOT();
  Target target({program("changed_user"), "setuid"});
  target.await_ready();
  const Profile profile = target.snap();
  EXPECT_EQ(profile.totals_of("DroppedSem::wait", {{"wait", "sem"}}).threads, 1) << profile.text();
  expect_private(profile.path());
  target.expect_clean_end();
}

TEST(ChangedUser, WithoutCollectorOneLineSaysWhatToDo) {
  NEEDS_ROOT();
  Target target({program("changed_user"), "setuid"}, {.interval = "200ms", .through_command = false});
  target.await_ready();
  constexpr char kAdvice[] = ": Permission denied; start it with castaway run as root, which writes for processes that "
                             "change their user\n";
  EXPECT_TRUE(eventually([&] { return target.process().errors().find(kAdvice) != std::string::npos; }))
      << target.process().errors();
  sleep_for(Seconds(1.5));
  const std::string errors = target.process().errors();
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 1) << errors;
}

// What `script` writes; $C is the collector of the shell that runs it.
Ended beside_collector(const std::string &script, const fs::path &output) {
  const std::string find = "until C=$(pgrep -fx \"castaway: collector of $$\"); do sleep 0.05; done; ";
  return run({{castaway(), "run", "--output", output, "--", "sh", "-c", find + script}});
}

TEST(ChangedUser, CollectorHoldsNothing) {
  NEEDS_ROOT();
  TemporaryDirectory data;
  const Ended ended = beside_collector("readlink /proc/$C/cwd /proc/$C/fd/* | sed 's/:.*//'; "
                                       "kill -INT $C; kill -HUP $C; kill -TERM $C; sleep 0.1; kill -0 $C && echo alive",
                                       data.path() / "out");
  EXPECT_EQ(ended.output, "/\n/dev/null\n/dev/null\n/dev/null\nsocket\nanon_inode\nalive\n") << ended.errors;
}

TEST(ChangedUser, CollectorIsNoChildAndNoMemberOfTheSession) {
  NEEDS_ROOT();
  TemporaryDirectory data;
  const Ended ended = beside_collector("[ $(ps -o ppid= $C) = $$ ] || echo no child; "
                                       "[ $(ps -o sid= $C) = $(ps -o sid= $$) ] || echo another session; "
                                       "exec perl -e 'print waitpid(-1, 0), \" $!\\n\"'",
                                       data.path() / "out");
  EXPECT_EQ(ended.output, "no child\nanother session\n-1 No child processes\n") << ended.errors;
}

// The first process of a container adopts all orphans.
TEST(ChangedUser, CollectorOfAnAdopterIsNotWaitedForEither) {
  NEEDS_ROOT();
  TemporaryDirectory data;
  const std::string out = data.path() / "out";
  const Ended ended = run({{"unshare", "--pid", "--fork", "--mount-proc", castaway(), "run", "--output", out, "--",
                            "perl", "-e", "print \"$$ \", waitpid(-1, 0), \" $!\\n\""}});
  EXPECT_EQ(ended.output, "1 -1 No child processes\n") << ended.errors;
}

TEST(ChangedUser, CollectorSendsNoSignal) {
  NEEDS_ROOT();
  TemporaryDirectory data;
  const std::string block = "sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGCHLD)); exec @ARGV";
  const Ended ended = run({{"perl", "-MPOSIX", "-e", block, castaway(), "run", "--output", data.path() / "out", "--",
                            "grep", "-E", "^(SigPnd|ShdPnd|SigBlk)", "/proc/self/status"}});
  EXPECT_EQ(ended.output, "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000010000\n");
}

TEST(ChangedUser, ReaderOfTheOutputDoesNotWaitForTheCollector) {
  NEEDS_ROOT();
  TemporaryDirectory data;
  const auto begin = std::chrono::steady_clock::now();
  const Ended ended = run({{"bash", "-c",
                            castaway() + " run --output " + (data.path() / "out").string() +
                                " -- sh -c 'exit 3' 2>&1 | cat; echo ${PIPESTATUS[0]}"}});
  EXPECT_EQ(ended.output, "3\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500)); // it stays for two seconds
}

TEST(ChangedUser, OnlyRootHasACollector) {
  NEEDS_ROOT();
  TemporaryDirectory data;
  const std::string print = "echo ${CASTAWAY_COLLECTOR:-none}";
  EXPECT_EQ(run({{"setpriv", "--reuid=65534", "--clear-groups", castaway(), "run", "--output", "/tmp/none", "--", "sh",
                  "-c", print},
                 {"CASTAWAY_COLLECTOR=of another program"}})
                .output,
            "none\n");
  const std::string address = run({{castaway(), "run", "--output", data.path(), "--", "sh", "-c", print}}).output;
  EXPECT_EQ(address.size(), 66u) << address;
}

} // namespace
} // namespace e2e
