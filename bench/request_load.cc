// A load for servers, in a closed loop: each of so many connections sends a request, waits for the answer, and sends
// the next one. One thread and epoll, so that the load takes one processor at most.
//
//   request_load memcached|redis|http PORT CONNECTIONS SECONDS FILE
//
// memcached, redis: one request in ten is a set, the others are gets, of 10000 keys with values of 100 bytes, which are
// all set before the time begins. http: GET / over connections that are kept. FILE gets what was measured, for
// bench.py: the number of requests, when each was answered, in the order of time and in ns of the wall clock, and how
// many ns it took, all as 64-bit integers of this machine. Exit status 1 if an answer is wrong.
#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <netinet/tcp.h>
#include <random>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr int kKeys = 10000;
constexpr int64_t kSecond = 1'000'000'000;

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

[[noreturn]] void die(const char *text) {
  std::fprintf(stderr, "request_load: %s\n", text);
  std::exit(1);
}

// What a protocol says: requests, and how long the answer is that `text` begins with; npos while that cannot be known.
struct Protocol {
  std::function<std::string(const std::string &key)> set, get;
  std::function<size_t(std::string_view text)> answer_size;
  bool has_keys;
};

const std::string kValue(100, 'v');

// Up to and with the first `end`.
size_t through(std::string_view text, std::string_view end, size_t from = 0) {
  size_t at = text.find(end, from);
  return at == text.npos ? at : at + end.size();
}

std::string bulk(const std::string &text) { return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n"; }

size_t memcached_answer(std::string_view text) {
  if (text.starts_with("S")) return through(text, "STORED\r\n");
  if (!std::string_view("VALUE ").starts_with(text.substr(0, 6))) die("memcached: no value");
  return through(text, "\r\nEND\r\n");
}

size_t redis_answer(std::string_view text) {
  if (text.starts_with("+")) return through(text, "\r\n");
  if (!std::string_view("$100\r\n").starts_with(text.substr(0, 6))) die("redis: no value");
  return through(text, "\r\n", 6);
}

size_t http_answer(std::string_view text) {
  if (!std::string_view("HTTP/1.1 200 ").starts_with(text.substr(0, 13))) die("http: another status than 200");
  constexpr std::string_view kLength = "Content-Length: ";
  size_t head = through(text, "\r\n\r\n"), length = through(text, kLength);
  if (head == text.npos || length == text.npos) return text.npos;
  return head + std::strtoul(&text[length], nullptr, 10);
}

Protocol protocol_named(std::string_view name) {
  if (name == "memcached")
    return {[](const auto &key) { return "set " + key + " 0 0 100\r\n" + kValue + "\r\n"; },
            [](const auto &key) { return "get " + key + "\r\n"; }, memcached_answer, true};
  if (name == "redis")
    return {[](const auto &key) { return "*3\r\n$3\r\nSET\r\n" + bulk(key) + bulk(kValue); },
            [](const auto &key) { return "*2\r\n$3\r\nGET\r\n" + bulk(key); }, redis_answer, true};
  if (name == "http") {
    auto get = [](const auto &) { return std::string("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); };
    return {get, get, http_answer, false};
  }
  die("no such protocol");
}

int connect_to(uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (fd < 0 || connect(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) != 0) die("no connection");
  return fd;
}

struct Connection {
  int fd;
  int64_t sent;
  std::string answer;
};

void send_request(Connection &to, const std::string &request) {
  to.sent = now();
  if (send(to.fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    die("a request could not be sent");
}

// Whether the answer is complete.
bool receive(Connection &from, const Protocol &protocol) {
  char part[8192];
  ssize_t got = recv(from.fd, part, sizeof part, 0);
  if (got <= 0) die("a connection was closed");
  from.answer.append(part, static_cast<size_t>(got));
  size_t size = protocol.answer_size(from.answer);
  if (size != from.answer.npos && from.answer.size() > size) die("more than the answer came");
  return from.answer.size() == size;
}

void set_all_keys(const Protocol &protocol, Connection &connection) {
  for (int key = 0; key < kKeys; ++key) {
    send_request(connection, protocol.set("key" + std::to_string(key)));
    while (!receive(connection, protocol)) {
    }
    connection.answer.clear();
  }
}

struct Measured {
  std::vector<int64_t> times, latencies;
};

Measured load(const Protocol &protocol, std::vector<Connection> &connections, int64_t until) {
  int poll = epoll_create1(0);
  std::mt19937 random(1);
  auto send_next = [&](Connection &connection) {
    std::string key = "key" + std::to_string(random() % kKeys);
    connection.answer.clear();
    send_request(connection, random() % 10 ? protocol.get(key) : protocol.set(key));
  };
  for (Connection &each : connections) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &each}};
    epoll_ctl(poll, EPOLL_CTL_ADD, each.fd, &event);
    send_next(each);
  }
  Measured measured;
  std::vector<epoll_event> events(connections.size());
  for (int64_t time = 0; time < until;) {
    constexpr int kMost = 60'000; // ms
    int count = epoll_wait(poll, events.data(), static_cast<int>(events.size()), kMost);
    if (count < 0 && errno == EINTR) continue; // it was stopped, and goes on
    if (count <= 0) die("no answer for a minute");
    for (int i = 0; i < count; ++i) {
      auto &from = *static_cast<Connection *>(events[static_cast<size_t>(i)].data.ptr);
      if (!receive(from, protocol)) continue;
      time = now();
      measured.times.push_back(time);
      measured.latencies.push_back(time - from.sent);
      send_next(from);
    }
  }
  return measured;
}

void write(const char *path, const Measured &measured) {
  FILE *file = std::fopen(path, "wb");
  if (!file) die("the file cannot be written");
  auto count = static_cast<int64_t>(measured.times.size());
  std::fwrite(&count, sizeof count, 1, file);
  std::fwrite(measured.times.data(), sizeof(int64_t), measured.times.size(), file);
  std::fwrite(measured.latencies.data(), sizeof(int64_t), measured.latencies.size(), file);
  if (std::fclose(file) != 0) die("the file could not be written");
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 6) {
    std::fputs("usage: request_load memcached|redis|http PORT CONNECTIONS SECONDS FILE\n", stderr);
    return 2;
  }
  Protocol protocol = protocol_named(argv[1]);
  std::vector<Connection> connections(std::strtoul(argv[3], nullptr, 10));
  if (connections.empty()) die("at least one connection is needed");
  for (Connection &each : connections) each.fd = connect_to(static_cast<uint16_t>(std::atoi(argv[2])));
  if (protocol.has_keys) set_all_keys(protocol, connections.front());
  auto until = now() + static_cast<int64_t>(std::atof(argv[4]) * static_cast<double>(kSecond));
  write(argv[5], load(protocol, connections, until));
  return 0;
}
