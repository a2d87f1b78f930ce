// Real servers under load, preloaded, with a safepoint every second: nothing is lost, they end as they should, and no
// thread of theirs is called leaked.
#include "target.h"
#include "tcp.h"

#include <csignal>
#include <fstream>
#include <grp.h>
#include <gtest/gtest.h>
#include <optional>
#include <pwd.h>
#include <regex>
#include <set>
#include <unistd.h>

namespace e2e {
namespace {

namespace fs = std::filesystem;

constexpr const char *kInterval = "1s";
constexpr double kLoadSeconds = 6;
constexpr int kSafepoints = 3; // at least

#define CASTAWAY_NEEDS(...)                                                                                            \
  for (const char *name : {__VA_ARGS__})                                                                               \
    if (installed(name).empty()) GTEST_SKIP() << name << " is not installed"

// On a busy machine a second between safepoints can take longer.
void await_safepoints(const Target &target) {
  EXPECT_TRUE(eventually([&] { return target.safepoints() >= kSafepoints; }, Seconds(60)));
}

// What the profiles of a server must say; what is leaked for certain is shown, for a person to judge.
void expect_no_leaked_thread(const Target &target) {
  for (const std::string &path : target.profiles()) {
    Profile profile(path);
    EXPECT_EQ(profile.totals().threads, 0) << profile.text();
    expect_nothing_refuted(profile);
  }
  if (std::vector<std::string> all = target.profiles(); !all.empty() && Profile(all.back()).totals().any())
    std::cout << "leaked memory:\n" << Profile(all.back()).text();
}

void expect_end(Target &target, int signal, const std::string &how) {
  await_safepoints(target);
  target.process().signal(signal);
  Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, how) << ended.output << ended.errors;
}

Ended run_for_load(std::vector<std::string> arguments) {
  Ended ended = run({std::move(arguments)}, Seconds(120));
  EXPECT_EQ(ended.how, "exit 0") << ended.output << ended.errors;
  return ended;
}

// Runs `load` again and again until the time is over.
template <typename Load> void repeat(Load load) {
  auto end = std::chrono::steady_clock::now() + Seconds(kLoadSeconds);
  while (std::chrono::steady_clock::now() < end && !testing::Test::HasFailure()) load();
}

TEST(Servers, Redis) {
  CASTAWAY_NEEDS("redis-server", "redis-benchmark", "redis-cli");
  TemporaryDirectory data;
  std::string port = std::to_string(free_port());
  Target target({installed("redis-server"), "--port", port, "--dir", data.path(), "--save", "", "--io-threads", "2"},
                {.interval = kInterval, .sample_bytes = "524288"});
  ASSERT_TRUE(eventually([&] { return accepts_connections(std::stoi(port)); })) << target.process().errors();
  auto ask = [&port](std::vector<std::string> words) {
    std::vector<std::string> arguments = {installed("redis-cli"), "-p", port};
    arguments.insert(arguments.end(), words.begin(), words.end());
    return run_for_load(arguments).output;
  };
  int saves = 0;
  repeat([&] {
    ask({"bgsave"});
    ++saves;
    Ended load = run_for_load({installed("redis-benchmark"), "-p", port, "-q", "-n", "20000", "-r", "10000", "-t",
                               "set,get,lpush,lpop,sadd,zadd,hset"});
    EXPECT_EQ(load.errors, "");
    EXPECT_EQ(load.output.find("Error"), std::string::npos) << load.output;
    EXPECT_TRUE(eventually([&] { return ask({"info"}).find("rdb_bgsave_in_progress:0") != std::string::npos; }));
  });
  EXPECT_GT(saves, 0);
  EXPECT_NE(ask({"info"}).find("rdb_last_bgsave_status:ok"), std::string::npos);
  ask({"set", "key", "value"});
  EXPECT_EQ(ask({"get", "key"}), "value\n");
  expect_end(target, SIGTERM, "exit 0");
  expect_no_leaked_thread(target);
}

TEST(Servers, Memcached) {
  CASTAWAY_NEEDS("memcached");
  int port = free_port();
  Target target(
      {installed("memcached"), "-p", std::to_string(port), "-U", "0", "-l", "127.0.0.1", "-u", "root", "-t", "4"},
      {.interval = kInterval, .sample_bytes = "524288"});
  ASSERT_TRUE(eventually([port] { return accepts_connections(port); })) << target.process().errors();
  long stored = 0;
  repeat([&] {
    LineClient client(port);
    for (int i = 0; i < 500 && !testing::Test::HasFailure(); ++i, ++stored) {
      std::string key = "key" + std::to_string(stored % 5000), value = std::string(stored % 3000, 'v');
      client.send("set " + key + " 0 0 " + std::to_string(value.size()) + "\r\n" + value + "\r\nget " + key + "\r\n");
      EXPECT_EQ(client.line(), "STORED");
      EXPECT_EQ(client.line(), "VALUE " + key + " 0 " + std::to_string(value.size()));
      EXPECT_EQ(client.line(), value);
      EXPECT_EQ(client.line(), "END");
    }
  });
  EXPECT_GT(stored, 1000);
  expect_end(target, SIGTERM, "exit 0");
  expect_no_leaked_thread(target);
}

// As root, so that its workers change their user.
TEST(Servers, Nginx) {
  CASTAWAY_NEEDS("nginx", "wrk", "curl");
  TemporaryDirectory data;
  fs::permissions(data.path(), fs::perms(0755));
  int port = free_port();
  std::string page(20'000, 'p');
  data.file("index.html", page);
  std::string configuration = data.file(
      "nginx.conf",
      "daemon off; worker_processes 2; pid " + (data.path() / "pid").string() +
          "; error_log stderr warn; events { worker_connections 512; } http { access_log off; server { listen "
          "127.0.0.1:" +
          std::to_string(port) + "; location / { root " + data.path().string() + "; } } }");
  Target target({installed("nginx"), "-c", configuration}, {.interval = kInterval, .sample_bytes = "524288"});
  ASSERT_TRUE(eventually([port] { return accepts_connections(port); })) << target.process().errors();
  std::string address = "http://127.0.0.1:" + std::to_string(port) + "/";
  Ended load = run_for_load({installed("wrk"), "-t", "2", "-c", "20", "-d", "6s", address});
  EXPECT_EQ(load.output.find("Socket errors"), std::string::npos) << load.output;
  EXPECT_EQ(load.output.find("Non-2xx"), std::string::npos) << load.output;
  target.process().signal(SIGHUP); // new workers, the old ones end
  sleep_for(Seconds(1.5));
  EXPECT_EQ(run_for_load({installed("curl"), "-s", address}).output, page);
  EXPECT_EQ(target.process().errors().find("exited on signal"), std::string::npos) << target.process().errors();
  expect_end(target, SIGQUIT, "exit 0");
  expect_no_leaked_thread(target);
}

// Gives a directory to the user that the database runs as.
void give_to(const passwd &user, const fs::path &path) {
  ASSERT_EQ(chown(path.c_str(), user.pw_uid, user.pw_gid), 0) << path;
}

TEST(Servers, PostgreSql) {
  CASTAWAY_NEEDS("postgres", "initdb", "pgbench", "setpriv");
  passwd *user = getpwnam("postgres");
  if (!user || geteuid() != 0) GTEST_SKIP() << "needs root and a user postgres";
  TemporaryDirectory data, output;
  give_to(*user, data.path());
  give_to(*user, output.path());
  std::vector<std::string> as_user = {installed("setpriv"), "--reuid=postgres", "--regid=postgres", "--clear-groups"};
  auto with = [&as_user](std::vector<std::string> command) {
    command.insert(command.begin(), as_user.begin(), as_user.end());
    return command;
  };
  std::string files = data.path() / "db", port = std::to_string(free_port());
  run_for_load(with({installed("initdb"), "-D", files, "-A", "trust", "-N"}));
  Target target(with({castaway(), "run", "--", installed("postgres"), "-D", files, "-p", port, "-k", data.path()}),
                {.interval = kInterval,
                 .sample_bytes = "524288",
                 .more = {"CASTAWAY_FOLLOW=postgres"},
                 .output = output.path() / "out"});
  auto bench = [&](std::vector<std::string> options) {
    std::vector<std::string> command = {installed("pgbench"), "-h", data.path(), "-p", port, "-n"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back("postgres");
    return run({with(command)}, Seconds(60));
  };
  Ended made;
  ASSERT_TRUE(eventually([&] {
    return (made = bench({"-i", "-q"})).how == "exit 0";
  })) << made.errors
      << target.process().errors();
  Ended load = bench({"-c", "4", "-j", "2", "-T", "6"});
  EXPECT_EQ(load.how, "exit 0") << load.errors;
  EXPECT_NE(load.output.find("number of failed transactions: 0 "), std::string::npos) << load.output;
  expect_end(target, SIGINT, "exit 0"); // "fast" shutdown
  EXPECT_EQ(target.process().errors().find("PANIC"), std::string::npos) << target.process().errors();
  expect_no_leaked_thread(target);
  std::set<std::string> pids; // the postmaster and its children
  for (const std::string &path : target.profiles())
    pids.insert(std::regex_replace(path, std::regex(R"(\.leak\..*)"), ""));
  EXPECT_GE(pids.size(), 5u);
}

TEST(Servers, Python) {
  CASTAWAY_NEEDS("python3");
  Target target({installed("python3"), E2E_SOURCE_DIRECTORY "/load.py"},
                {.interval = kInterval, .sample_bytes = "524288"});
  sleep_for(Seconds(kLoadSeconds));
  await_safepoints(target);
  Ended ended = target.process().finish();
  EXPECT_EQ(ended.how, "exit 0") << ended.errors;
  EXPECT_EQ(ended.output, "lost 0\nlost 0\n") << ended.errors;
  expect_no_leaked_thread(target);
}

} // namespace
} // namespace e2e
