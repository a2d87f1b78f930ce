// Which safepoints are spared; see idle.h.
#include "runtime/idle.h"

#include "runtime/stop.h"

namespace castaway {

void IdleWatch::conclude(const LastSafepoint &last) {
  last_ = last;
  spared_ = 0;
}

bool IdleWatch::spare(const Proc &target) {
  if (spared_ == kMostInARow || (!has_not_run(target) && !has_hardly_run())) return false;
  ++spared_;
  return true;
}

bool IdleWatch::has_not_run(const Proc &target) const {
  return last_.holds && thread_stat(target, target.pid()).faults == last_.main_faults;
}

bool IdleWatch::has_hardly_run() const {
  if (!last_.forked || last_.awaits_next) return false;
  uint64_t used_ns = sys::now_ns(CLOCK_PROCESS_CPUTIME_ID) - last_.used_ns;
  return used_ns < last_.cost_ns && used_ns < last_.interval_ns / kHardly;
}

} // namespace castaway
