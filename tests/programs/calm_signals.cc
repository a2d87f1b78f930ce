// The program's own signals: where one ends a call, it does so during a safepoint too; it reaches the thread that it
// always reaches; and what nobody sent is not seen.
#include "calm.h"
#include "support.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

namespace calm {
namespace {

using support::require;

std::atomic<long> handled, elsewhere, made_again, for_nothing;
thread_local volatile long handled_here;
pid_t main_tid;

// A call that a handler without SA_RESTART has interrupted must not be made again when it returns.
void on_alarm(int, siginfo_t *, void *context) {
  ++handled;
  handled_here = handled_here + 1;
  if (gettid() != main_tid) ++elsewhere;
#if defined(__x86_64__)
  const greg_t *registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
  const auto *code = reinterpret_cast<const unsigned char *>(registers[REG_RIP]);
  bool behind_entry = registers[REG_RCX] == registers[REG_RIP] + 2; // as the kernel puts a thread back to a call
  if (gettid() == main_tid && behind_entry && code[0] == 0x0f && code[1] == 0x05) ++made_again;
#else
  (void)context;
#endif
}

struct Interrupted {
  const char *name;
  long (*call)(); // blocks for ever
};

int pipe_ends[2], poller, word;

const Interrupted kInterrupted[] = {
    {"read",
     [] {
       char byte;
       return static_cast<long>(read(pipe_ends[0], &byte, 1));
     }},
    {"epoll_wait",
     [] {
       epoll_event event;
       return static_cast<long>(epoll_wait(poller, &event, 1, -1));
     }},
    {"poll", [] { return static_cast<long>(poll(nullptr, 0, -1)); }},
    {"pause", [] { return static_cast<long>(pause()); }},
    {"nanosleep",
     [] {
       timespec span{3600, 0};
       return static_cast<long>(nanosleep(&span, nullptr));
     }},
    {"futex", [] { return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0); }},
    {"sigsuspend",
     [] {
       sigset_t none;
       sigemptyset(&none);
       return static_cast<long>(sigsuspend(&none));
     }},
};

void start_alarms(int microseconds) {
  struct sigaction action {};
  action.sa_sigaction = on_alarm;
  action.sa_flags = SA_SIGINFO | SA_NODEFER; // main takes the next one even now
  sigaction(SIGALRM, &action, nullptr);
  itimerval each{{0, microseconds}, {0, microseconds}};
  setitimer(ITIMER_REAL, &each, nullptr);
}
void stop_alarms() {
  itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
}

// Threads that wait for ever and could take the signal just as well: main gets it.
void start_bystanders() {
  for (int i = 0; i < 3; ++i)
    std::thread([] {
      epoll_event event;
      for (int empty = epoll_create1(0);;) {
        handled_here = 0;
        epoll_wait(empty, &event, 1, -1);
        if (handled_here == 0) ++for_nothing;
      }
    }).detach();
}

int interrupted_calls(int argc, char **argv) {
  main_tid = gettid();
  require(pipe(pipe_ends) == 0 && (poller = epoll_create1(0)) >= 0, "pipe, epoll");
  start_bystanders();
  start_alarms(481); // not in step with safepoints every 20 ms: each finds them at another moment
  size_t next = 0;
  repeat(span_of(argc, argv), [&next] {
    const Interrupted &each = kInterrupted[next++ % std::size(kInterrupted)];
    long result = each.call();
    return expect(result == -1 && errno == EINTR, "%s: %ld, %s", each.name, result, strerror(errno));
  });
  stop_alarms();
  expect(handled > 0, "no alarm");
  // Only signals that come in the microseconds in which threads are told to stop or let go: a known limit.
  expect(elsewhere <= handled / 100, "%ld of %ld signals reached another thread than main", elsewhere.load(),
         handled.load());
  expect(made_again <= handled / 300, "%ld of %ld signals did not end main's call", made_again.load(), handled.load());
  expect(for_nothing <= handled / 300, "%ld calls of others ended for nothing, at %ld signals", for_nothing.load(),
         handled.load());
  return done(argv);
}

// A signal to a thread that waits ends its call, whatever is just done to it: the call is not made again behind it.
struct Waiter {
  std::atomic<pid_t> tid = 0;
  std::atomic<long> ended = 0;
  pthread_t thread = {};
};

void *wait_again_and_again(void *place) {
  auto &waiter = *static_cast<Waiter *>(place);
  waiter.tid = gettid();
  epoll_event event;
  for (int empty = epoll_create1(0);; ++waiter.ended) {
    handled_here = 0;
    while (handled_here == 0) epoll_wait(empty, &event, 1, -1);
  }
}

int ended_calls(int argc, char **argv) {
  struct sigaction action {};
  action.sa_sigaction = on_alarm;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, nullptr);
  static Waiter waiters[24];
  for (Waiter &waiter : waiters) pthread_create(&waiter.thread, nullptr, wait_again_and_again, &waiter);
  size_t next = 0;
  repeat(span_of(argc, argv), [&next] {
    Waiter &waiter = waiters[next++ % std::size(waiters)];
    while (waiter.tid == 0) usleep(100);
    support::await_blocked(waiter.tid);
    long before = waiter.ended;
    pthread_kill(waiter.thread, SIGUSR1);
    Clock::time_point late = Clock::now() + Milliseconds(5000);
    while (waiter.ended == before && Clock::now() < late) usleep(20);
    return expect(waiter.ended != before, "a call went on behind signal %zu", next);
  });
  return done(argv);
}

// Every signal number that a program can have a handler for: none of them runs, and masks stay as they are.
int nobody_signals(int argc, char **argv) {
  for (int number = 1; number <= SIGRTMAX; ++number) {
    struct sigaction action {};
    action.sa_handler = [](int signal) { expect(false, "signal %d", signal); };
    sigaction(number, &action, nullptr);
  }
  auto work = [](sigset_t mask) {
    pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    errno = 77;
    return [mask] {
      sigset_t now;
      for (int i = 0; i < 10000; ++i) asm volatile("" ::: "memory");
      expect(errno == 77, "errno is %d", errno);
      errno = 77;
      int result = pthread_sigmask(SIG_SETMASK, nullptr, &now);
      return expect(result == 0 && memcmp(&now, &mask, 8) == 0, "another signal mask");
    };
  };
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  std::vector<std::thread> threads;
  for (const sigset_t &mask : {all, none, all})
    threads.emplace_back([&, mask] { repeat(span_of(argc, argv), work(mask)); });
  for (std::thread &thread : threads) thread.join();
  return done(argv);
}

// Signals that wait for somebody to fetch them, by threads that block everything: none is lost, none is added.
int fetched_signals(int argc, char **argv) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::atomic<long> got{0}, sent{0};
  std::thread fetcher([&] {
    for (;;) {
      siginfo_t info;
      int number = sigwaitinfo(&all, &info);
      if (number == SIGRTMIN + 4) return; // comes last: lower numbers go first
      if (expect(number == SIGRTMIN + 3, "sigwaitinfo: %d, %s", number, strerror(errno))) ++got;
    }
  });
  repeat(span_of(argc, argv), [&sent] {
    sigqueue(getpid(), SIGRTMIN + 3, {.sival_int = 1});
    ++sent;
    usleep(500);
    return true;
  });
  kill(getpid(), SIGRTMIN + 4);
  fetcher.join();
  expect(got == sent, "%ld sent, %ld fetched", sent.load(), got.load());
  return done(argv);
}

// libc changes the credentials of all threads by a signal of its own, which may come during a safepoint.
int credentials(int argc, char **argv) {
  std::vector<std::thread> threads;
  std::atomic<bool> stop{false};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&stop] {
      while (!stop) free(malloc(100));
    });
  long changed = 0;
  repeat(span_of(argc, argv), [&changed] {
    ++changed;
    return expect(setegid(getegid()) == 0, "setegid: %s", strerror(errno));
  });
  stop = true;
  for (std::thread &thread : threads) thread.join();
  expect(changed > 1, "%ld changes", changed);
  return done(argv);
}

constexpr Case kCases[] = {
    {"credentials", credentials},       {"interrupted_calls", interrupted_calls}, {"ended_calls", ended_calls},
    {"nobody_signals", nobody_signals}, {"fetched_signals", fetched_signals},
};

} // namespace

const std::span<const Case> kSignals = kCases;

} // namespace calm
