// The descriptor table stays the program's own: nothing extra in it, nothing that closefrom could hurt, no second
// reference that would hold back the end of a connection.
#include "calm.h"
#include "support.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace calm {
namespace {

using support::require;

std::string descriptors() {
  std::vector<std::string> names;
  DIR *directory = opendir("/proc/self/fd");
  while (dirent *entry = readdir(directory)) names.emplace_back(entry->d_name);
  closedir(directory);
  std::sort(names.begin(), names.end());
  std::string all;
  for (const std::string &name : names) all += name + " ";
  return all;
}

int same_listing(int argc, char **argv) {
  std::string first = descriptors();
  expect(false, "%s", first.c_str()); // the same as without the profiler
  repeat(span_of(argc, argv), [&first] {
    std::string now = descriptors();
    return expect(now == first, "listing became %s", now.c_str());
  });
  return done(argv);
}

int lowest_free(int argc, char **argv) {
  int first = open("/dev/null", O_RDONLY);
  close(first);
  expect(false, "lowest free: %d", first);
  repeat(span_of(argc, argv), [first] {
    int now = open("/dev/null", O_RDONLY);
    close(now);
    return expect(now == first, "lowest free became %d", now);
  });
  return done(argv);
}

// Programs that daemonize close all they did not open, and use any number that they like.
int close_all(int argc, char **argv) {
  repeat(span_of(argc, argv), [] {
    closefrom(3);
    for (int number = 3; number < 40; ++number) dup2(STDERR_FILENO, number);
    usleep(3000);
    closefrom(3);
    return true;
  });
  return done(argv);
}

struct Connection {
  int client, server;
};

Connection connect_to(int listener, sockaddr_in address) {
  int client = socket(AF_INET, SOCK_STREAM, 0);
  require(connect(client, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0, "connect");
  return {client, accept(listener, nullptr, nullptr)};
}

// Milliseconds until the end of `reader`'s stream is there.
long until_end(int reader) {
  Clock::time_point start = Clock::now();
  pollfd one{reader, POLLIN, 0};
  char byte;
  while (poll(&one, 1, 5000) != 1 || read(reader, &byte, 1) != 0) {
  }
  return std::chrono::duration_cast<Milliseconds>(Clock::now() - start).count();
}

// The peer of a closed socket, and the reader of a closed pipe, see the end at once, also while there is a snapshot:
// the test holds them for longer than what is asked for here.
int end_of_stream(int argc, char **argv) {
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  require(listen(listener, 4) == 0, "listen");
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  repeat(span_of(argc, argv, 4000), [&] {
    Connection connection = connect_to(listener, address);
    int ends[2];
    require(pipe(ends) == 0, "pipe");
    usleep(2000); // a snapshot may be made here
    close(connection.client);
    close(ends[1]);
    long socket_took = until_end(connection.server), pipe_took = until_end(ends[0]);
    close(connection.server);
    close(ends[0]);
    return expect(socket_took < 1000, "end of socket after %ld ms", socket_took) &&
           expect(pipe_took < 1000, "end of pipe after %ld ms", pipe_took);
  });
  return done(argv);
}

constexpr Case kCases[] = {{"same_listing", same_listing},
                           {"lowest_free", lowest_free},
                           {"close_all", close_all},
                           {"end_of_stream", end_of_stream}};

} // namespace

const std::span<const Case> kDescriptors = kCases;

} // namespace calm
