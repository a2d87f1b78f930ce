// Blocks and threads that are lost beside shared memory, so much of it that it is not read at each safepoint. Little of
// it is there, or next to nothing: what takes most of the time is to look which pages are.
//
// `deadlock` is beside two threads that want each other's mutex; no memory tells whether they will have it.
//
// SIGUSR1 makes them do more, after which they say "done".
//
// `family` forks twice at once: three processes with the same block lost.
//
// With `held` the only pointers are in that memory; with `fixed` nothing is lost.
#include "waits.h"

#include <semaphore.h>

namespace {

using support::Mode;

constexpr size_t kSome = 1 << 20;
constexpr size_t kMuch = size_t{1250} << 20;     // 24 ms: a process may do that twice at once, a family once
constexpr size_t kTooMuch = size_t{8000} << 20;  // 152 ms: not even once
constexpr size_t kInPlaces = size_t{2000} << 20; // 39 ms, and 20 more where a thirty-second of it is there
constexpr size_t kSize = 12'345;

void **shared_words;
size_t used = 1; // the first stays empty

[[gnu::noinline]] void *wait_on(void *semaphore) {
  sem_wait(static_cast<sem_t *>(semaphore));
  support::keep_frame();
  return nullptr;
}

[[gnu::noinline]] void lose_block(Mode mode) {
  if (mode == Mode::fixed) return;
  void *block = support::take(kSize);
  if (mode == Mode::held) shared_words[used++] = block;
}
[[gnu::noinline]] void lose_thread(Mode mode) {
  if (mode == Mode::fixed) return;
  auto *semaphore = static_cast<sem_t *>(support::take(sizeof(sem_t)));
  sem_init(semaphore, 0, 0);
  if (mode == Mode::held) shared_words[used++] = semaphore;
  support::start_blocked(wait_on, semaphore);
}

[[gnu::noinline]] void lose_more() {
  lose_block(Mode::leak);
  lose_thread(Mode::leak);
}

void write_in_places(size_t bytes) {
  constexpr size_t kApart = 2 << 20, kRun = 64 << 10, kPage = 4096;
  for (size_t place = 0; place < bytes; place += kApart)
    for (size_t page = 0; page < kRun; page += kPage)
      shared_words[(place + page + kPage) / sizeof *shared_words - 1] = nullptr;
}

template <size_t shared_bytes> void lose(Mode mode) {
  shared_words = support::map_shared(shared_bytes);
  if (shared_bytes == kInPlaces) write_in_places(shared_bytes);
  lose_block(mode);
  lose_thread(mode);
  if (mode == Mode::leak) support::act_at_signal(lose_more, "done");
}

void deadlock(Mode mode) {
  shared_words = support::map_shared(kTooMuch);
  waits::lock_crosswise(mode);
  lose_thread(mode); // which may be woken from there, for all that is known
}

// With SIGUSR1 it forks.
void lose_and_fork(Mode mode) {
  shared_words = support::map_shared(kSome);
  lose_block(mode);
  support::act_at_signal(support::make_child, "done");
}

void lose_in_family(Mode mode) {
  shared_words = support::map_shared(kMuch);
  lose_block(mode);
  for (int i = 0; i < 2; ++i) support::make_child();
}

constexpr support::Case kCases[] = {
    {"much", lose<kMuch>},  {"too_much", lose<kTooMuch>}, {"in_places", lose<kInPlaces>},
    {"deadlock", deadlock}, {"inherited", lose_and_fork}, {"family", lose_in_family},
};

} // namespace

int main(int argc, char **argv) {
  support::block_signal();
  return support::run(argc, argv, {kCases});
}
