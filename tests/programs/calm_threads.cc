// Exceptions, cancellation and the ends of threads work as ever.
#include "calm.h"
#include "support.h"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <pthread.h>
#include <semaphore.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace calm {
namespace {

std::atomic<long> destroyed;
struct Counted {
  std::string text = std::string(100, 'x'); // on the heap
  ~Counted() { ++destroyed; }
};

[[gnu::noinline]] int throw_from(int depth) {
  Counted counted;
  if (depth == 0) throw std::runtime_error("deep");
  return throw_from(depth - 1) + static_cast<int>(counted.text.size());
}

int exceptions(int argc, char **argv) {
  constexpr int kDepth = 200;
  std::atomic<long> thrown{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&thrown, span = span_of(argc, argv)] {
      repeat(span, [&thrown] {
        try {
          throw_from(kDepth);
        } catch (const std::runtime_error &error) {
          ++thrown;
          return expect(std::string(error.what()) == "deep", "caught %s", error.what());
        }
        return expect(false, "nothing thrown");
      });
    });
  for (std::thread &thread : threads) thread.join();
  expect(thrown > 0 && destroyed == thrown * (kDepth + 1), "%ld thrown, %ld destroyed", thrown.load(),
         destroyed.load());
  return done(argv);
}

std::atomic<long> cleaned;

void *wait_to_be_cancelled(void *sem) {
  Counted counted;
  pthread_cleanup_push([](void *) { ++cleaned; }, nullptr);
  while (true) {
    free(malloc(100));
    if (sem)
      sem_wait(static_cast<sem_t *>(sem));
    else
      usleep(1000);
  }
  pthread_cleanup_pop(0);
}

int cancel(int argc, char **argv) {
  sem_t sem;
  sem_init(&sem, 0, 0);
  long cancelled = 0;
  repeat(span_of(argc, argv), [&] {
    pthread_t thread;
    pthread_create(&thread, nullptr, wait_to_be_cancelled, cancelled % 2 ? &sem : nullptr);
    usleep(cancelled % 3 * 1000);
    pthread_cancel(thread);
    void *result;
    pthread_join(thread, &result);
    ++cancelled;
    return expect(result == PTHREAD_CANCELED, "joined with %p", result);
  });
  expect(destroyed <= cancelled && destroyed == cleaned, "%ld cancelled, %ld destroyed, %ld cleaned", cancelled,
         destroyed.load(), cleaned.load());
  return done(argv);
}

thread_local Counted per_thread;

[[gnu::noinline]] size_t exit_from(int depth) {
  Counted counted;
  if (depth <= 0) pthread_exit(&cleaned);
  return (depth > 1000 ? 0 : exit_from(depth - 1)) + counted.text.size();
}

// pthread_exit runs handlers, destructors of frames and of thread-local objects, in every thread.
int exit_thread(int argc, char **argv) {
  constexpr int kDepth = 20;
  long exited = 0;
  repeat(span_of(argc, argv), [&exited] {
    pthread_t thread;
    auto body = [](void *) -> void * {
      per_thread.text[0] = 'y';
      pthread_cleanup_push([](void *) { ++cleaned; }, nullptr);
      exit_from(kDepth);
      pthread_cleanup_pop(0);
      return nullptr;
    };
    pthread_create(&thread, nullptr, body, nullptr);
    void *result;
    pthread_join(thread, &result);
    ++exited;
    return expect(result == &cleaned, "joined with %p", result);
  });
  expect(cleaned == exited && destroyed == exited * (kDepth + 2), "%ld exited, %ld cleaned, %ld destroyed", exited,
         cleaned.load(), destroyed.load());
  return done(argv);
}

// main is gone, a worker ends later, and with it the process.
int main_exits(int argc, char **argv) {
  std::thread([argc, argv] {
    repeat(span_of(argc, argv, 1200), [] {
      free(malloc(1000));
      usleep(1000);
      return true;
    });
    done(argv);
  }).detach();
  pthread_exit(nullptr);
}

// longjmp over frames, and out of a signal handler.
int jumps(int argc, char **argv) {
  static sigjmp_buf target;
  static std::atomic<long> jumped;
  signal(SIGUSR1, [](int) { siglongjmp(target, 1); });
  repeat(span_of(argc, argv, 1000), [] {
    if (sigsetjmp(target, 1) == 0) {
      free(malloc(100));
      raise(SIGUSR1);
      return expect(false, "the handler returned");
    }
    ++jumped;
    return true;
  });
  expect(jumped > 0, "no jump");
  return done(argv);
}

// Signals that come all the time, also while the thread is in the allocator.
int signals(int argc, char **argv) {
  static std::atomic<long> got;
  static pthread_t main_thread = pthread_self();
  struct sigaction action {};
  action.sa_handler = [](int) { ++got; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  std::atomic<bool> stop{false};
  std::thread sender([&stop] {
    while (!stop) {
      pthread_kill(main_thread, SIGUSR1);
      usleep(500);
    }
  });
  repeat(span_of(argc, argv), [] {
    free(malloc(1000));
    return true;
  });
  stop = true;
  sender.join();
  expect(got > 0, "no signal");
  return done(argv);
}

constexpr Case kCases[] = {
    {"exceptions", exceptions}, {"cancel", cancel}, {"exit_thread", exit_thread},
    {"main_exits", main_exits}, {"jumps", jumps},   {"signals", signals},
};

} // namespace

const std::span<const Case> kThreads = kCases;

} // namespace calm
