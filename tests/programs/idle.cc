// A program that does nothing: `idle`, or with a `thread` that does nothing either, or that `ticks` fifty times a
// second. SIGUSR1 has it lose a block of 1000 bytes, and nothing else. Ends when its input does.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <string_view>
#include <thread>
#include <unistd.h>

namespace {

void *volatile kept;

[[gnu::noinline]] void keep() { kept = malloc(1000); }

// Overwrites what keep() may have left on the stack.
[[gnu::noinline]] void scrub_stack() {
  volatile char room[4096];
  for (volatile char &byte : room) byte = 0;
}

} // namespace

int main(int argc, char **argv) {
  std::string_view mode = argc > 1 ? argv[1] : "";
  struct sigaction lose {};
  lose.sa_handler = [](int) { kept = nullptr; };
  lose.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &lose, nullptr);
  if (mode == "thread") std::thread([] { pause(); }).detach();
  keep();
  scrub_stack();
  puts("READY");
  fflush(stdout);
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (mode == "ticks" && poll(&input, 1, 20) <= 0) {
  }
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  _exit(0);
}
