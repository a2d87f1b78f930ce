// Storms on what threads share: vectors that hold the only pointers and are moved by realloc under two threads, signals
// that arrive inside of the allocation hooks, forks in the middle of all of it, libraries that come and go with their
// threads, threads that end in every way. The data are checked all the time; nothing here ever leaks.
#include "calm.h"
#include "plugin.h"
#include "support.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <malloc.h>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace calm {
namespace {

long *new_number(long value) {
  auto *number = static_cast<long *>(malloc(40 + static_cast<size_t>(value) % 64));
  number[0] = value;
  number[4] = ~value;
  return number;
}
bool is_intact(const long *number, long value) {
  return expect(number[0] == value && number[4] == ~value, "number %ld is %ld, %ld", value, number[0], number[4]);
}

// Numbers 0, 1, 2, ... in blocks of their own; the array is all that points to them.
struct Shared {
  std::mutex mutex;
  long **numbers = nullptr;
  size_t count = 0, room = 0;
  long kept = 0, moved = 0; // by realloc

  void resize(size_t wanted) {
    long **before = numbers;
    numbers = static_cast<long **>(realloc(numbers, wanted * sizeof *numbers));
    before == numbers ? ++kept : ++moved;
    room = wanted;
  }
  bool grow(size_t by) {
    if (count + by > room) resize(count + by + room / 3);
    for (size_t i = 0; i < by; ++i, ++count) numbers[count] = new_number(static_cast<long>(count));
    return is_intact(numbers[count / 2], static_cast<long>(count / 2));
  }
  bool shrink(size_t to) {
    bool fine = true;
    while (count > to) {
      --count;
      fine = is_intact(numbers[count], static_cast<long>(count)) && fine;
      free(numbers[count]);
    }
    resize(to + 1);
    return fine;
  }
};

// From a few bytes to mapped memory (from 128 KiB on, which mremap moves) and back; each thread works on both vectors.
int shared_vectors(int argc, char **argv) {
  mallopt(M_MMAP_THRESHOLD, 128 << 10); // fixed: it would grow
  static Shared shared[2];
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([argc, argv, i] {
      unsigned seed = static_cast<unsigned>(i) + 1;
      repeat(span_of(argc, argv), [&seed] {
        Shared &one = shared[rand_r(&seed) % 2];
        std::lock_guard lock(one.mutex);
        return one.count > 60'000 ? one.shrink(static_cast<size_t>(rand_r(&seed)) % 100)
                                  : one.grow(static_cast<size_t>(rand_r(&seed)) % 700);
      });
    });
  for (std::thread &thread : threads) thread.join();
  for (Shared &one : shared) {
    expect(one.kept > 0 && one.moved > 0, "%ld times in place, %ld times moved", one.kept, one.moved);
    one.shrink(0);
    free(one.numbers);
  }
  return done(argv);
}

// Signals from timers that count processor time: they arrive in the midst of the hooks. The handler reads what the
// interrupted code is about to move and does not allocate.
struct Interrupted {
  std::atomic<long *> numbers[32];
  std::atomic<long> handled;
};
Interrupted *volatile interrupted; // all that points to it

void check_interrupted(int) {
  int saved = errno;
  Interrupted *all = interrupted;
  for (int i = 0; i < 32; ++i)
    if (long *number = all->numbers[i]) is_intact(number, number[0]);
  ++all->handled;
  errno = saved;
}

void start_timer(long period_ns) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR2;
  event._sigev_un._tid = gettid();
  timer_t timer;
  support::require(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0, "timer_create");
  itimerspec often{{0, period_ns}, {0, period_ns}};
  timer_settime(timer, 0, &often, nullptr);
}

// SIGUSR2 is blocked where a number is freed that the handler could still read, and nowhere else.
bool replace_numbers(unsigned &seed) {
  size_t slot = static_cast<size_t>(rand_r(&seed)) % 16;
  long *fresh = new_number(rand_r(&seed));
  fresh = static_cast<long *>(realloc(fresh, 40 + static_cast<size_t>(rand_r(&seed)) % 5000));
  free(calloc(3, static_cast<size_t>(rand_r(&seed)) % 300));
  sigset_t one, before;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &one, &before);
  long *old = interrupted->numbers[slot].exchange(fresh);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  bool fine = !old || is_intact(old, old[0]);
  free(old);
  return fine;
}

int signals_in_hooks(int argc, char **argv) {
  interrupted = new Interrupted{};
  struct sigaction action {};
  action.sa_handler = check_interrupted;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &action, nullptr);
  start_timer(200'000);
  unsigned seed = 1;
  repeat(span_of(argc, argv), [&seed] { return replace_numbers(seed); });
  signal(SIGUSR2, SIG_IGN);
  expect(interrupted->handled > 0, "no signal");
  for (auto &number : interrupted->numbers) free(number);
  delete interrupted;
  return done(argv);
}

// Children check all that they were given, allocate, and end with their handlers; one in three is profiled in turn.
int forks_with_data(int argc, char **argv) {
  static Shared shared;
  shared.grow(2000);
  std::atomic<bool> stop{false};
  std::thread other([&stop] {
    while (!stop) {
      std::lock_guard lock(shared.mutex);
      shared.count > 5000 ? shared.shrink(1000) : shared.grow(50);
    }
  });
  long children = 0;
  repeat(span_of(argc, argv), [&children] {
    shared.mutex.lock(); // whole in the child
    pid_t child = fork();
    if (child == 0) {
      bool fine = shared.grow(300) && shared.shrink(10) && shared.grow(500);
      if (children % 3 == 0) usleep(30'000);
      _exit(fine ? 3 : 4);
    }
    shared.mutex.unlock();
    int status = 0;
    bool fine = waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 3;
    ++children;
    return expect(fine, "child %ld: status %x", children, static_cast<unsigned>(status));
  });
  stop = true;
  other.join();
  shared.shrink(0);
  free(shared.numbers);
  return done(argv);
}

// Each thread loads the library, keeps its only pointer in the library's thread-local variable, and closes it again.
int library_threads(int argc, char **argv) {
  repeat(span_of(argc, argv), [] {
    std::vector<std::thread> threads;
    for (long i = 0; i < 4; ++i)
      threads.emplace_back([i] {
        void *handle;
        const plugin::Interface *library = plugin::load(&handle);
        void *volatile *slot = library->thread_local_slot();
        *slot = new_number(i);
        usleep(15'000);
        is_intact(static_cast<long *>(*slot), i);
        free(*slot);
        *slot = nullptr;
        dlclose(handle);
      });
    for (std::thread &thread : threads) thread.join();
    return true;
  });
  return done(argv);
}

// Allocates when its thread ends, after the key's destructor or before it.
struct Last {
  long *number = new_number(5);
  ~Last() {
    std::vector<long *> more;
    for (long i = 0; i < 20; ++i) more.push_back(new_number(i));
    is_intact(number, 5);
    for (long i = 0; i < 20; ++i) is_intact(more[static_cast<size_t>(i)], i), free(more[static_cast<size_t>(i)]);
    free(number);
  }
};
thread_local Last last;

pthread_key_t key;

// Ends its thread one way out of four, with a block in a key's hands.
void *end_somehow(void *argument) {
  auto way = reinterpret_cast<uintptr_t>(argument);
  is_intact(last.number, 5);
  pthread_setspecific(key, new_number(static_cast<long>(way)));
  if (way % 4 == 1) pthread_exit(new_number(9));
  if (way % 4 == 2) pthread_detach(pthread_self());
  if (way % 4 == 3)
    while (true) usleep(1000);
  return nullptr;
}

int thread_ends(int argc, char **argv) {
  support::require(pthread_key_create(&key,
                                      [](void *number) {
                                        is_intact(static_cast<long *>(number), *static_cast<long *>(number));
                                        free(malloc(100)); // allocation in a destructor of a thread
                                        free(number);
                                      }) == 0,
                   "pthread_key_create");
  repeat(span_of(argc, argv), [] {
    pthread_t threads[8];
    for (uintptr_t i = 0; i < 8; ++i)
      support::require(pthread_create(&threads[i], nullptr, end_somehow, reinterpret_cast<void *>(i)) == 0,
                       "pthread_create");
    bool fine = true;
    for (uintptr_t i = 0; i < 8; ++i) {
      void *result = nullptr;
      if (i % 4 == 2) continue;
      if (i % 4 == 3) pthread_cancel(threads[i]);
      pthread_join(threads[i], &result);
      if (i % 4 == 3) fine = expect(result == PTHREAD_CANCELED, "joined with %p", result) && fine;
      if (i % 4 != 1) continue;
      fine = is_intact(static_cast<long *>(result), 9) && fine;
      free(result);
    }
    return fine;
  });
  return done(argv);
}

constexpr Case kCases[] = {
    {"shared_vectors", shared_vectors},   {"signals_in_hooks", signals_in_hooks}, {"forks_with_data", forks_with_data},
    {"library_threads", library_threads}, {"thread_ends", thread_ends},
};

} // namespace

const std::span<const Case> kShared = kCases;

} // namespace calm
