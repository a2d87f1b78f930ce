// The markers of a snapshot: threads of the snapshot process that mark together, where the heap is large enough.
//
// Context: SNAPSHOT.
#pragma once

#include "scanner/crew.h"

#include <cstdint>

namespace castaway {

class MarkerCrew final : public Crew {
public:
  // `wanted`: so many; 0: one for each 256 MiB of heap, and no more than half of the processors that this process may
  // use, so that the target has the others.
  explicit MarkerCrew(uint64_t wanted) : wanted_(wanted) {}

  size_t size_for(uint64_t heap_bytes) const override;
  void run(size_t count, void (*work)(void *context, size_t number), void *context) override;
  void rest() override;

private:
  uint64_t wanted_;
};

} // namespace castaway
