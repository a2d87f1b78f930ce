// Verdicts on threads: why the leaked ones can never run again, and what they alone keep alive.
//
// Owner: scanner. Context: SNAPSHOT or a test. Cannot fail: both work in the tables given.
#pragma once

#include "scanner/fixpoint.h"
#include "scanner/image.h"
#include "scanner/marker.h"
#include "scanner/scanner.h"

#include <cstdint>
#include <span>

namespace castaway {

// Fills in `leaked`, `reason` and `certain`. `paths` is zeroed, one element for each thread.
void judge(const Fixpoint &fixpoint, std::span<uint32_t> paths, std::span<ThreadVerdict> verdicts);

// Fills in what each leaked thread retains: what it reaches and neither the live nor a leaked one before it does.
void count_retained(const Image &image, Marker &marker, std::span<ThreadVerdict> verdicts);

} // namespace castaway
