// From leaked blocks to leak records: exact totals per size class, shared among allocation stacks by what was sampled.
//
// Context: SNAPSHOT. A size class in which no block has a recorded stack goes to stack 0 ("not sampled"). Where every
// allocation was recorded, the shares are exact too.
//
// A recorded block stands for as many as its weight says (sampling.h); what the blocks without a stack are shared by is
// the sum of weights.
#pragma once

#include "runtime/sampling.h"
#include "scanner/capture.h"
#include "scanner/scanner.h"

#include <cstdint>
#include <span>

namespace castaway {

struct LeakContext {
  uint64_t safepoint;
  uint64_t confirm; // safepoints until confirmed
  uint64_t now_ns;
  bool all_recorded; // every allocation stack was: a block without one is not shared out among others
};

// The sizes of which blocks are leaked, and none has a recorded stack. Of the calling context, no memory is needed.
sampling::Classes unrecorded_sizes(std::span<const LeakedBlock> blocks);

// Records for all of `blocks`; their objects and bytes add up to those of the blocks. Empty with `failed` set when
// there is no memory.
std::span<LeakRecord> make_leak_records(std::span<const LeakedBlock> blocks, const LeakContext &context, bool &failed);

} // namespace castaway
