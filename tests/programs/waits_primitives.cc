// A thread that waits on an object that nobody else has a pointer to can never be woken: one case per primitive.
#include "waits.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <latch>
#include <linux/futex.h>
#include <mutex>
#include <new>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace waits {

DroppedSem::DroppedSem() {
  static_assert(sizeof room_ >= sizeof(sem_t));
  support::require(sem_init(reinterpret_cast<sem_t *>(room_), 0, 0) == 0, "sem_init");
}
void DroppedSem::wait() {
  while (sem_wait(reinterpret_cast<sem_t *>(room_)) != 0) {
  }
  support::keep_frame();
}
void DroppedSem::wake() { sem_post(reinterpret_cast<sem_t *>(room_)); }

namespace {

struct DroppedCond {
  [[gnu::noinline]] void wait() {
    std::unique_lock lock(mutex);
    while (!done) changed.wait(lock);
  }
  void wake() {
    std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  }
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
};

struct DroppedPthreadCond {
  [[gnu::noinline]] void wait() {
    pthread_mutex_lock(&mutex);
    while (!done) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    support::keep_frame();
  }
  void wake() {
    pthread_mutex_lock(&mutex);
    done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
  }
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
  bool done = false;
};

// Write-locked by the thread that set it up and has ended since.
struct DroppedRwlock {
  DroppedRwlock() { pthread_rwlock_wrlock(&lock); }
  [[gnu::noinline]] void wait() {
    pthread_rwlock_rdlock(&lock);
    pthread_rwlock_unlock(&lock);
    support::keep_frame();
  }
  void wake() { pthread_rwlock_unlock(&lock); }
  pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
};

// Read-locked by a reader that is gone; a writer waits.
struct DroppedRwlockWriter {
  DroppedRwlockWriter() { pthread_rwlock_rdlock(&lock); }
  [[gnu::noinline]] void wait() {
    pthread_rwlock_wrlock(&lock);
    pthread_rwlock_unlock(&lock);
    support::keep_frame();
  }
  void wake() { pthread_rwlock_unlock(&lock); }
  pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
};

struct DroppedBarrier {
  DroppedBarrier() { pthread_barrier_init(&barrier, nullptr, 2); }
  [[gnu::noinline]] void wait() {
    pthread_barrier_wait(&barrier);
    support::keep_frame();
  }
  void wake() { pthread_barrier_wait(&barrier); }
  pthread_barrier_t barrier;
};

struct DroppedLatch {
  [[gnu::noinline]] void wait() {
    latch.wait();
    support::keep_frame();
  }
  void wake() { latch.count_down(); }
  std::latch latch{1};
};

struct DroppedAtomic {
  [[gnu::noinline]] void wait() {
    value.wait(0);
    support::keep_frame();
  }
  void wake() {
    value = 1;
    value.notify_all();
  }
  std::atomic<int> value{0};
};

struct DroppedFutex {
  [[gnu::noinline]] void wait() {
    while (word == 0) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  }
  void wake() {
    word = 1;
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  std::atomic<int> word{0};
};

// Waits on two words at once; only the second is ever woken.
struct DroppedFutexWaitv {
  [[gnu::noinline]] void wait() {
    struct futex_waitv waiters[2] = {};
    for (int i = 0; i < 2; ++i) {
      waiters[i].uaddr = reinterpret_cast<uintptr_t>(&words[i]);
      waiters[i].flags = FUTEX_32 | FUTEX_PRIVATE_FLAG;
    }
    while (words[1] == 0) syscall(SYS_futex_waitv, waiters, 2, 0, nullptr, 0);
  }
  void wake() {
    words[1] = 1;
    syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  std::atomic<int> words[2] = {};
};

// Longer than any process lives: counts as no timeout.
timespec year_9999() { return {253402300799, 0}; }

struct FarTimeoutCond {
  [[gnu::noinline]] void wait() {
    timespec until = year_9999();
    pthread_mutex_lock(&mutex);
    while (!done) pthread_cond_timedwait(&changed, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    support::keep_frame();
  }
  void wake() {
    pthread_mutex_lock(&mutex);
    done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
  }
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
  bool done = false;
};

struct FarTimeoutSem {
  FarTimeoutSem() { sem_init(&sem, 0, 0); }
  [[gnu::noinline]] void wait() {
    timespec until = year_9999();
    while (sem_timedwait(&sem, &until) != 0) {
    }
    support::keep_frame();
  }
  void wake() { sem_post(&sem); }
  sem_t sem;
};

template <typename Primitive> void *wait_and_discard(void *argument) {
  auto *primitive = static_cast<Primitive *>(argument);
  primitive->wait();
  support::discard(primitive);
  return nullptr;
}

template <typename Primitive> void one_waiter(support::Mode mode) {
  auto *primitive = support::make<Primitive>();
  pid_t tid = support::start_blocked(wait_and_discard<Primitive>, primitive);
  if (mode == support::Mode::held) support::kept = primitive;
  if (mode != support::Mode::fixed) return;
  primitive->wake();
  support::await_end(tid);
}

constexpr support::Case kCases[] = {
    {"cond", one_waiter<DroppedCond>},
    {"pthread_cond", one_waiter<DroppedPthreadCond>},
    {"sem", one_waiter<DroppedSem>},
    {"rwlock_read", one_waiter<DroppedRwlock>},
    {"rwlock_write", one_waiter<DroppedRwlockWriter>},
    {"barrier", one_waiter<DroppedBarrier>},
    {"latch", one_waiter<DroppedLatch>},
    {"atomic_wait", one_waiter<DroppedAtomic>},
    {"futex", one_waiter<DroppedFutex>},
    {"futex_waitv", one_waiter<DroppedFutexWaitv>},
    {"far_timeout_cond", one_waiter<FarTimeoutCond>},
    {"far_timeout_sem", one_waiter<FarTimeoutSem>},
};

} // namespace

const std::span<const support::Case> kPrimitives = kCases;

} // namespace waits
