// Fault injection, for tests: at the point of the first safepoint that CASTAWAY_FAULT names, the task that reaches it
// is killed as the kernel would do it when memory runs out. CASTAWAY_FAULT=slow makes every snapshot last. Context: the
// tracer and SNAPSHOT, never a thread of the target.
#pragma once

#include "runtime/safepoint.h"

#include <csignal>

namespace castaway {

inline void fault_point(const Safepoint &safepoint, std::string_view name) {
  if (__builtin_expect(safepoint.config->fault.view() != name || safepoint.attempt != 1, 1)) return;
  if (int self = sys::process_id(); self != safepoint.pid) sys::call(SYS_kill, self, SIGKILL);
}

inline void rest_if_slow(const Safepoint &safepoint) {
  constexpr uint64_t kRest = 1'500'000'000; // ns
  if (safepoint.config->fault.view() == "slow") sys::sleep_ns(kRest);
}

} // namespace castaway
