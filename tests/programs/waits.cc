// Threads that wait for ever: one case per kind of wait. With `held` a root reaches what they wait on, with `fixed`
// they are woken and end.
#include "waits.h"

int main(int argc, char **argv) {
  return support::run(argc, argv, {waits::kPrimitives, waits::kOwners, waits::kChains, waits::kShapes});
}
