// The collector: its protocol and server against good and hostile peers, and that the program next to it does not
// notice it. What it is for, programs that change their user, is in e2e/changed_user_test.cc.
#include "profile/collector_client.h"
#include "profile/gzip.h"
#include "profile/timed_stream.h"
#include "tests/run_command.h"
#include "tools/collector.h"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace castaway {
namespace {

using namespace std::chrono_literals;

const std::string kSecret = "00112233445566778899aabbccddeeff";
const std::string kOther = "00112233445566778899aabbccddeefe";

CollectorRequest good_request() { return {kSecret, "nginx", 4711, "leak", 3, 24, 100}; }

std::string encoded(const CollectorRequest &request) {
  const auto header = encode_request(request);
  EXPECT_TRUE(header.ok()) << header.error();
  return *header;
}

// A header with this line, whether or not a request can have it.
std::string header_with(std::string line) {
  line.resize(kCollectorHeaderSize, '\0');
  return line;
}

TEST(CollectorProtocol, RequestComesBackAsItWas) {
  const CollectorRequest longest{kSecret, std::string(64, 'n'), 1 << 22, "threads", uint64_t{1} << 48,
                                 1000000, kMostCollectedBytes};
  for (const CollectorRequest &request : {good_request(), longest}) {
    const auto read = decode_request(encoded(request));
    ASSERT_TRUE(read.ok()) << read.error();
    EXPECT_EQ(read->secret, request.secret);
    EXPECT_EQ(read->comm, request.comm);
    EXPECT_EQ(read->pid, request.pid);
    EXPECT_EQ(read->kind, request.kind);
    EXPECT_EQ(read->seq, request.seq);
    EXPECT_EQ(read->keep, request.keep);
    EXPECT_EQ(read->size, request.size);
  }
}

TEST(CollectorProtocol, TruncatedHeadersAreRefused) {
  const std::string whole = encoded(good_request());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_request(whole.substr(0, size)).ok()) << size;
    const bool cuts_nothing = whole.find('\n') < size;
    EXPECT_EQ(decode_request(header_with(whole.substr(0, size))).ok(), cuts_nothing) << size;
  }
}

TEST(CollectorProtocol, EveryOtherByteIsRefusedOrMeansSomethingElse) {
  const std::string whole = encoded(good_request());
  for (size_t i = 0; i < whole.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = whole;
      changed[i] = static_cast<char>(byte);
      const auto read = decode_request(changed);
      if (!read.ok()) continue;
      EXPECT_EQ(encoded(*read), changed) << i << " " << byte;
    }
  }
}

TEST(CollectorProtocol, FieldsOutOfRangeAreRefused) {
  const std::string start = "castaway1 " + kSecret + " ";
  for (const char *line : {"a/b 1 leak 1 1 1\n",
                           "../x 1 leak 1 1 1\n",
                           ".x 1 leak 1 1 1\n",
                           " 1 leak 1 1 1\n",
                           "a\tb 1 leak 1 1 1\n",
                           "x 0 leak 1 1 1\n",
                           "x 4194305 leak 1 1 1\n",
                           "x -1 leak 1 1 1\n",
                           "x 01 leak 1 1 1\n",
                           "x 1 heap 1 1 1\n",
                           "x 1 ../leak 1 1 1\n",
                           "x 1 leak 18446744073709551615 1 1\n",
                           "x 1 leak 1 0 1\n",
                           "x 1 leak 1 1000001 1\n",
                           "x 1 leak 1 1 0\n",
                           "x 1 leak 1 1 67108865\n",
                           "x 1 leak 1 1 99999999999999999999\n",
                           "x 1 leak 1 1 1 1\n",
                           "x 1 leak 1 1 1\nmore",
                           "x 1 leak 1 1 1 \n",
                           "x 1 leak 1 1\n",
                           "x 1 leak 1 1 1"})
    EXPECT_FALSE(decode_request(header_with(start + line)).ok()) << line;
  EXPECT_TRUE(decode_request(header_with(start + "x 1 leak 1 1 1\n")).ok());
  EXPECT_FALSE(decode_request(header_with(start + std::string(65, 'x') + " 1 leak 1 1 1\n")).ok());
  EXPECT_FALSE(decode_request(header_with("castaway2 " + kSecret + " x 1 leak 1 1 1\n")).ok());
}

TEST(CollectorProtocol, RequestThatWouldBeRefusedIsNotSent) {
  CollectorRequest request = good_request();
  request.comm = "a/b";
  EXPECT_FALSE(encode_request(request).ok());
  request = good_request();
  request.size = kMostCollectedBytes + 1;
  EXPECT_FALSE(encode_request(request).ok());
}

TEST(CollectorProtocol, AnswersComeBack) {
  const auto stored = decode_answer(encode_answer(StoredProfile{"x.1.leak.2.pb.gz", ""}));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->name, "x.1.leak.2.pb.gz");
  EXPECT_EQ(stored->trouble, "");
  EXPECT_EQ(decode_answer(encode_answer(StoredProfile{"x", "no link there"}))->trouble, "no link there");
  EXPECT_EQ(decode_answer(encode_answer(Error{"disk\nfull"})).error(), "disk?full");
  EXPECT_LE(encode_answer(Error{std::string(5000, 'x')}).size(), kMostCollectorAnswer);
  for (const char *line : {"", "\n", "ok\n", "ok ../x\n", "ok .x\n", "no\n", "yes x\n", "ok x", "ok x\nno y\n"})
    EXPECT_EQ(decode_answer(line).error(), "the collector's answer cannot be read") << line;
}

TEST(CollectorProtocol, AddressIsExact) {
  const auto address = parse_collector_address(kOther + ":" + kSecret);
  ASSERT_TRUE(address);
  EXPECT_EQ(address->text(), kOther + ":" + kSecret);
  for (const std::string &text : {std::string(), kSecret, kSecret + ":", ":" + kSecret, kSecret + ":" + kSecret + "0",
                                  kSecret + " " + kSecret, "/tmp/socket:" + kSecret})
    EXPECT_FALSE(parse_collector_address(text)) << text;
}

TEST(CollectorProtocol, SecretsAreTheSameOnlyIfTheyAre) {
  EXPECT_TRUE(is_same_secret(kSecret, kSecret));
  EXPECT_FALSE(is_same_secret(kSecret, kOther));
  EXPECT_FALSE(is_same_secret(kSecret, kSecret.substr(1)));
  EXPECT_FALSE(is_same_secret(kSecret, ""));
}

// Serves one peer that sends these bytes and hangs up; the answer.
std::string served(const std::string &bytes, const std::filesystem::path &output) {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const TimedStream peer{Descriptor(ends[0])};
  std::thread server([&] { serve_peer(Descriptor(ends[1]), kSecret, output); });
  static_cast<void>(peer.send(bytes, 5s)); // the server may hang up before
  shutdown(ends[0], SHUT_WR);
  const auto answer = peer.receive_line(kMostCollectorAnswer, 20s);
  server.join();
  return answer ? *answer : "nothing: " + answer.error();
}

std::string conversation(CollectorRequest request, const std::string &body) {
  request.size = body.size();
  return encoded(request) + body;
}

const std::string kBody = *gzip("a profile");

size_t files_in(const std::filesystem::path &directory) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

TEST(CollectorServer, StoresAsTheReporterDoes) {
  const TestDirectory output;
  for (uint64_t seq = 1; seq <= 3; ++seq) {
    CollectorRequest request = good_request();
    request.seq = seq;
    request.keep = 2;
    EXPECT_EQ(served(conversation(request, kBody), output.path()),
              "ok nginx.4711.leak." + std::to_string(seq) + ".pb.gz\n");
  }
  EXPECT_EQ(files_in(output.path()), 3u); // two and the link
  EXPECT_EQ(std::filesystem::read_symlink(output / "nginx.4711.leak.pb.gz"), "nginx.4711.leak.3.pb.gz");
  struct stat status = {};
  ASSERT_EQ(stat((output / "nginx.4711.leak.3.pb.gz").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_EQ(status.st_size, static_cast<off_t>(kBody.size()));
}

TEST(CollectorServer, RefusesAndLeavesNothing) {
  const TestDirectory output;
  CollectorRequest stranger = good_request();
  stranger.secret = kOther;
  EXPECT_EQ(served(conversation(stranger, kBody), output.path()), "no the collector takes nothing from strangers\n");
  const std::string slash = header_with("castaway1 " + kSecret + " ../x 1 leak 1 1 30\n");
  EXPECT_TRUE(served(slash + kBody, output.path()).starts_with("no ")) << served(slash, output.path());
  const std::string huge = header_with("castaway1 " + kSecret + " x 1 leak 1 1 67108865\n");
  EXPECT_NE(served(huge, output.path()).find("67108865 bytes"), std::string::npos);
  EXPECT_EQ(served(conversation(good_request(), "#!/bin/sh"), output.path()), "no the collector takes profiles only\n");
  EXPECT_EQ(files_in(output.path()), 0u);
}

TEST(CollectorServer, TruncationAtEveryByteStoresNothing) {
  const TestDirectory output;
  const std::string whole = conversation(good_request(), kBody);
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_TRUE(served(whole.substr(0, size), output.path()).starts_with("no ")) << size;
  EXPECT_EQ(files_in(output.path()), 0u);
  EXPECT_TRUE(served(whole, output.path()).starts_with("ok "));
}

TEST(CollectorServer, SilentPeerIsLeftSoon) {
  const TestDirectory output;
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor peer(ends[0]);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(serve_peer(Descriptor(ends[1]), kSecret, output.path()), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST(CollectorServer, FollowsNoLinkToAnotherDirectory) {
  const TestDirectory output;
  std::filesystem::create_directory(output / "there");
  std::filesystem::create_directory_symlink("there", output / "link");
  const std::string answer = served(conversation(good_request(), kBody), output / "link");
  EXPECT_TRUE(answer.starts_with("no cannot open ")) << answer;
  EXPECT_EQ(files_in(output / "there"), 0u);
}

Descriptor listening_at(const std::string &name) {
  Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr *>(&address), size), 0);
  EXPECT_EQ(listen(listener.get(), 16), 0);
  return listener;
}

pid_t start_sleeper() {
  const pid_t pid = fork();
  if (pid == 0) {
    pause();
    _exit(0);
  }
  return pid;
}

// With the real client, for as long as the process that it watches lives; pages of the dead go.
TEST(CollectorServer, ServesUntilItsProcessHasEnded) {
  const TestDirectory output;
  const CollectorAddress address{kOther.substr(8) + std::to_string(10000000 + getpid() % 10000000), kSecret};
  const pid_t pid = start_sleeper();
  Collector collector(listening_at(address.socket_name()),
                      Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))), kSecret, output.path());
  std::thread server([&] { collector.run(); });
  CollectorRequest request = good_request();
  request.pid = static_cast<uint64_t>(pid);
  output.write(".nginx." + std::to_string(pid) + ".castaway", "page");
  const auto stored = hand_to_collector(address, request, kBody);
  EXPECT_TRUE(stored.ok()) << stored.error();
  EXPECT_EQ(hand_to_collector({address.name, kOther}, request, kBody).error(),
            "the collector takes nothing from strangers");
  EXPECT_EQ(files_in(output.path()), 3u);
  kill(pid, SIGKILL);
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
  server.join();
  EXPECT_EQ(files_in(output.path()), 2u); // the profile and the link
}

TEST(CollectorClient, NobodyThereIsOneLine) {
  const auto answer = hand_to_collector({kOther, kSecret}, good_request(), kBody);
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error(), "the collector cannot be reached: Connection refused");
}

} // namespace
} // namespace castaway
