// Roots on stacks that no thread runs on at the moment: coroutines that have switched out.
#include "roots.h"

#include <cstdlib>
#include <sys/mman.h>
#include <ucontext.h>

namespace roots {
namespace {

using support::Mode;

constexpr size_t kStackSize = 64 << 10;
ucontext_t outside, coroutine;

// Takes the pointer, switches out, never comes back.
[[gnu::noinline]] void run_coroutine() {
  void *volatile local = handed;
  handed = nullptr;
  swapcontext(&coroutine, &outside);
  support::kept = local;
}

void switch_out(void *stack, Mode mode) {
  support::require(stack && stack != MAP_FAILED && getcontext(&coroutine) == 0, "coroutine");
  coroutine.uc_stack.ss_sp = stack;
  coroutine.uc_stack.ss_size = kStackSize;
  makecontext(&coroutine, run_coroutine, 0);
  handed = secret(mode);
  swapcontext(&outside, &coroutine);
}

void on_mapped_stack(Mode mode) {
  switch_out(mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), mode);
}

void on_heap_stack(Mode mode) {
  void *stack = calloc(1, kStackSize);
  support::kept = stack;
  switch_out(stack, mode);
}

constexpr support::Case kCases[] = {{"ucontext_mmap", on_mapped_stack}, {"ucontext_heap", on_heap_stack}};

} // namespace

const std::span<const support::Case> kStacks = kCases;

} // namespace roots
