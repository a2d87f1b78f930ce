// A program that does nothing: `idle read`, `poll` or `select`; or with a `thread` that does nothing either; or that
// `ticks` fifty times a second. SIGUSR1 has it lose a block of 1000 bytes, and nothing else. Ends when its input does.
#include "support.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <string_view>
#include <sys/select.h>
#include <thread>
#include <unistd.h>

namespace {

[[gnu::noinline]] void keep() { support::kept = malloc(1000); }

// How main waits, until its input ends.
void wait(std::string_view mode) {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(STDIN_FILENO, &set);
  timeval hour{3600, 0};
  char byte;
  if (mode == "poll") poll(&input, 1, -1);
  if (mode == "select") select(STDIN_FILENO + 1, &set, nullptr, nullptr, &hour);
  while (mode == "ticks" && poll(&input, 1, 20) <= 0) {
  }
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

} // namespace

int main(int argc, char **argv) {
  std::string_view mode = argc > 1 ? argv[1] : "read";
  struct sigaction lose {};
  lose.sa_handler = [](int) { support::kept = nullptr; };
  lose.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &lose, nullptr);
  if (mode == "thread") std::thread([] { pause(); }).detach();
  keep();
  support::scrub_stack();
  puts("READY");
  fflush(stdout);
  wait(mode);
  _exit(0);
}
