// Threads that wait for leaked threads are leaked with them: joins, mutexes that a leaked thread owns, pointers that
// only a leaked thread has, a stuck call_once.
#include "waits.h"

#include <atomic>
#include <mutex>

namespace waits {
namespace {

void *wait_sem(void *sem) {
  static_cast<DroppedSem *>(sem)->wait();
  return nullptr;
}

[[gnu::noinline]] void join_thread(pthread_t thread) {
  pthread_join(thread, nullptr);
  support::keep_frame();
}
void *join_other(void *other) {
  join_thread(reinterpret_cast<pthread_t>(other));
  return nullptr;
}

void settle(support::Mode mode, DroppedSem *sem, std::initializer_list<pid_t> tids) {
  for (pid_t tid : tids) support::await_blocked(tid);
  if (mode == support::Mode::held) support::kept = sem;
  if (mode != support::Mode::fixed) return;
  sem->wake();
  for (pid_t tid : tids) support::await_end(tid);
  support::discard(sem);
}

// A joins B joins C, which waits on a dropped semaphore.
void join_chain(support::Mode mode) {
  auto *sem = support::make<DroppedSem>();
  pthread_t c, b;
  pid_t c_tid = support::start_joinable(wait_sem, sem, &c);
  pid_t b_tid = support::start_joinable(join_other, reinterpret_cast<void *>(c), &b);
  pid_t a_tid = support::start(join_other, reinterpret_cast<void *>(b));
  settle(mode, sem, {c_tid, b_tid, a_tid});
}

void join_leaked(support::Mode mode) {
  auto *sem = support::make<DroppedSem>();
  pthread_t joined;
  pid_t tid = support::start_joinable(wait_sem, sem, &joined);
  settle(mode, sem, {tid, support::start(join_other, reinterpret_cast<void *>(joined))});
}

pthread_mutex_t global_mutex = PTHREAD_MUTEX_INITIALIZER;

void *lock_and_wait_sem(void *sem) {
  pthread_mutex_lock(&global_mutex);
  static_cast<DroppedSem *>(sem)->wait();
  pthread_mutex_unlock(&global_mutex);
  return nullptr;
}
[[gnu::noinline]] void want_global_mutex() {
  pthread_mutex_lock(&global_mutex);
  pthread_mutex_unlock(&global_mutex);
  support::keep_frame();
}
void *want_mutex(void *) {
  want_global_mutex();
  return nullptr;
}

// The owner of a global mutex is leaked, and so is who wants that mutex.
void mutex_of_leaked(support::Mode mode) {
  auto *sem = support::make<DroppedSem>();
  pid_t owner = support::start_blocked(lock_and_wait_sem, sem);
  settle(mode, sem, {owner, support::start(want_mutex, nullptr)});
}

struct Pair {
  DroppedSem *own, *others;
};

[[gnu::noinline]] void hold_and_wait(Pair *pair) {
  DroppedSem *volatile others = pair->others;
  pair->own->wait();
  others->wake();
}
void *holder(void *argument) {
  Pair pair = *static_cast<Pair *>(argument);
  hold_and_wait(&pair);
  return nullptr;
}

// The only pointer to what B waits on is on the stack of A, which is leaked.
void only_pointer(support::Mode mode) {
  auto *sem = support::make<DroppedSem>();
  auto *others = support::make<DroppedSem>();
  Pair pair{sem, others};
  pid_t a = support::start_blocked(holder, &pair);
  pid_t b = support::start_blocked(wait_sem, others);
  settle(mode, sem, {a, b});
  if (mode == support::Mode::fixed) support::discard(others);
}

struct Crossed {
  std::atomic<DroppedSem *> theirs[2];
  std::atomic<int> woken;
};

[[gnu::noinline]] void wait_on_other_stack(Crossed *crossed, int self) {
  DroppedSem mine;
  crossed->theirs[self] = &mine;
  while (!crossed->theirs[1 - self]) sched_yield();
  DroppedSem *other = crossed->theirs[1 - self];
  other->wait();
  for (++crossed->woken; crossed->woken < 2;) sched_yield(); // the other may still be at the semaphore of this frame
}
Crossed meeting;
template <int self> void *crossed_thread(void *) {
  wait_on_other_stack(&meeting, self);
  return nullptr;
}

// Each waits on a semaphore that lies on the other's stack.
void crossed_stacks(support::Mode mode) {
  pid_t a = support::start(crossed_thread<0>, nullptr);
  pid_t b = support::start(crossed_thread<1>, nullptr);
  support::await_blocked(a);
  support::await_blocked(b);
  if (mode == support::Mode::held) return;
  DroppedSem *sems[2] = {meeting.theirs[0], meeting.theirs[1]};
  for (auto &sem : meeting.theirs) sem = nullptr;
  if (mode != support::Mode::fixed) return;
  for (DroppedSem *sem : sems) sem->wake();
  support::await_end(a);
  support::await_end(b);
}

struct Once {
  std::once_flag flag;
  DroppedSem sem;
};
[[gnu::noinline]] void initialize_once(Once *once) {
  std::call_once(once->flag, [once] { once->sem.wait(); });
  support::keep_frame();
}
void *call_once(void *once) {
  initialize_once(static_cast<Once *>(once));
  return nullptr;
}

// One thread is stuck within the initialisation, the other waits for it to be done.
void stuck_once(support::Mode mode) {
  auto *once = support::make<Once>();
  pid_t first = support::start_blocked(call_once, once);
  pid_t second = support::start_blocked(call_once, once);
  if (mode == support::Mode::held) support::kept = once;
  if (mode != support::Mode::fixed) return;
  once->sem.wake();
  support::await_end(first);
  support::await_end(second);
  support::discard(once);
}

constexpr support::Case kCases[] = {
    {"join_chain", join_chain},     {"join_leaked", join_leaked},       {"mutex_of_leaked", mutex_of_leaked},
    {"only_pointer", only_pointer}, {"crossed_stacks", crossed_stacks}, {"stuck_once", stuck_once},
};

} // namespace

const std::span<const support::Case> kChains = kCases;

} // namespace waits
