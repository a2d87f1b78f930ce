// What is known of the libc in the target, asked of it once before main. No private layout is guessed from a version.
//
// Everything may be unknown (0 or empty): the roots are then widened, or a label says less.
#pragma once

#include "runtime/arch.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

struct LibcFacts {
  size_t descriptor_size; // of the thread descriptor, page-rounded where unknown
  size_t tid_offset;      // of the thread's id in the descriptor
  size_t static_tls_size; // static TLS blocks and descriptor together
  Range code;             // of libc
  // The state of glibc's main arena, which is no root: it points at headers of free chunks, and a free chunk's header
  // overlaps the end of the block before it, which would keep leaked blocks alive.
  Range main_arena;
};

extern LibcFacts libc_facts;

// The descriptor, which is also the pthread_t, of the thread with this thread pointer.
inline uintptr_t descriptor_of(uintptr_t thread_pointer) {
  return arch::descriptor_at(thread_pointer, libc_facts.descriptor_size);
}

// Before main. `libc_data`: libc's writable segment.
void learn_libc_facts();

// What a function of libc is that a thread was found waiting in; `none` if it is not one of those that wait. `pc` is
// any address in it.
WaitKind wait_function_at(uintptr_t pc);
// Whether `pc` lies in pthread_mutex_lock or in what it jumps to.
bool in_mutex_lock(uintptr_t pc);

} // namespace castaway
