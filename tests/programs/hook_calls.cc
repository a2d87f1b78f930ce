// Calls whose cost in the hooks is counted, instruction by instruction: see tests/e2e/hook_cost_test.cc. Each stands
// between two breakpoints, in the order of that test's table, and comes after others of its kind, as in a loop.
#include <cstdlib>
#include <initializer_list>

namespace {

void *volatile block;

[[gnu::always_inline]] inline void mark() { asm volatile("int3" ::: "memory"); }

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

} // namespace

int main() {
  for (size_t size : {8, 64, 1000, 100'000}) measure(size);
  mark();
  free(nullptr);
  mark();
}
