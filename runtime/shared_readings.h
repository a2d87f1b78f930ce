// How much of a process' time castaway takes to read the memory that it shares with others: a thousandth.
//
// Private memory is in the copy that a safepoint makes; of shared memory each snapshot has to fill the page tables anew
// (roots.h). That grows with the memory, not with what the process does: with 8 GiB, and a hundred processes that share
// them, a processor would do nothing else. So after a reading the next one waits for a thousand times what it took, or
// will take if that is more. A process' first readings, which its first leaks need, may be made at any time, as long as
// they are short.
//
// A hundred processes that were forked from one another, and each of them young, would still read a hundred times at
// once. So a family has a budget of its own: a thousandth of the processors that it may use, and half of what a single
// process may spend at once. Not for its first process: what that knows is known to all that are forked from it later.
//
// Context: SNAPSHOT, where nothing else is said.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace castaway {

// What a reading takes in ns, by measurement (docs/design.md, "Roots"): `mapped` is all that is looked through,
// `present` what there is of it. In bytes.
uint64_t cost_of_reading(uint64_t mapped, uint64_t present);

// Those of a process so far; part of its history. Times are of CLOCK_MONOTONIC.
struct SharedReadings {
  uint64_t since_ns; // the last reading's safepoint, or the first safepoint of all; 0: there was none
  uint64_t mapped;   // bytes, at the last reading; 0: there was none
  uint64_t cost_ns;  // of the last
  uint64_t spent_ns; // on all

  // At each safepoint.
  void begin(uint64_t now_ns) { since_ns = since_ns ? since_ns : now_ns; }
  // Whether a reading that will take so long may be made now.
  bool allow(uint64_t expected_ns, uint64_t now_ns) const;
  // Whether the last reading tells what the next one takes.
  bool know(uint64_t mapped_now) const { return mapped == mapped_now; }
  // After a reading, by the time of its safepoint.
  void add(uint64_t mapped_now, uint64_t present, uint64_t now_ns);
};

// Those of all processes that were forked from one another. A bucket that fills with time (as the generic cell rate
// algorithm keeps it, ITU-T I.371: one word for the time at which it is full again). Lock-free.
class FamilyReadings {
public:
  // Takes what a reading will cost; false: it has to wait. `processors`: that the caller may use.
  bool take(uint64_t cost_ns, uint64_t now_ns, uint64_t processors);

private:
  std::atomic<uint64_t> full_ns_{0};
};

// Of this process' family; null where there is no memory for it: then each process only keeps to its own time. Any
// context.
FamilyReadings *family_readings();
// At the start of the first process, before it forks.
void begin_family();

} // namespace castaway
