// The unwinder: from a thread's registers and the copy of its stack to the addresses of its calls.
//
// libunwind's remote interface over memory that is gone: the accessors below serve the copied stack bytes and, out of
// the ELF files, call frame information and code. `perf report` does the same with its stack dumps. The search tables
// (.eh_frame_hdr) are handed to libunwind's own look-up as remote tables; it keeps what it found per program counter,
// so threads that wait at the same place cost little (5000 threads: see tests).
//
// Everything read is hostile. A stack ends where no call frame information, no stack bytes or no code is, after
// kMostFrames, or where it stands still; each step may only read so often, so that an endless expression ends too.
// Owner: one thread, OFFLINE. Captures of another kind of machine give the top frame only.
#pragma once

#include "profile/capture_reader.h"
#include "profile/modules.h"

#include <cstdint>
#include <libunwind.h>
#include <vector>

namespace castaway {

inline constexpr size_t kMostFrames = 256;

struct UnwoundStack {
  // Innermost first: where the thread is, then of each caller an address within its call instruction (the return
  // address minus 1), as pprof wants them.
  std::vector<uint64_t> addresses;
  std::vector<uint64_t> stack_pointers; // of the same frames: where each begins
  bool cut = false;                     // there is more, beyond kMostFrames or the copied bytes
};

class Unwinder {
public:
  // Both outlive the unwinder.
  Unwinder(const Capture &capture, const Modules &modules);
  ~Unwinder();
  Unwinder(const Unwinder &) = delete;
  Unwinder &operator=(const Unwinder &) = delete;

  UnwoundStack unwind(const ThreadRecord &thread);

private:
  friend struct Accessors;
  bool read_word(uint64_t address, uint64_t &value);
  bool read_stack(uint64_t address, uint64_t &value) const;
  bool read_module(uint64_t address, uint64_t &value);
  bool executable(uint64_t address) const;

  const Capture &capture_;
  const Modules &modules_;
  unw_addr_space_t space_ = nullptr;
  const ThreadRecord *thread_ = nullptr; // being unwound
  size_t reads_left_ = 0;                // of this step
  bool beyond_copy_ = false;             // a read hit the stack above the copied bytes
};

} // namespace castaway
