// A block that only one root of a certain kind reaches is no leak. With `held` the root has the pointer; with `leak`
// the same place is there without it, and the two blocks of the secret are found.
#include "roots.h"

#include <cstdlib>

namespace roots {

void *volatile handed;

[[gnu::noinline]] static void *make_secret() {
  auto *memory = static_cast<void **>(support::take(kSecretSize));
  memory[3] = support::take(321);
  return memory;
}

void *secret(support::Mode mode) {
  void *memory = make_secret();
  return mode == support::Mode::held ? memory : nullptr;
}

void wait_until_taken() {
  while (handed) sched_yield();
}

void park_with(support::ThreadBody body, void *pointer) {
  handed = pointer;
  support::start_blocked(body, nullptr);
  wait_until_taken();
}

} // namespace roots

int main(int argc, char **argv) {
  return support::run(argc, argv,
                      {roots::kMemory, roots::kThreads, roots::kRegisters, roots::kMappings, roots::kKernel,
                       roots::kPointers, roots::kStacks});
}
