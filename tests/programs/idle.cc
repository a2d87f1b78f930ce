// A program that does nothing: `idle read`, `poll` or `select`; or with a `thread` that does nothing either; or that
// `ticks` fifty times a second, `wakes` five times, or `works` a quarter of the time. SIGUSR1 has it lose a block of
// 1000 bytes, and nothing else. Ends when its input does. With `forked`, a child does all that. Its pid is said.
#include "support.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <semaphore.h>
#include <string_view>
#include <sys/select.h>
#include <sys/wait.h>
#include <thread>
#include <time.h>
#include <unistd.h>

namespace {

[[gnu::noinline]] void keep() {
  support::kept = malloc(1000);
  sem_init(static_cast<sem_t *>(support::kept), 0, 0);
}

pid_t child;

void work_for_ms(long milliseconds) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  for (const long end = now.tv_nsec / 1'000'000 + now.tv_sec * 1000 + milliseconds;
       now.tv_nsec / 1'000'000 + now.tv_sec * 1000 < end;)
    clock_gettime(CLOCK_MONOTONIC, &now);
}

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
  while (mode == "wakes" && poll(&input, 1, 200) <= 0) {
  }
  while (mode == "works" && poll(&input, 1, 30) <= 0) work_for_ms(10);
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
  if (argc > 2 && (child = fork()) != 0) {
    signal(SIGUSR1, [](int) { kill(child, SIGUSR1); });
    while (waitpid(child, nullptr, 0) != child) {
    }
    _exit(0);
  }
  if (mode == "waits") {
    std::thread([] {
      while (sem_wait(static_cast<sem_t *>(support::kept)) != 0) {
      }
    }).detach();
    usleep(100'000); // until it does
  }
  support::scrub_stack();
  printf("pid %d\nREADY\n", getpid());
  fflush(stdout);
  wait(mode);
  _exit(0);
}
