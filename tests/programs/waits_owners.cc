// Mutexes that can never be had: rings of owners that wait for each other, and owners that have exited. All but one
// of the mutexes are globals, so that only the owner tells.
#include "waits.h"

#include <atomic>

namespace waits {
namespace {

constexpr int kMost = 3;
pthread_mutex_t ring[kMost] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
std::atomic<int> holders;
int ring_size;

[[gnu::noinline]] void lock_next(int mine) {
  int next = (mine + 1) % ring_size;
  pthread_mutex_lock(&ring[next]);
  pthread_mutex_unlock(&ring[next]);
  support::keep_frame();
}

// Locks its own mutex, waits until the others have theirs, and wants its neighbour's.
void *lock_own_then_next(void *argument) {
  int mine = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  pthread_mutex_lock(&ring[mine]);
  for (++holders; holders < ring_size;) sched_yield();
  lock_next(mine);
  pthread_mutex_unlock(&ring[mine]);
  return nullptr;
}

// The mended form: no thread holds one while it wants another.
void *lock_one_at_a_time(void *argument) {
  int mine = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  pthread_mutex_lock(&ring[mine]);
  pthread_mutex_unlock(&ring[mine]);
  lock_next(mine);
  return nullptr;
}

template <int size> void deadlock(support::Mode mode) {
  ring_size = size;
  bool fixed = mode == support::Mode::fixed;
  pid_t tids[kMost];
  for (int i = 0; i < size; ++i)
    tids[i] = support::start(fixed ? lock_one_at_a_time : lock_own_then_next,
                             reinterpret_cast<void *>(static_cast<intptr_t>(i)));
  for (int i = 0; i < size; ++i) fixed ? support::await_end(tids[i]) : support::await_blocked(tids[i]);
}

} // namespace

void lock_crosswise(support::Mode mode) { deadlock<2>(mode); }

namespace {

struct Abandoned {
  pthread_mutex_t *mutex;
  bool release;
};

void *lock_and_exit(void *argument) {
  auto *what = static_cast<Abandoned *>(argument);
  pthread_mutex_lock(what->mutex);
  if (what->release) pthread_mutex_unlock(what->mutex);
  return nullptr;
}

[[gnu::noinline]] void want_abandoned(pthread_mutex_t *mutex) {
  pthread_mutex_lock(mutex);
  pthread_mutex_unlock(mutex);
  support::keep_frame();
}
void *want(void *mutex) {
  want_abandoned(static_cast<pthread_mutex_t *>(mutex));
  return nullptr;
}

// One thread locks and exits, two want the mutex.
void abandon(pthread_mutex_t *mutex, support::Mode mode) {
  Abandoned what{mutex, mode == support::Mode::fixed};
  support::await_end(support::start(lock_and_exit, &what));
  for (int i = 0; i < 2; ++i) {
    pid_t tid = support::start(want, mutex);
    what.release ? support::await_end(tid) : support::await_blocked(tid);
  }
}

pthread_mutex_t of_kind(int kind) {
  pthread_mutex_t mutex;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, kind);
  support::require(pthread_mutex_init(&mutex, &attributes) == 0, "pthread_mutex_init");
  return mutex;
}

pthread_mutex_t global_mutex;

template <int kind> void abandoned_global(support::Mode mode) {
  global_mutex = of_kind(kind);
  abandon(&global_mutex, mode);
}

void abandoned_heap(support::Mode mode) {
  auto *mutex = support::make<pthread_mutex_t>();
  *mutex = PTHREAD_MUTEX_INITIALIZER;
  abandon(mutex, mode);
  if (mode == support::Mode::fixed) support::discard(mutex);
}

constexpr support::Case kCases[] = {
    {"self_deadlock", deadlock<1>},
    {"abba", lock_crosswise},
    {"three_cycle", deadlock<3>},
    {"abandoned", abandoned_global<PTHREAD_MUTEX_NORMAL>},
    {"abandoned_recursive", abandoned_global<PTHREAD_MUTEX_RECURSIVE>},
    {"abandoned_errorcheck", abandoned_global<PTHREAD_MUTEX_ERRORCHECK>},
    {"abandoned_heap", abandoned_heap},
};

} // namespace

const std::span<const support::Case> kOwners = kCases;

} // namespace waits
