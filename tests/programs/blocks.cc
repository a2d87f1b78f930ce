// Heap blocks that nothing points to: one case per shape, per function of the allocator, per place of the loss. With
// `held` a root reaches them, with `fixed` they are freed.
#include "blocks.h"

int main(int argc, char **argv) {
  return support::run(argc, argv, {blocks::kShapes, blocks::kChains, blocks::kFunctions, blocks::kPlaces});
}
