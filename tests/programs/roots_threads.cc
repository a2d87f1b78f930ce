// Roots that belong to a live thread: its stack, its thread-local variables, its keys.
#include "plugin.h"
#include "roots.h"

#include <csignal>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

namespace roots {
namespace {

using support::Mode;

void *take_handed() {
  void *pointer = handed;
  handed = nullptr;
  return pointer;
}

[[gnu::noinline]] void *with_local(void *) {
  void *volatile local = take_handed();
  support::park();
  return local;
}
void on_stack(Mode mode) { park_with(with_local, secret(mode)); }

thread_local void *volatile static_slot;
void in_thread_local(Mode mode) {
  auto body = [](void *) -> void * {
    static_slot = take_handed();
    support::park();
    return nullptr;
  };
  park_with(body, secret(mode));
}

void in_plugin_thread_local(Mode mode) {
  static const plugin::Interface *library = plugin::load();
  auto body = [](void *) -> void * {
    *library->thread_local_slot() = take_handed();
    support::park();
    return nullptr;
  };
  park_with(body, secret(mode));
}

pthread_key_t key;
// The first 32 keys live in the thread descriptor, later ones in a block of their own.
template <int keys_before> void in_key(Mode mode) {
  for (int i = 0; i <= keys_before; ++i) support::require(pthread_key_create(&key, nullptr) == 0, "pthread_key_create");
  auto body = [](void *) -> void * {
    pthread_setspecific(key, take_handed());
    support::park();
    return nullptr;
  };
  park_with(body, secret(mode));
}

[[gnu::noinline]] void use_alternate_stack(void *memory, size_t size) {
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = size;
  support::require(sigaltstack(&stack, nullptr) == 0, "sigaltstack");
}

// Only the kernel has the address of the alternate stack.
void alternate_stack(Mode mode) {
  auto body = [](void *) -> void * {
    if (void *memory = take_handed()) use_alternate_stack(memory, 64 << 10);
    support::park();
    return nullptr;
  };
  void *memory = support::take(64 << 10);
  park_with(body, mode == Mode::held ? memory : nullptr);
}

// The thread is in a signal handler on another stack; the pointer is on the one it left.
[[gnu::noinline]] void *parked_in_handler(void *) {
  void *volatile local = take_handed();
  use_alternate_stack(mmap(nullptr, 64 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 64 << 10);
  struct sigaction action {};
  action.sa_handler = [](int) { support::park(); };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR2, &action, nullptr);
  pthread_kill(pthread_self(), SIGUSR2);
  return local;
}
void under_handler(Mode mode) { park_with(parked_in_handler, secret(mode)); }

// The thread has ended, and only pthread_join could get at what it returned. It was given something else.
void *return_handed(void *) { return take_handed(); }
void end_thread(pthread_t *thread) {
  pid_t tid = support::start_joinable(return_handed, nullptr, thread);
  wait_until_taken();
  support::await_end(tid);
}
void unjoined(Mode mode) {
  static pthread_t thread;
  handed = secret(mode);
  end_thread(&thread);
}
// The same pointer is left behind in the descriptor of a thread that has been joined, or that nobody can join: those
// return it in any case, and another place holds it or does not.
template <bool detached> void joined(Mode mode) {
  pthread_t thread;
  void *pointer = secret(Mode::held);
  handed = pointer;
  end_thread(&thread);
  if (detached)
    pthread_detach(thread);
  else
    pthread_join(thread, nullptr);
  support::kept = mode == Mode::held ? pointer : nullptr;
}

constexpr support::Case kCases[] = {
    {"thread_stack", on_stack},
    {"thread_local", in_thread_local},
    {"plugin_thread_local", in_plugin_thread_local},
    {"early_key", in_key<0>},
    {"late_key", in_key<40>},
    {"alternate_stack", alternate_stack},
    {"under_handler", under_handler},
    {"unjoined", unjoined},
    {"joined", joined<false>},
    {"detached", joined<true>},
};

} // namespace

const std::span<const support::Case> kThreads = kCases;

} // namespace roots
