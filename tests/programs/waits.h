// The case tables of the program `waits`.
#pragma once

#include "support.h"

namespace waits {

extern const std::span<const support::Case> kPrimitives;
extern const std::span<const support::Case> kOwners;
extern const std::span<const support::Case> kChains;
extern const std::span<const support::Case> kShapes;

// Two threads that lock a mutex each, and then want the other one's.
void lock_crosswise(support::Mode mode);

// A semaphore that nobody posts to: what most cases are blocked on.
struct DroppedSem {
  DroppedSem();
  [[gnu::noinline]] void wait();
  void wake();

private:
  alignas(16) char room_[32]; // a sem_t
};

} // namespace waits
