// The functions that the program would have got without us, and what this library wraps.
//
// Found with dlsym(RTLD_NEXT), so whatever allocator the program brings stays in charge: sending one function
// elsewhere than its siblings would mix allocators. Resolved by the first call of any hook, in practice by the loader
// before main.
#pragma once

#include "scanner/image.h"

#include <atomic>
#include <csignal>
#include <cstddef>
#include <pthread.h>
#include <sys/types.h>

namespace castaway {

struct Real {
  void *(*malloc)(size_t);
  void (*free)(void *);
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  void *(*memalign)(size_t, size_t);
  void *(*aligned_alloc)(size_t, size_t);
  int (*posix_memalign)(void **, size_t, size_t);
  void *(*valloc)(size_t);
  void *(*pvalloc)(size_t);
  size_t (*malloc_usable_size)(void *);
  void *(*reallocarray)(void *, size_t, size_t);
  void (*free_sized)(void *, size_t);
  void (*free_aligned_sized)(void *, size_t, size_t);
  void *(*mmap)(void *, size_t, int, int, int, off_t);
  int (*munmap)(void *, size_t);
  void *(*mremap)(void *, size_t, size_t, int, ...);
  int (*mlockall)(int);
  int (*pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  int (*sigaltstack)(const stack_t *, stack_t *);
  int (*dlclose)(void *);

  // Set where the executable carries the program's malloc (carried_allocator.h): its `free`. Hooks for functions that
  // it lacks are reached all the same, and must not send its blocks to libc.
  void (*carried_free)(void *);

  Range loader;            // the dynamic loader's code: what it allocates is its own affair
  Range allocator;         // the module that `malloc` leads to
  Range foreign_allocator; // the same, where it is not libc: what it allocates is its own affair too
};

extern Real real [[gnu::visibility("hidden")]];

// Finds them all. Idempotent; the thread that is inside already gets false and must do without (bootstrap.h).
bool resolve_real();

// The definition that comes after ours in the program, or null.
void *next_symbol(const char *name);

} // namespace castaway
