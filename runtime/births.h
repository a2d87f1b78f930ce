// Who created which thread: the call stack of pthread_create, by pthread_t.
//
// HOOK context, thread-safe, lock-free. A pthread_t is glibc's address of the thread descriptor, which a stopped
// thread's thread pointer shows; the stack memory under it is used again by later threads, which replace the entry. An
// entry outlives its thread: it tells which memory is a cached stack of glibc's, and nobody's root.
#pragma once

#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

struct Birth {
  uintptr_t descriptor; // 0: unused
  uint32_t stack;       // CallStacks id
  int32_t creator;      // tid
  Range own_stack;      // given by the program (pthread_attr_setstack); empty where libc made it
  bool inherited;       // from before a fork: its thread does not exist in this process
};

namespace births {

inline constexpr size_t kMost = size_t{1} << 17;

void note(const Birth &birth);
// The entry of this descriptor, or null.
const Birth *find(uintptr_t descriptor);
// All entries, unused ones between them: descriptor == 0.
const Birth *begin();
const Birth *end();
// In the child of a fork: all threads but the caller are gone.
void inherit();

} // namespace births
} // namespace castaway
