// Calls whose cost in the hooks is counted, instruction by instruction: see tests/e2e/hook_cost_test.cc. Each stands
// between two breakpoints, in the order of that test's table, and malloc and free come after others of their kind. With
// any argument: the same call from one place after the other.
#include <cstdlib>
#include <initializer_list>
#include <malloc.h>

namespace {

void *volatile block;

[[gnu::always_inline]] inline void mark() { asm volatile("int3" ::: "memory"); }

volatile size_t usable;

void measure(size_t size) {
  for (int i = 0; i < 100; ++i) {
    block = malloc(size);
    free(block);
  }
  mark();
  block = malloc(size);
  mark();
  mark();
  free(block);
  mark();
}

// The first for a block, which makes it longer, and the next.
void measure_usable(size_t size) {
  block = malloc(size);
  for (int i = 0; i < 2; ++i) {
    mark();
    usable = malloc_usable_size(block);
    mark();
  }
  free(block);
}

template <int place> [[gnu::noinline]] void *allocate_at() {
  void *from_here = malloc(64);
  asm volatile("" : : "i"(place), "r"(from_here) : "memory"); // a function for each place
  return from_here;
}
template <int depth> [[gnu::noinline]] void *allocate_below() {
  if constexpr (depth == 0) {
    block = allocate_at<0>();
  } else {
    block = allocate_below<depth - 1>();
  }
  return block; // no tail call
}

[[gnu::noinline]] void mark_if(bool marks) { // of a function's own: the call between two has one return address
  if (marks) mark();
}

// The same place, another one at the same height of the stack, another height, and the first again.
void measure_places() {
  void *(*volatile places[])() = {allocate_at<0>, allocate_at<1>, allocate_below<2>, allocate_at<0>};
  constexpr int kRounds = 10;
  for (int i = 1; i <= kRounds; ++i)
    for (auto &allocate : places) {
      mark_if(i == kRounds);
      block = allocate();
      mark_if(i == kRounds);
      free(block);
    }
}

} // namespace

int main(int argc, char **) {
  if (argc > 1) return measure_places(), 0;
  for (size_t size : {8, 64, 1000, 100'000}) measure(size);
  mark();
  free(nullptr);
  mark();
  for (size_t size : {64, 100'000}) measure_usable(size);
}
