// The time for those who ask often: a few nanoseconds, exact to some milliseconds.
//
// Any context, thread-safe, no system call where the kernel's vDSO is there.
#pragma once

#include <cstdint>

namespace castaway {

// CLOCK_MONOTONIC as of the last tick of the system: up to 10 ms ago, never in the future.
uint64_t coarse_now_ns();

// Before main: finds the vDSO's function.
void learn_clock();

} // namespace castaway
