// Calls that wait see nothing of safepoints: they come back neither with EINTR, nor early, nor never.
#include "calm.h"
#include "waiting_calls.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <random>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace calm {
namespace {

int milliseconds_since(Clock::time_point start) {
  return static_cast<int>(std::chrono::duration_cast<Milliseconds>(Clock::now() - start).count());
}

// One thread per call that `fits`, each running `body`.
void on_threads(bool (WaitingCall::*fits)() const, const std::function<void(WaitingCall &)> &body,
                const std::function<void(WaitingCall &)> &meanwhile = nullptr) {
  auto calls = every_waiting_call();
  std::vector<std::thread> threads;
  for (auto &call : calls)
    if ((call.get()->*fits)()) threads.emplace_back([&body, each = call.get()] { body(*each); });
  for (auto &call : calls)
    if (meanwhile && (call.get()->*fits)()) meanwhile(*call);
  for (std::thread &thread : threads) thread.join();
}

bool expect_timeout(WaitingCall &call, Outcome outcome) {
  return expect(outcome == Outcome::timeout, "%s: %s instead of a timeout", call.name(),
                outcome == Outcome::event ? "an event" : strerror(errno));
}

// Many short waits.
int short_waits_of(bool (WaitingCall::*fits)() const, int argc, char **argv) {
  Milliseconds span = span_of(argc, argv);
  on_threads(fits, [span](WaitingCall &call) {
    if (!call.can_time_out()) return;
    repeat(span, [&call] {
      Clock::time_point start = Clock::now();
      bool fine = expect_timeout(call, call.wait(70));
      int took = milliseconds_since(start);
      return fine && expect(took >= 69, "%s: back after %d of 70 ms", call.name(), took);
    });
  });
  return done(argv);
}

int short_waits(int argc, char **argv) { return short_waits_of(&WaitingCall::is_named, argc, argv); }

// The same in a process of which /proc tells nothing: that is not dumpable, and not root's.
template <auto fits> int nobodys_waits(int argc, char **argv) {
  constexpr int kNobody = 65534;
  if (getuid() == 0) expect(setgid(kNobody) == 0 && setuid(kNobody) == 0, "setuid: %s", strerror(errno));
  expect(prctl(PR_SET_DUMPABLE, 0) == 0, "PR_SET_DUMPABLE: %s", strerror(errno));
  return short_waits_of(fits, argc, argv);
}

// One wait of 3 s: shortened remainders must add up, whatever number of safepoints fall into it.
int long_waits(int, char **argv) {
  on_threads(&WaitingCall::can_time_out, [](WaitingCall &call) {
    Clock::time_point start = Clock::now();
    expect_timeout(call, call.wait(3000));
    int took = milliseconds_since(start);
    expect(took >= 2990 && took <= 3300, "%s: back after %d of 3000 ms", call.name(), took);
  });
  return done(argv);
}

// Waits without end, over many safepoints, until the event comes.
int endless_waits(int argc, char **argv) {
  Clock::time_point release_at = Clock::now() + span_of(argc, argv);
  on_threads(
      &WaitingCall::can_be_released,
      [release_at](WaitingCall &call) {
        Outcome outcome = call.wait(-1);
        expect(outcome == Outcome::event, "%s: %s", call.name(), strerror(errno));
        expect(Clock::now() >= release_at, "%s: back before its event", call.name());
      },
      [release_at](WaitingCall &call) {
        std::this_thread::sleep_until(release_at);
        call.release();
      });
  return done(argv);
}

// Waits in epoll_wait, which the kernel never restarts, on many threads, and on main if `and_main`, until `meanwhile`
// has run for a while.
template <typename Meanwhile> int endless_epolls(int argc, char **argv, bool and_main, Meanwhile meanwhile) {
  constexpr int kWaiters = 40;
  int end = eventfd(0, 0), poller = epoll_create1(0);
  epoll_event any{EPOLLIN, {}};
  epoll_ctl(poller, EPOLL_CTL_ADD, end, &any);
  auto wait = [poller] {
    epoll_event event;
    int found = epoll_wait(poller, &event, 1, -1);
    expect(found == 1, "epoll_wait: %d, %s", found, strerror(errno));
  };
  std::vector<std::thread> waiters;
  for (int i = 0; i < kWaiters; ++i) waiters.emplace_back(wait);
  // While main creates threads it blocks signals, and what is blocked is not ignored.
  std::atomic<bool> begun = false;
  std::thread worker([&] { // the last one in the list of threads
    begun.wait(false);
    repeat(span_of(argc, argv), meanwhile);
    eventfd_write(end, 1);
  });
  begun = true;
  begun.notify_one();
  if (and_main) wait();
  for (std::thread &waiter : waiters) waiter.join();
  worker.join();
  return done(argv);
}

// Signals that are ignored interrupt nothing.
int ignored_signals(int argc, char **argv) {
  signal(SIGHUP, SIG_IGN);
  return endless_epolls(argc, argv, true, [] {
    for (int number : {SIGHUP, SIGCHLD, SIGWINCH, SIGURG, SIGCONT}) kill(getpid(), number);
    return usleep(50) == 0;
  });
}

// Nor does the end of another thread's child. Main is the first to go on: for some microseconds only it could be woken.
int children_end(int argc, char **argv) {
  return endless_epolls(argc, argv, false, [random = std::minstd_rand()]() mutable {
    useconds_t life = random() % 1500;
    pid_t child = fork();
    if (child == 0) _exit(usleep(life));
    return expect(waitpid(child, nullptr, 0) == child, "waitpid: %s", strerror(errno));
  });
}

// A thread in vfork cannot be stopped before its child is done, so safepoints are given up: the others' calls must not
// notice that either.
int vfork_and_waits(int argc, char **argv) {
  auto calls = every_waiting_call(); // blocks the signals that some wait for, before there are other threads
  std::thread parent([argc, argv] {
    timespec span{span_of(argc, argv).count() / 1000, 0};
    pid_t child = vfork();
    if (child == 0) {
      nanosleep(&span, nullptr);
      _exit(0);
    }
    waitpid(child, nullptr, 0);
  });
  endless_waits(argc, argv);
  parent.join();
  return 0;
}

constexpr Case kCases[] = {{"short_waits", short_waits},
                           {"nobodys_waits", nobodys_waits<&WaitingCall::is_named>},
                           {"nobodys_unnamed_waits", nobodys_waits<&WaitingCall::is_unnamed>},
                           {"long_waits", long_waits},
                           {"endless_waits", endless_waits},
                           {"ignored_signals", ignored_signals},
                           {"children_end", children_end},
                           {"vfork_and_waits", vfork_and_waits}};

} // namespace

const std::span<const Case> kCalls = kCases;

} // namespace calm
