// Leaked threads of unusual shape: a thousand of them, stacks of the program's own, much memory in their hands.
#include "waits.h"

#include <csignal>
#include <cstdlib>
#include <sys/mman.h>

namespace waits {
namespace {

constexpr size_t kSmallStack = 64 << 10;

void *wait_sem(void *sem) {
  static_cast<DroppedSem *>(sem)->wait();
  return nullptr;
}

void settle(support::Mode mode, DroppedSem *sem, pid_t tid) {
  support::await_blocked(tid);
  if (mode == support::Mode::held) support::kept = sem;
  if (mode != support::Mode::fixed) return;
  sem->wake();
  support::await_end(tid);
  support::discard(sem);
}

// A thousand threads, each with its own dropped semaphore; with `held` they share one that a root reaches.
void thousand(support::Mode mode) {
  constexpr int kThreads = 1000;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kSmallStack);
  pid_t tids[kThreads];
  DroppedSem *sems[kThreads];
  for (int i = 0; i < kThreads; ++i) {
    sems[i] = mode == support::Mode::held && i > 0 ? sems[0] : support::make<DroppedSem>();
    tids[i] = support::start(wait_sem, sems[i], &attributes);
  }
  for (pid_t tid : tids) support::await_blocked(tid);
  if (mode == support::Mode::held) support::kept = sems[0];
  if (mode != support::Mode::fixed) return;
  for (int i = 0; i < kThreads; ++i) {
    sems[i]->wake();
    support::await_end(tids[i]);
    support::discard(sems[i]);
  }
}

void on_stack(support::Mode mode, void *stack, size_t size) {
  support::require(stack != MAP_FAILED && stack, "stack");
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  support::require(pthread_attr_setstack(&attributes, stack, size) == 0, "pthread_attr_setstack");
  auto *sem = support::make<DroppedSem>();
  settle(mode, sem, support::start(wait_sem, sem, &attributes));
}

// The stack is a mapping of the program's own.
void own_stack_mmap(support::Mode mode) {
  constexpr size_t kSize = 256 << 10;
  on_stack(mode, mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), kSize);
}

// The stack is a heap block.
void own_stack_malloc(support::Mode mode) {
  void *stack = aligned_alloc(4096, kSmallStack);
  on_stack(mode, stack, kSmallStack);
  if (mode == support::Mode::fixed) free(stack);
}

struct Node {
  Node *next;
  char payload[40];
};

[[gnu::noinline]] Node *make_list(int length) {
  Node *head = nullptr;
  for (int i = 0; i < length; ++i) {
    auto *node = support::make<Node>();
    node->next = head;
    head = node;
  }
  return head;
}

[[gnu::noinline]] void wait_with_list(DroppedSem *sem) {
  Node *volatile list = make_list(100);
  void *volatile large = support::take(1 << 20);
  sem->wait();
  free(large);
  for (Node *node = list; node;) {
    Node *next = node->next;
    free(node);
    node = next;
  }
}

// The leaked thread retains a list of 100 nodes and a block of 1 MiB.
void retained_list(support::Mode mode) {
  auto *sem = support::make<DroppedSem>();
  auto body = [](void *argument) -> void * {
    wait_with_list(static_cast<DroppedSem *>(argument));
    return nullptr;
  };
  settle(mode, sem, support::start(body, sem));
}

void *wait_with_alternate_stack(void *sem) {
  stack_t stack{};
  stack.ss_size = kSmallStack;
  stack.ss_sp = mmap(nullptr, kSmallStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  support::require(stack.ss_sp != MAP_FAILED && sigaltstack(&stack, nullptr) == 0, "sigaltstack");
  wait_sem(sem);
  stack.ss_flags = SS_DISABLE;
  sigaltstack(&stack, nullptr);
  return nullptr;
}

// Signals are handled in memory that counts as a root: what a stop by signal puts there must not.
void alternate_stack(support::Mode mode) {
  auto *sem = support::make<DroppedSem>();
  settle(mode, sem, support::start(wait_with_alternate_stack, sem));
}

constexpr support::Case kCases[] = {
    {"alternate_stack", alternate_stack},   {"thousand", thousand},           {"own_stack_mmap", own_stack_mmap},
    {"own_stack_malloc", own_stack_malloc}, {"retained_list", retained_list},
};

} // namespace

const std::span<const support::Case> kShapes = kCases;

} // namespace waits
