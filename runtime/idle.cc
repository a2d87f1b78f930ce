// Whether the program has run; see idle.h.
#include "runtime/idle.h"

#include "runtime/stop.h"

namespace castaway {

void IdleWatch::conclude(bool holds, uint64_t faults) {
  holds_ = holds;
  faults_ = faults;
  spared_ = 0;
}

bool IdleWatch::spare(const Proc &target) {
  if (!holds_ || spared_ == kMostInARow || thread_stat(target, target.pid()).faults != faults_) return false;
  ++spared_;
  return true;
}

} // namespace castaway
