// Storms of hand-overs: the only pointer to a block is on its way from thread to thread, through a lock-free ring, a
// queue, a pipe, a socket, a thread's result. Each block carries a checksum; nothing here ever leaks.
#include "calm.h"
#include "support.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace calm {
namespace {

// A block of any length whose words follow from its seed; the sum of all seeds tells whether one was lost.
struct Parcel {
  uint64_t seed;
  uint64_t count;
  uint64_t words[];
};

uint64_t word_of(uint64_t seed, uint64_t i) { return (seed + i) * 0x9e3779b97f4a7c15u; }

Parcel *pack(uint64_t seed) {
  uint64_t count = seed % 97;
  auto *parcel = static_cast<Parcel *>(malloc(sizeof(Parcel) + count * sizeof(uint64_t)));
  *parcel = {seed, count};
  for (uint64_t i = 0; i < count; ++i) parcel->words[i] = word_of(seed, i);
  return parcel;
}

// Checks and frees; returns the seed.
uint64_t unpack(Parcel *parcel) {
  uint64_t seed = parcel->seed, wrong = parcel->count != seed % 97;
  for (uint64_t i = 0; i < parcel->count; ++i) wrong += parcel->words[i] != word_of(seed, i);
  expect(wrong == 0, "parcel %llu: %llu words", static_cast<unsigned long long>(seed),
         static_cast<unsigned long long>(wrong));
  free(parcel);
  return seed;
}

// Two threads that send and two that receive; put(null) ends one receiver. What was sent has to arrive.
template <typename Put, typename Take> int exchange(int argc, char **argv, Put put, Take take) {
  std::atomic<uint64_t> sent{0}, received{0};
  std::vector<std::thread> senders, receivers;
  for (uint64_t number = 1; number <= 2; ++number) {
    senders.emplace_back([&, number] {
      uint64_t seed = number;
      repeat(span_of(argc, argv), [&] {
        sent += seed;
        put(pack(seed));
        seed += 2;
        return true;
      });
    });
    receivers.emplace_back([&] {
      while (Parcel *parcel = take()) received += unpack(parcel);
    });
  }
  for (std::thread &thread : senders) thread.join();
  for (size_t i = 0; i < receivers.size(); ++i) put(nullptr);
  for (std::thread &thread : receivers) thread.join();
  expect(sent > 0 && sent == received, "sent %llu, received %llu", static_cast<unsigned long long>(sent.load()),
         static_cast<unsigned long long>(received.load()));
  return done(argv);
}

// A bounded ring for many senders and receivers, without locks: each slot's turn says whose it is.
class Ring {
public:
  Ring() {
    for (uint64_t i = 0; i < kSlots; ++i) slots_[i].turn = i;
  }
  void put(Parcel *parcel) {
    uint64_t at = in_++;
    Slot &slot = slots_[at % kSlots];
    while (slot.turn.load(std::memory_order_acquire) != at) sched_yield();
    slot.parcel = parcel;
    slot.turn.store(at + 1, std::memory_order_release);
  }
  Parcel *take() {
    uint64_t at = out_++;
    Slot &slot = slots_[at % kSlots];
    while (slot.turn.load(std::memory_order_acquire) != at + 1) sched_yield();
    Parcel *parcel = slot.parcel;
    slot.parcel = nullptr;
    slot.turn.store(at + kSlots, std::memory_order_release);
    return parcel;
  }

private:
  static constexpr uint64_t kSlots = 64;
  struct Slot {
    std::atomic<uint64_t> turn;
    Parcel *parcel;
  };
  Slot slots_[kSlots];
  std::atomic<uint64_t> in_{0}, out_{0};
};

int through_ring(int argc, char **argv) {
  auto *ring = new Ring; // on the heap, held by nothing but the threads that use it
  int result = exchange(
      argc, argv, [ring](Parcel *parcel) { ring->put(parcel); }, [ring] { return ring->take(); });
  delete ring;
  return result;
}

int through_queue(int argc, char **argv) {
  struct Queue {
    std::mutex mutex;
    std::condition_variable filled, emptied;
    std::deque<Parcel *> parcels;
  };
  auto *queue = new Queue;
  int result = exchange(
      argc, argv,
      [queue](Parcel *parcel) {
        std::unique_lock lock(queue->mutex);
        queue->emptied.wait(lock, [queue] { return queue->parcels.size() < 100; });
        queue->parcels.push_back(parcel);
        queue->filled.notify_one();
      },
      [queue] {
        std::unique_lock lock(queue->mutex);
        queue->filled.wait(lock, [queue] { return !queue->parcels.empty(); });
        Parcel *parcel = queue->parcels.front();
        queue->parcels.pop_front();
        queue->emptied.notify_one();
        return parcel;
      });
  delete queue;
  return result;
}

// While it is in the pipe nothing but the kernel has the pointer.
int through_descriptors(int argc, char **argv, int in, int out) {
  auto whole = [](ssize_t size) { return size == sizeof(Parcel *); };
  return exchange(
      argc, argv, [in, whole](Parcel *parcel) { support::require(whole(write(in, &parcel, sizeof parcel)), "write"); },
      [out, whole] {
        Parcel *parcel;
        support::require(whole(read(out, &parcel, sizeof parcel)), "read");
        return parcel;
      });
}
int through_pipe(int argc, char **argv) {
  int ends[2];
  support::require(pipe(ends) == 0, "pipe");
  return through_descriptors(argc, argv, ends[1], ends[0]);
}
int through_socket(int argc, char **argv) {
  int ends[2];
  support::require(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0, "socketpair");
  return through_descriptors(argc, argv, ends[1], ends[0]);
}

// Only the descriptor of an ended thread has the pointer, until somebody joins it, at leisure.
int through_results(int argc, char **argv) {
  uint64_t seed = 0;
  repeat(span_of(argc, argv), [&seed] {
    pthread_t threads[8];
    for (pthread_t &thread : threads)
      support::require(pthread_create(
                           &thread, nullptr, [](void *of) -> void * { return pack(reinterpret_cast<uintptr_t>(of)); },
                           reinterpret_cast<void *>(++seed)) == 0,
                       "pthread_create");
    usleep(60'000);
    bool fine = true;
    for (uint64_t i = 0; i < 8; ++i) {
      void *parcel;
      pthread_join(threads[i], &parcel);
      fine = expect(unpack(static_cast<Parcel *>(parcel)) == seed - 7 + i, "thread %d", static_cast<int>(i)) && fine;
    }
    return fine;
  });
  return done(argv);
}

// Only the thread that is about to start has the pointer, as its argument.
int through_arguments(int argc, char **argv) {
  static std::atomic<uint64_t> received;
  uint64_t sent = 0, seed = 0;
  repeat(span_of(argc, argv), [&] {
    pthread_t threads[8];
    for (pthread_t &thread : threads) {
      sent += ++seed;
      auto body = [](void *parcel) -> void * {
        received += unpack(static_cast<Parcel *>(parcel));
        return nullptr;
      };
      support::require(pthread_create(&thread, nullptr, body, pack(seed)) == 0, "pthread_create");
    }
    for (pthread_t thread : threads) pthread_join(thread, nullptr);
    return expect(sent == received, "an argument was lost");
  });
  return done(argv);
}

constexpr Case kCases[] = {
    {"through_arguments", through_arguments}, {"through_ring", through_ring},     {"through_queue", through_queue},
    {"through_pipe", through_pipe},           {"through_socket", through_socket}, {"through_results", through_results},
};

} // namespace

const std::span<const Case> kHandOffs = kCases;

} // namespace calm
