// The capture: what one safepoint found, as the snapshot process writes it and the reporter reads it.
//
// Layout, little-endian, everything aligned to 8 bytes:
//
//   CaptureHeader
//   { SectionHeader, payload, zero padding to 8 } ...     in any order, unknown types are skipped
//
// A capture can come from a corrupted process or from another machine: readers check every count and offset.
// Numbers are unsigned unless said otherwise. Times are CLOCK_MONOTONIC nanoseconds of the target's machine unless
// they say wall.
#pragma once

#include "scanner/chain.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

inline constexpr char kCaptureMagic[8] = {'C', 'A', 'S', 'T', 'A', 'W', 'Y', '1'};
inline constexpr uint32_t kCaptureVersion = 1;

enum class Machine : uint32_t { x86_64 = 62, aarch64 = 183 }; // ELF's e_machine

struct CaptureHeader {
  char magic[8];
  uint32_t version;
  Machine machine;
  uint64_t total_size; // of the whole capture, this header included; a shorter file is truncated
};

enum class SectionType : uint32_t {
  facts = 1,       // text, lines "key value\n": FactKey below
  maps = 2,        // text: /proc/PID/maps at the stop
  threads = 3,     // ThreadRecord[]
  stack_bytes = 4, // raw bytes; ThreadRecord says which are whose
  call_stacks = 5, // CallStack records, one behind the other: allocation and creation stacks
  leaks = 6,       // LeakRecord[]
  notes = 7,       // text: a line for anything that made the result incomplete
  chain = 8,       // ChainLink[]: the answer where somebody asked what keeps something alive
};

struct SectionHeader {
  SectionType type;
  uint32_t reserved; // 0
  uint64_t size;     // of the payload, without padding
};

// Keys of the facts section. Numbers are decimal.
//   comm, pid, exe, command (the program's name and arguments, escaped as in C), wall_ns (time of the stop),
//   safepoint (its number, from 1), trigger (periodic | demand | exit), stop (ptrace | signal), pause_ns, mark_ns,
//   scan_bytes (memory that the snapshot has taken for itself),
//   faults_after (page faults of the program since the pause), after_ns (in so long),
//   threads, heap_blocks, heap_bytes, confirm (safepoints until confirmed), keep (profiles kept),
//   suppressions (path), refuted_threads, refuted_blocks, ticks_per_second, sample_bytes,
//   page_size, symbolize (on | off), previous_wall_ns (time of the first safepoint),
//   question (0xADDRESS or TID, where somebody asked what keeps it alive: the chain section has the answer),
//   collector (NAME:SECRET, who writes where the output directory refuses this process; only with `castaway run`)

// Whether a row of safepoints that all found the same leak, from `first` up to this one, `now`, is long enough.
constexpr bool is_confirmed(uint64_t first, uint64_t now, uint64_t confirm) { return now - first + 1 >= confirm; }

// Index of registers in ThreadRecord::registers: DWARF numbers of the psABI. x86-64: rax rdx rcx rbx rsi rdi rbp rsp
// r8..r15 rip(16). aarch64: x0..x30 sp(31) pc(32).
inline constexpr size_t kRegisters = 33;

enum ThreadFlag : uint32_t {
  kThreadMain = 1, // the thread-group leader
  kThreadLeaked = 2,
  kThreadWaiter = 4, // waits on a futex without timeout
};

struct ThreadRecord {
  int32_t tid;
  uint32_t flags; // ThreadFlag
  char name[16];  // zero-terminated
  WaitKind wait;  // as the runtime saw it; `futex` where it only saw a futex
  Reason reason;
  char state; // of /proc/PID/task/TID/stat: R S D T Z ...
  uint8_t reserved0;
  int32_t other;            // the mutex's owner or the thread that is joined; 0 where not known
  uint64_t wait_address;    // the futex word, 0 if none
  int64_t system_call;      // number of the system call it is in, -1 if none
  uint64_t since_ns;        // length of time for which safepoints have seen it in this wait
  uint64_t first_safepoint; // of the uninterrupted row that found it leaked; 0 if not leaked
  uint64_t retained_bytes;
  uint64_t retained_objects;
  uint64_t registers[kRegisters];
  uint64_t stack_address; // where the copied bytes began in the target
  uint64_t stack_offset;  // of the copy within the stack_bytes section
  uint64_t stack_size;    // bytes copied; the used part may have been longer
  uint32_t created_stack; // id of the stack of its creation, 0 = not known
  int32_t creator;        // tid, 0 = not known
};

// Followed by `depth` program counters of 8 bytes: return addresses, innermost first.
struct CallStack {
  uint32_t id; // from 1
  uint32_t depth;
};

// Leaked blocks of one allocation stack, one size class and one state. Objects and bytes are totals over all records:
// exact for the process; shared among stacks by sampling.
struct LeakRecord {
  uint32_t stack;   // id of the CallStack, 0 = no allocation of this size was recorded
  uint8_t indirect; // 0 direct, 1 indirect
  uint8_t reserved[3];
  uint64_t first_safepoint; // of the row that found these leaked; the confirmed and others are separate records
  uint64_t objects;
  uint64_t bytes;
  uint64_t age_ns; // since the oldest recorded allocation among them, or since first found leaked
};

static_assert(sizeof(CaptureHeader) == 24 && sizeof(SectionHeader) == 16);
static_assert(sizeof(CallStack) == 8 && sizeof(LeakRecord) == 40);
static_assert(sizeof(ThreadRecord) % 8 == 0);

} // namespace castaway
