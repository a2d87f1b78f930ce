// A load for memcached: so many connections, each a thread that sends a request and waits for the answer. One request
// in ten is a set, the others are gets, of 10000 keys with values of 100 bytes.
//
//   memcached_load PORT CONNECTIONS SECONDS
//
// Prints `per_second N` and `p99_us N`. Exit status 1 if an answer is wrong.
#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/tcp.h>
#include <random>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

std::atomic<bool> failed;

int connect_to(uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

bool ends_with(const std::string &text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool exchange(int fd, const std::string &request, std::string_view end) {
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) return false;
  std::string answer;
  char part[4096];
  while (!ends_with(answer, end)) {
    ssize_t got = recv(fd, part, sizeof part, 0);
    if (got <= 0 || answer.size() > sizeof part) return false;
    answer.append(part, static_cast<size_t>(got));
  }
  return true;
}

void load(uint16_t port, unsigned seed, Clock::time_point end, std::vector<float> &latencies) {
  int fd = connect_to(port);
  std::mt19937 random(seed);
  const std::string value(100, 'v');
  while (fd >= 0 && Clock::now() < end) {
    std::string key = "key" + std::to_string(random() % 10000);
    bool sets = random() % 10 == 0;
    auto begin = Clock::now();
    bool fine = sets ? exchange(fd, "set " + key + " 0 0 100\r\n" + value + "\r\n", "STORED\r\n")
                     : exchange(fd, "get " + key + "\r\n", "END\r\n");
    latencies.push_back(std::chrono::duration<float, std::micro>(Clock::now() - begin).count());
    if (!fine) break;
  }
  if (fd < 0 || Clock::now() < end) failed = true;
  if (fd >= 0) close(fd);
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 4) {
    std::fputs("usage: memcached_load PORT CONNECTIONS SECONDS\n", stderr);
    return 2;
  }
  double seconds = std::atof(argv[3]);
  std::vector<std::vector<float>> latencies(std::strtoul(argv[2], nullptr, 10));
  auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < latencies.size(); ++i)
    threads.emplace_back(load, static_cast<uint16_t>(std::atoi(argv[1])), i, end, std::ref(latencies[i]));
  for (std::thread &thread : threads) thread.join();
  std::vector<float> all;
  for (const auto &each : latencies) all.insert(all.end(), each.begin(), each.end());
  if (failed || all.empty()) {
    std::fputs("memcached_load: no or wrong answers\n", stderr);
    return 1;
  }
  auto p99 = all.begin() + static_cast<std::ptrdiff_t>(all.size() * 99 / 100);
  std::nth_element(all.begin(), p99, all.end());
  std::printf("per_second %.0f\np99_us %.1f\n", static_cast<double>(all.size()) / seconds, static_cast<double>(*p99));
  return 0;
}
