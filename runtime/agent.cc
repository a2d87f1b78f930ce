// The agent; see agent.h. Above: how it runs; agent_files.cc: what it opens; agent_results.cc: what it says.
#include "runtime/agent.h"

#include "runtime/agent_state.h"
#include "runtime/memory.h"
#include "runtime/snapshot.h"
#include "runtime/tracking.h"

#include <algorithm>
#include <csignal>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

namespace castaway {

constinit AgentState the_agent;

namespace {

constexpr size_t kStackSize = 256 << 10;
// Initial-exec thread-local storage lies below the thread pointer; nobody uses it here, but a stray access hits memory.
constexpr size_t kThreadArea = 128 << 10;

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kSettle = 50 * kMillisecond;  // before files are opened: short-lived processes leave nothing behind
constexpr uint64_t kPoll = 20 * kMillisecond;    // while a stop is under way, or a tracer ends
constexpr uint64_t kAttend = 500 * kMillisecond; // while a snapshot works: the tracer's end is noticed at once
constexpr uint64_t kLongestWait =
    500 * kMillisecond; // without futex_waitv: how late a request from outside may be seen
constexpr uint64_t kRetryAfter = 50 * kMillisecond;
constexpr int kTries = 5;
constexpr uint64_t kStopLimit = 60'000 * kMillisecond;  // the same for a stop: copying page tables takes 18 s per TiB
constexpr uint64_t kScanLimit = 600'000 * kMillisecond; // a snapshot process that takes longer is ended

void ring(std::atomic<uint32_t> &bell) {
  bell.fetch_add(1, std::memory_order_release);
  sys::futex_wake(&bell);
}

// The tracer that waits for its snapshot; 0 where there is none.
uint32_t waiting_tracer() {
  if (!the_agent.under_way || the_agent.safepoint.phase.load(std::memory_order_acquire) == Phase::stopping) return 0;
  return static_cast<uint32_t>(the_agent.safepoint.tracer_tid.load(std::memory_order_acquire));
}

// Sleeps until the bell rings, somebody asks from outside, that tracer ends, or the time is over.
void wait_for_work(uint32_t seen, uint32_t requested, uint64_t nanoseconds) {
  struct Waiter { // struct futex_waitv
    uint64_t value, address;
    uint32_t flags, reserved;
  };
  constexpr long kFutexWaitv = 449;
  constexpr uint32_t kSize32 = 2, kPrivate = 128;
  const void *word = the_agent.status.request_word();
  Waiter waiters[3] = {{seen, reinterpret_cast<uintptr_t>(&the_agent.bell), kSize32 | kPrivate, 0}};
  size_t count = 1;
  if (word) waiters[count++] = {requested, reinterpret_cast<uintptr_t>(word), kSize32, 0};
  // The kernel clears it.
  if (uint32_t tracer = waiting_tracer())
    waiters[count++] = {tracer, reinterpret_cast<uintptr_t>(&the_agent.safepoint.tracer_tid), kSize32, 0};
  timespec until = sys::to_timespec(sys::now_ns() + nanoseconds);
  long result = sys::call(kFutexWaitv, waiters, count, 0, &until, CLOCK_MONOTONIC);
  if (result == -ENOSYS || result == -EFAULT || result == -EINVAL)
    sys::futex_wait(&the_agent.bell, seen, std::min(nanoseconds, the_agent.under_way ? kPoll : kLongestWait));
}

bool ending() { return the_agent.end.load(std::memory_order_acquire); }

// Starts the safepoint that is due, if one is.
void begin_safepoint(uint64_t now) {
  bool at_exit = the_agent.exit_wanted.load(std::memory_order_acquire);
  uint32_t wanted = the_agent.wanted.load(std::memory_order_acquire);
  uint32_t requested = the_agent.status.requested();
  bool demanded = wanted != the_agent.served.load(std::memory_order_relaxed) || requested != the_agent.served_requests;
  bool due = the_agent.next_ns != 0 && now >= the_agent.next_ns;
  if ((!demanded && !due) || now < the_agent.not_before_ns) return;
  the_agent.serving = wanted;
  the_agent.serving_requests = requested;
  Trigger trigger = !demanded ? Trigger::periodic : at_exit ? Trigger::exit : Trigger::demand;
  if (due) the_agent.next_ns = now + the_agent.config->interval_ns;
  Proc self(the_agent.files.proc, sys::process_id());
  if (!demanded && the_agent.tries == 0 && the_agent.idle.spare(self)) return;
  ++the_agent.tries;
  if (!prepare_safepoint(the_agent, trigger)) return;
  the_agent.under_way = start_safepoint(the_agent.safepoint);
  the_agent.began_ns = now;
  if (the_agent.under_way) return;
  the_agent.tries = 0;
  conclude_safepoint(the_agent);
}

StopWay preferred_way() { return the_agent.config->stop == StopMethod::signal ? StopWay::signal : StopWay::ptrace; }

// Where ptrace is denied, a signal may do. Each safepoint asks anew: a debugger may have gone.
bool try_signal(uint64_t now) {
  if (the_agent.safepoint.failure != StopFailure::denied || the_agent.way != StopWay::ptrace ||
      the_agent.config->stop != StopMethod::automatic)
    return false;
  the_agent.way = StopWay::signal;
  the_agent.not_before_ns = 0;
  if (the_agent.safepoint.trigger == Trigger::periodic) the_agent.next_ns = now;
  return true;
}

// A stop that came too late is tried again soon, unless it has been often enough; so is one that now knows what a fork
// does not copy.
bool try_again(uint64_t now) {
  StopFailure failure = the_agent.safepoint.failure;
  bool worth = failure == StopFailure::late || failure == StopFailure::transition ||
               (failure == StopFailure::none && the_agent.safepoint.snapshot_status == kSnapshotUncopied << 8);
  if (!worth || the_agent.tries >= kTries) return false;
  the_agent.not_before_ns = now + kRetryAfter * static_cast<uint64_t>(the_agent.tries);
  if (the_agent.safepoint.trigger == Trigger::periodic) the_agent.next_ns = the_agent.not_before_ns;
  return true;
}

void attend_safepoint(uint64_t now) {
  if (!safepoint_done(the_agent.safepoint)) {
    // The stop itself is bounded, but for the kernel: the tracer's end lets all threads go on.
    bool stopping = the_agent.safepoint.phase.load(std::memory_order_acquire) == Phase::stopping;
    if (stopping && now - the_agent.began_ns > kStopLimit) abandon_safepoint(the_agent.safepoint);
    if (now - the_agent.began_ns > kScanLimit) abandon_safepoint(the_agent.safepoint);
    return;
  }
  the_agent.under_way = false;
  if (try_signal(now) || try_again(now)) return;
  the_agent.tries = 0;
  the_agent.way = preferred_way();
  conclude_safepoint(the_agent);
}

bool is_demanded(uint32_t requested) {
  return the_agent.wanted.load(std::memory_order_acquire) != the_agent.served.load(std::memory_order_relaxed) ||
         requested != the_agent.served_requests;
}

uint64_t time_to_wait(uint64_t now, uint32_t requested) {
  if (the_agent.under_way) return waiting_tracer() ? kAttend : kPoll;
  if (is_demanded(requested) && the_agent.not_before_ns <= now) return 0; // asked for while the last one ended
  uint64_t until = the_agent.next_ns ? the_agent.next_ns : now + 3600'000 * kMillisecond;
  if (the_agent.not_before_ns > now) until = the_agent.not_before_ns; // nothing begins before
  return until > now ? until - now : 0;
}

// Where the agent has to go while the process stays: the tracer shares the memory and would count as a thread. A stop
// is brought to its end, a copy that is being scanned is not.
void end_safepoint() {
  while (the_agent.under_way && !safepoint_done(the_agent.safepoint)) {
    if (the_agent.safepoint.phase.load(std::memory_order_acquire) != Phase::stopping)
      abandon_safepoint(the_agent.safepoint);
    sys::sleep_ns(kMillisecond);
  }
  the_agent.under_way = false;
}

void run() {
  while (!ending()) {
    // Both read before the look at what there is to do: what comes after it ends the wait below at once.
    uint32_t seen = the_agent.bell.load(std::memory_order_acquire);
    uint32_t requested = the_agent.status.requested();
    if (the_agent.credentials_changed.exchange(false)) {
      adopt_credentials(the_agent);
      the_agent.credentials_followed.fetch_add(1);
      sys::futex_wake(&the_agent.credentials_followed);
    }
    uint64_t now = sys::now_ns();
    if (the_agent.under_way)
      attend_safepoint(now);
    else
      begin_safepoint(now);
    uint64_t wait = time_to_wait(sys::now_ns(), requested);
    if (!ending() && wait > 0) wait_for_work(seen, requested, wait);
  }
  if (the_agent.finish.load(std::memory_order_acquire)) return leave_files(the_agent);
  end_safepoint();
  the_agent.status.close();
}

void set_ready() {
  the_agent.ready.store(1, std::memory_order_release);
  sys::futex_wake(&the_agent.ready);
}

int agent_main(void *) {
  sys::call(SYS_prctl, PR_SET_NAME, "castaway", 0, 0, 0);
  arch::lift_protection_keys(); // for tracer and snapshot too, which read all of the program's memory
  sys::call(SYS_chdir, "/");    // all our paths are absolute, and nobody's mount is busy because of us
  uint32_t seen = the_agent.bell.load(std::memory_order_acquire);
  if (!the_agent.hurry.load(std::memory_order_acquire) && !ending()) sys::futex_wait(&the_agent.bell, seen, kSettle);
  bool can_run = !(ending() && !the_agent.hurry.load(std::memory_order_acquire)) && open_files(the_agent);
  set_ready();
  if (can_run) run();
  // Whoever waits for a safepoint need not wait longer.
  the_agent.served.store(the_agent.wanted.load());
  sys::futex_wake(&the_agent.served);
  return 0;
}

void *thread_pointer() {
  static char *area = static_cast<char *>(own_memory(kThreadArea));
  if (!area) return nullptr;
  auto *self = reinterpret_cast<void **>(area + kThreadArea / 2);
  self[0] = self; // the TCB's pointers to itself, psABI for TLS
  self[2] = self;
  return self;
}

long create_agent_task() {
  static void *stack = own_memory(kStackSize);
  void *pointer = thread_pointer();
  if (!stack || !pointer) return -ENOMEM;
  uint64_t all = ~uint64_t{0}, before;
  sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &all, &before, sizeof all);
  // No CLONE_FS: setns(2) into a mount namespace fails where anybody shares the root directory, and after a chroot(2)
  // we still find our files.
  unsigned long flags = CLONE_VM | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
                        CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  long tid = arch::start_task(flags, static_cast<char *>(stack) + kStackSize, agent_main, nullptr,
                              reinterpret_cast<int *>(&the_agent.tid), pointer);
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  return tid;
}

// Until the first periodic safepoint. Workers that a server forks at once would stop, be scanned and reported at once,
// each time: up to a quarter of the interval less spreads them.
uint64_t first_wait_ns(uint64_t interval_ns) {
  constexpr uint64_t kGolden = 0x9e3779b1; // neighbouring pids far from each other
  uint64_t spread = (static_cast<uint64_t>(sys::process_id()) * kGolden) & 0xffff;
  return interval_ns - (the_agent.forked ? (interval_ns / 4 >> 16) * spread : 0);
}

} // namespace

bool start_agent(const Config &config) {
  the_agent.config = &config;
  the_agent.idle = {};
  the_agent.way = preferred_way();
  the_agent.end.store(false);
  the_agent.ready.store(0);
  the_agent.hurry.store(false);
  if (the_agent.next_ns == 0 && config.interval_ns != 0)
    the_agent.next_ns = sys::now_ns() + first_wait_ns(config.interval_ns);
  return create_agent_task() > 0;
}

void end_agent() {
  the_agent.end.store(true, std::memory_order_release);
  ring(the_agent.bell);
  constexpr int kLooks = 10'000;
  int last = 0;
  while (int tid = the_agent.tid.load(std::memory_order_acquire)) {
    last = tid;
    sys::futex_wait(&the_agent.tid, static_cast<uint32_t>(tid), 100 * kMillisecond, true);
  }
  // The kernel clears the word when the thread leaves the memory, which is some time before it counts as gone. It stays
  // longer where a debugger has to see its end.
  for (int i = 0; i < kLooks && last && sys::call(SYS_tgkill, sys::process_id(), last, 0) == 0; ++i)
    sys::sleep_ns(kMillisecond / 10);
  // Takes the kernel's lock under which the thread is removed from all lists, the first of which we have looked at.
  sys::call(SYS_getpriority, PRIO_PGRP, 0);
}

void await_agent_ready() {
  if (the_agent.tid.load(std::memory_order_acquire) == 0) return;
  the_agent.hurry.store(true, std::memory_order_release);
  ring(the_agent.bell);
  for (int i = 0; i < 10 && the_agent.ready.load(std::memory_order_acquire) == 0; ++i)
    sys::futex_wait(&the_agent.ready, 0, 100 * kMillisecond);
}

void follow_credentials() {
  if (the_agent.tid.load(std::memory_order_acquire) == 0) return;
  uint32_t before = the_agent.credentials_followed.load();
  the_agent.credentials_changed.store(true);
  ring(the_agent.bell);
  for (int i = 0; i < 20 && the_agent.credentials_followed.load() == before && the_agent.tid.load() != 0; ++i)
    sys::futex_wait(&the_agent.credentials_followed, before, 50 * kMillisecond);
}

bool make_safepoint_now(bool exit) {
  constexpr uint64_t kLimit = 120'000 * kMillisecond;
  await_agent_ready();
  if (the_agent.tid.load(std::memory_order_acquire) == 0) return false;
  if (exit) the_agent.exit_wanted.store(true);
  uint32_t mine = the_agent.wanted.fetch_add(1) + 1;
  ring(the_agent.bell);
  uint64_t deadline = sys::now_ns() + kLimit;
  for (;;) {
    uint32_t served = the_agent.served.load(std::memory_order_acquire);
    if (static_cast<int32_t>(served - mine) >= 0) return true;
    if (sys::now_ns() > deadline || the_agent.tid.load() == 0) return false;
    sys::futex_wait(&the_agent.served, served, 100 * kMillisecond);
  }
}

void finish_agent() {
  if (the_agent.tid.load(std::memory_order_acquire) == 0) return;
  the_agent.finish.store(true, std::memory_order_release);
  the_agent.end.store(true, std::memory_order_release);
  ring(the_agent.bell);
  constexpr int kPatience = 20; // of 50 ms: the process ends anyway
  for (int i = 0; i < kPatience; ++i) {
    int tid = the_agent.tid.load(std::memory_order_acquire);
    if (tid == 0) break;
    sys::futex_wait(&the_agent.tid, static_cast<uint32_t>(tid), 50 * kMillisecond, true);
  }
  say_farewell(the_agent);
}

void forget_agent() {
  the_agent.forked = true;
  the_agent.tid.store(0);
  the_agent.under_way = false;
  the_agent.next_ns = 0;
  the_agent.not_before_ns = 0;
  the_agent.tries = 0;
  the_agent.number = 0;
  the_agent.exit_wanted.store(false);
  the_agent.finish.store(false);
  the_agent.served.store(the_agent.wanted.load());
  the_agent.served_requests = 0;
  the_agent.files = {};
  the_agent.made_output = false;
  the_agent.wrote_profile = false;
  the_agent.said_first_leak = false;
  the_agent.last = {};
  the_agent.said_trouble_count = 0;
  the_agent.status.forget();
}

} // namespace castaway
