// The history: what earlier safepoints of this process found, so that a leak can be confirmed, aged and refuted.
//
// A memfd that the agent holds: the snapshot process of one safepoint writes it, that of the next one reads it, and the
// agent reads it to watch what was found. A snapshot that dies before it has written its own leaves that of the one
// before it; the header is written last, so one that dies while it writes leaves an empty history, and the next
// safepoint counts from one again.
#pragma once

#include "runtime/sampling.h"
#include "runtime/shared_readings.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

struct PastThread {
  int32_t tid;
  uint32_t reported;        // 1: was in a profile as leaked; its moving would refute that
  uintptr_t stack_pointer;  // with the word, what makes it the same wait
  uintptr_t word;           // 0: not a waiter
  uint64_t since_ns;        // first seen in this wait, CLOCK_MONOTONIC
  uint64_t first_safepoint; // of the row that found it leaked, 0 = not leaked
  uint64_t registers;       // hashes of what only its running can change (Snapshot::add_state); 0 = not leaked,
  uint64_t stack;           // or not known
  char name[16];            // zero-terminated
};

struct PastBlock {
  uintptr_t begin;
  uint64_t size;
  uint64_t first_safepoint;
  uint32_t reported; // 1: for the first time by the last safepoint; 2: before that already
  uint16_t watched;  // 1: when the last safepoint stopped the threads, the hooks would have seen its end
  uint16_t settles;  // 1: that, and it was looked for everywhere (BlockNote::settled)
};

struct HistoryHeader {
  uint64_t magic;
  uint64_t threads; // PastThread[], by tid
  uint64_t blocks;  // PastBlock[], by address
  // What the last safepoint found: for the status page.
  uint64_t safepoint;
  uint64_t time_ns;       // of the stop, CLOCK_MONOTONIC
  uint64_t first_wall_ns; // of the first safepoint
  uint64_t live_threads;
  uint64_t heap_blocks;
  uint64_t heap_bytes;
  uint64_t refuted_threads;
  uint64_t mark_ns;
  sampling::Classes unrecorded; // sizes of leaked blocks of which no stack is known
  uint64_t holds_while_idle;    // 1: the next safepoint finds the same, unless main runs (idle.h)
  uint64_t awaits_next;         // 1: the next safepoint can confirm a leak, whatever it may read
  uint64_t unsettles;           // 1: a block that was settled is not leaked: nothing counts as settled any more
  SharedReadings shared;
  static constexpr uint64_t kMagic = 0x33796873696877ull;
};

// A history in memory. Spans point into memory that is never given back (SNAPSHOT).
struct History {
  HistoryHeader header{};
  std::span<PastThread> threads;
  std::span<PastBlock> blocks;

  const PastThread *find(int32_t tid) const;
};

// An empty one where there is none or it cannot be read. With `most_blocks`, only so many of the blocks are read.
History read_history(int fd, size_t most_blocks = SIZE_MAX);
HistoryHeader read_history_header(int fd);
bool write_history(int fd, const History &history);
// Into a history as it is, or an empty one.
void write_readings(int fd, const SharedReadings &readings);

} // namespace castaway
