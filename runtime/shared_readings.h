// How much of a process' time castaway takes to read the memory that it shares with others: a thousandth.
//
// Private memory is in the copy that a safepoint makes; of shared memory each snapshot has to fill the page tables anew
// (roots.h). That grows with the memory, not with what the process does: with 8 GiB, and a hundred processes that share
// them, a processor would do nothing else. So after a reading the next one waits for a thousand times what it took. A
// process' first readings, which its first leaks need, may be made at any time, as long as they are short.
//
// Context: SNAPSHOT.
#pragma once

#include <cstddef>
#include <cstdint>

namespace castaway {

// Of the process so far; part of its history. Times of CLOCK_MONOTONIC.
struct SharedReadings {
  uint64_t since_ns; // the last reading's safepoint, or the first safepoint of all; 0: there was none
  uint64_t cost_ns;  // of the last reading; 0: none yet
  uint64_t spent_ns; // on all
};

// What a reading takes, by measurement (docs/design.md, "Roots"): `mapped` is all that is looked through, `present`
// what there is of it. In bytes.
uint64_t cost_of_reading(uint64_t mapped, uint64_t present);

// Whether one may be made now. `expected_ns`: what it is thought to take, where none was made before.
bool may_read_shared(const SharedReadings &before, uint64_t now_ns, uint64_t expected_ns);

// What is known after a safepoint at `now_ns` that has made a reading of this cost; 0: it made none.
SharedReadings after_safepoint(const SharedReadings &before, uint64_t now_ns, uint64_t cost_ns);

} // namespace castaway
