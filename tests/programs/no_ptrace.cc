// Programs whose threads cannot be stopped with ptrace: by seccomp, by their credentials, or because somebody else
// traces them. Each loses three threads and a block, and lets a fourth thread wait in a call that a handler interrupts.
#include "waits.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using support::require;

void *wait_for_nobody(void *semaphore) {
  static_cast<waits::DroppedSem *>(semaphore)->wait();
  return nullptr;
}

void *wait_for_event(void *) {
  epoll_event event;
  if (epoll_wait(epoll_create1(0), &event, 1, -1) < 0) dprintf(STDERR_FILENO, "epoll_wait: %s\n", strerror(errno));
  return nullptr;
}

void lose_things() {
  for (int i = 0; i < 3; ++i) support::start_blocked(wait_for_nobody, support::make<waits::DroppedSem>());
  support::take(1000);
}

// For all threads of the process; `answer`: what the call gets.
void filter_call(unsigned number, unsigned answer) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, answer),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  support::add_filter(code, std::size(code));
}
void filter_ptrace(unsigned answer) { filter_call(SYS_ptrace, answer); }
// What our handler would call.
void filter_handler(unsigned answer) {
  filter_ptrace(SECCOMP_RET_ERRNO | EPERM);
  filter_call(SYS_rt_sigpending, answer);
}

// Not dumpable, and without the capability to trace nevertheless.
void become_nobody() {
  constexpr int kNobody = 65534;
  if (getuid() == 0) require(setgid(kNobody) == 0 && setuid(kNobody) == 0, "setuid");
  require(prctl(PR_SET_DUMPABLE, 0) == 0, "PR_SET_DUMPABLE");
}

struct RawAction {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)();
  unsigned long mask;
};

void handle_raw(int number) {
  struct sigaction action {};
  action.sa_handler = [](int signal) { dprintf(STDERR_FILENO, "the program got signal %d\n", signal); };
  if (number >= SIGRTMIN) {
    sigaction(number, &action, nullptr);
    return;
  }
  RawAction raw;
  sigaction(SIGRTMIN, &action, nullptr); // for the restorer
  require(syscall(SYS_rt_sigaction, SIGRTMIN, nullptr, &raw, 8) == 0, "rt_sigaction");
  require(syscall(SYS_rt_sigaction, number, &raw, nullptr, 8) == 0, "rt_sigaction");
}

// Handlers past libc for its own signals, and for the highest ones.
void handle_signals(int from) {
  pthread_t thread; // libc installs its handler with the first thread
  require(pthread_create(
              &thread, nullptr, [](void *) -> void * { return nullptr; }, nullptr) == 0,
          "pthread_create");
  pthread_join(thread, nullptr);
  handle_raw(33);
  for (int number = from; number <= SIGRTMAX; ++number) handle_raw(number);
}

void *block_all(void *) {
  unsigned long all = ~0ul;
  require(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof all) == 0, "rt_sigprocmask");
  support::park();
  return nullptr;
}

template <auto deny, auto argument> void denied(support::Mode) {
  lose_things(); // first: of a process that is not dumpable /proc tells nobody whether it is blocked
  deny(argument);
  support::start(wait_for_event, nullptr); // afterwards: setuid interrupts it, by libc's own signal
  usleep(200'000);
  support::say("pid", getpid());
}
void nothing(int) {}

constexpr support::Case kCases[] = {
    {"seccomp_errno", denied<filter_ptrace, SECCOMP_RET_ERRNO | EPERM>},
    {"seccomp_kill", denied<filter_ptrace, SECCOMP_RET_KILL_PROCESS>},
    {"seccomp_kill_thread", denied<filter_ptrace, SECCOMP_RET_KILL_THREAD>},
    {"handler_killed", denied<filter_handler, SECCOMP_RET_KILL_PROCESS>},
    {"not_dumpable", denied<[](int) { become_nobody(); }, 0>},
    {"handled", denied<handle_signals, 60>},
    {"all_handled", denied<handle_signals, 34>},
    {"traced", denied<nothing, 0>},
    {"blocked", denied<[](int) { support::start_blocked(block_all, nullptr); }, 0>},
};

} // namespace

int main(int argc, char **argv) { return support::run(argc, argv, {kCases}); }
