// Whether the program has run; see idle.h.
#include "runtime/idle.h"

#include "runtime/sys.h"

#include <sys/resource.h>

namespace castaway {

namespace {

uint64_t faults_of(int who) {
  rusage usage{};
  sys::call(SYS_getrusage, who, &usage);
  return static_cast<uint64_t>(usage.ru_minflt) + static_cast<uint64_t>(usage.ru_majflt);
}

// Of all threads, also those that have ended, but for the one that asks.
uint64_t faults_of_program() { return faults_of(RUSAGE_SELF) - faults_of(RUSAGE_THREAD); }

} // namespace

void IdleWatch::begin() { faults_ = faults_of_program(); }

void IdleWatch::conclude(bool holds) {
  holds_ = holds;
  spared_ = 0;
}

bool IdleWatch::spare() {
  if (!holds_ || spared_ == kMostInARow || faults_of_program() != faults_) return false;
  ++spared_;
  return true;
}

} // namespace castaway
