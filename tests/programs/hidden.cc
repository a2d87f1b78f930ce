// Pointers that castaway cannot see, because they are kept xored: what they lead to looks leaked and is not. With
// SIGUSR1 it comes to life: the thread runs again, the block is freed. Each case writes "revived" then.
//
// With `held` the pointer is there for all to see as well; with `fixed` nothing is ever made.
#include "support.h"

#include <cstdlib>
#include <semaphore.h>
#include <unistd.h>
#include <utility>

namespace {

using support::Mode;

constexpr uintptr_t kKey = 0x5a5a5a5a5a5a5a5a;

uintptr_t hidden; // the only pointer, xored

void hide(void *pointer, Mode mode) {
  hidden = reinterpret_cast<uintptr_t>(pointer) ^ kKey;
  if (mode == Mode::held) support::kept = pointer;
}
void *unhide() { return reinterpret_cast<void *>(hidden ^ kKey); }

void revive_with(void (*revive)()) { support::act_at_signal(revive, "revived"); }

// ---- threads

[[gnu::noinline]] void *wait_once(void *semaphore) {
  sem_wait(static_cast<sem_t *>(semaphore));
  support::keep_frame();
  return nullptr;
}
[[gnu::noinline]] void *wait_then_park(void *semaphore) {
  sem_wait(static_cast<sem_t *>(semaphore));
  support::park();
  return nullptr;
}

// As a worker does: the same wait again, after a job that leaves something behind in the frame.
[[gnu::noinline]] void *wait_again(void *semaphore) {
  volatile long jobs = 0;
  while (true) {
    sem_wait(static_cast<sem_t *>(semaphore));
    jobs = jobs + 1;
  }
}

pid_t waiting;

[[gnu::noinline]] void post() { sem_post(static_cast<sem_t *>(unhide())); }

template <support::ThreadBody body, void (*revive)()> void thread(Mode mode) {
  if (mode == Mode::fixed) return revive_with([] {});
  auto *semaphore = static_cast<sem_t *>(support::take(sizeof(sem_t)));
  sem_init(semaphore, 0, 0);
  waiting = support::start_blocked(body, semaphore);
  hide(semaphore, mode);
  revive_with(revive);
}

void post_and_await_end() {
  post();
  support::await_end(waiting);
}
void post_and_await_next() {
  post();
  usleep(1000); // so that the wait that follows is another one
  support::await_blocked(waiting);
}

// ---- blocks

constexpr size_t kSize = 12'345;

template <void (*revive)()> void block(Mode mode) {
  if (mode == Mode::fixed) return revive_with([] {});
  hide(support::take(kSize), mode);
  revive_with(revive);
}

[[gnu::noinline]] void release() { free(unhide()); }
[[gnu::noinline]] void resize() { hide(realloc(unhide(), 10 * kSize), Mode::leak); }
[[gnu::noinline]] void read_it() { support::require(*static_cast<volatile char *>(unhide()) == 0, "its contents"); }

// For all to see; then only in shared memory; then a child has it there as well.
constexpr size_t kSmall = 1000; // of which the allocator gives out at once what has just come back
constexpr size_t kSome = 1 << 20;
constexpr size_t kMuch = size_t{1250} << 20; // none of it is there, but to look through it takes 24 ms
void **shared_word;
[[gnu::noinline]] void reveal() {
  static int step = 0;
  if (++step == 2) *shared_word = support::kept;
  support::kept = step == 1 ? unhide() : nullptr;
  if (step == 3) support::make_child();
}

// In the place of the block, another one to which only shared memory points; and then that one is freed.
[[gnu::noinline]] void replace() {
  if (*shared_word) return free(std::exchange(*shared_word, nullptr));
  void *before = unhide();
  free(before);
  void *now = malloc(kSmall);
  support::require(now == before, "the same place");
  *shared_word = now;
}
template <size_t shared_bytes, void (*revive)()> void block_in_shared(Mode mode) {
  shared_word = support::map_shared(shared_bytes);
  hide(support::take(kSmall), mode);
  revive_with(revive);
}

constexpr support::Case kCases[] = {
    {"thread_ends", thread<wait_once, post_and_await_end>},
    {"thread_goes_on", thread<wait_then_park, post_and_await_next>},
    {"thread_waits_again", thread<wait_again, post_and_await_next>},
    {"block_freed", block<release>},
    {"block_resized", block<resize>},
    {"block_read", block<read_it>},
    {"block_revealed", block_in_shared<kSome, reveal>},
    {"block_replaced", block_in_shared<kSome, replace>},
    {"block_replaced_beside_much", block_in_shared<kMuch, replace>},
};

} // namespace

int main(int argc, char **argv) {
  support::block_signal();
  return support::run(argc, argv, {kCases});
}
