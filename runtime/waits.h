// What a stopped thread waits for, read from its registers: nothing of pthread is hooked.
//
// A thread stopped inside futex(2), futex_waitv(2) or futex_wait(2) shows the word, the value it sleeps on and the
// timeout in the call's arguments, whichever library made the call. Kinds come from the libc function on its stack.
// Context: SNAPSHOT; memory is read in place where it is known to be mapped.
#pragma once

#include "runtime/stop.h"
#include "scanner/image.h"

#include <ctime>

namespace castaway {

inline constexpr size_t kMostWords = 128; // FUTEX_WAITV_MAX

// A wait without timeout, or with one beyond kFarTimeout; `count` is 0 where the thread does not wait so.
struct Wait {
  WaitWord words[kMostWords];
  size_t count = 0;
  WaitKind kind = WaitKind::none;
  int32_t mutex_owner = 0; // 0 = not known for sure
  int32_t joined = 0;      // tid
};

// Who has the thread descriptor that `address` lies in: its tid, 0 if none.
using DescriptorOwner = int32_t (*)(void *context, uintptr_t address);

// `stack` is the used part of the thread's stack; `readable(context, range)` tells what may be read.
struct WaitContext {
  int pid;
  Range stack;
  DescriptorOwner descriptor_owner;
  bool (*readable)(void *context, Range range);
  void *context;
};

void read_wait(const StoppedThread &thread, const WaitContext &context, Wait &wait);

// Whether a futex call of this operation with this timeout waits longer than anybody lives to see.
bool is_far(int operation, const timespec &timeout);

} // namespace castaway
