// Storms: pointers that are never at rest, threads and libraries that come and go. Nothing here ever leaks, so nothing
// may ever be reported, and the data stay intact.
#include "calm.h"
#include "plugin.h"
#include "support.h"

#include <atomic>
#include <cstdlib>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <thread>
#include <utility>
#include <vector>

namespace calm {
namespace {

// Runs `body(thread number)` again and again on `count` threads.
void on_threads(int count, Milliseconds span, const std::function<bool(int)> &body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&body, span, i] { repeat(span, [&body, i] { return body(i); }); });
  for (std::thread &thread : threads) thread.join();
}

long *new_number(long value) {
  auto *number = static_cast<long *>(malloc(48));
  number[0] = value;
  number[5] = ~value;
  return number;
}
bool is_intact(const long *number, long value) {
  return expect(number[0] == value && number[5] == ~value, "number %ld is %ld, %ld", value, number[0], number[5]);
}

// Arrays that hold the only pointers are moved by realloc all the time, from small to mapped sizes.
int realloc_storm(int argc, char **argv) {
  on_threads(3, span_of(argc, argv), [](int) {
    long **array = nullptr;
    size_t filled = 0;
    bool fine = true;
    for (size_t room = 1; room < 60'000 && fine; room += room / 2 + 1) {
      array = static_cast<long **>(realloc(array, room * sizeof *array));
      for (; filled < room && filled < 3000; ++filled) array[filled] = new_number(static_cast<long>(filled));
    }
    for (size_t i = 0; i < filled; ++i) {
      fine = fine && is_intact(array[i], static_cast<long>(i));
      free(array[i]);
    }
    free(array);
    return fine;
  });
  return done(argv);
}

// The only pointer to a block wanders between threads through slots, each time in one hand only.
int hand_off(int argc, char **argv) {
  constexpr int kSlots = 4;
  static std::atomic<long *> slots[kSlots];
  for (int i = 0; i < kSlots; ++i) slots[i] = new_number(i);
  on_threads(4, span_of(argc, argv), [](int thread) {
    long *mine = slots[thread % kSlots].exchange(nullptr);
    if (!mine) {
      sched_yield();
      return true;
    }
    bool fine = is_intact(mine, mine[0]);
    long *fresh = new_number(mine[0] + 1);
    free(mine);
    for (int at = thread + 1;; ++at) {
      long *expected = nullptr;
      if (slots[at % kSlots].compare_exchange_strong(expected, fresh)) return fine;
    }
  });
  for (auto &slot : slots) free(slot);
  return done(argv);
}

// Chains that are taken apart and put together, the rest of them held by a register at times.
int list_storm(int argc, char **argv) {
  struct Node {
    Node *next;
    long ballast[3];
  };
  on_threads(3, span_of(argc, argv), [](int) {
    Node *head = nullptr, *reversed = nullptr;
    for (int i = 0; i < 1000; ++i) head = new Node{head, {i, i, i}};
    while (head) {
      Node *next = head->next;
      head->next = reversed;
      reversed = head;
      head = next;
    }
    long expected = 0;
    bool fine = true;
    while (reversed) {
      fine = fine && expect(reversed->ballast[1] == expected, "node %ld", expected);
      ++expected;
      delete std::exchange(reversed, reversed->next);
    }
    return fine;
  });
  return done(argv);
}

int thread_storm(int argc, char **argv) {
  on_threads(2, span_of(argc, argv), [](int) {
    pthread_t joined, detached;
    auto body = [](void *number) -> void * {
      static thread_local long *mine = new_number(7);
      is_intact(mine, 7);
      free(mine);
      return number;
    };
    long *number = new_number(1);
    if (pthread_create(&joined, nullptr, body, number) != 0) return expect(false, "pthread_create");
    void *result;
    pthread_join(joined, &result);
    bool fine = is_intact(static_cast<long *>(result), 1);
    free(number);
    if (pthread_create(&detached, nullptr, body, nullptr) == 0) pthread_detach(detached);
    return fine;
  });
  return done(argv);
}

int library_storm(int argc, char **argv) {
  on_threads(2, span_of(argc, argv), [](int) {
    void *handle;
    const plugin::Interface *library = plugin::load(&handle);
    *library->thread_local_slot() = new_number(4);
    sched_yield();
    free(*library->thread_local_slot());
    return dlclose(handle) == 0;
  });
  return done(argv);
}

constexpr Case kCases[] = {
    {"realloc_storm", realloc_storm}, {"hand_off", hand_off},           {"list_storm", list_storm},
    {"thread_storm", thread_storm},   {"library_storm", library_storm},
};

} // namespace

const std::span<const Case> kStorms = kCases;

} // namespace calm
