/* castaway.h: what a program can say to castaway, and ask of it.
 *
 * Nothing has to be linked: where libcastaway.so is not preloaded, every call does nothing and returns 0. C and C++.
 * docs/api.md tells more. Code that is annotated for LeakSanitizer (<sanitizer/lsan_interface.h>) works unchanged.
 */
#ifndef CASTAWAY_CASTAWAY_H
#define CASTAWAY_CASTAWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the last safepoint that gave a profile has found; and since the start of the process. */
struct castaway_stats {
  uint64_t safepoints;
  uint64_t failed_safepoints;
  uint64_t threads;
  uint64_t leaked_threads;
  uint64_t retained_bytes; /* that only leaked threads reach */
  uint64_t leaked_objects;
  uint64_t leaked_bytes;
  uint64_t heap_objects;
  uint64_t heap_bytes;
  uint64_t last_pause_ns;
  uint64_t longest_pause_ns;
  uint64_t refuted; /* reported as leaked, and moved or freed afterwards: a bug of castaway's if not 0 */
  uint64_t reserved[4];
};

/* Called after a safepoint that found more leaked threads or blocks than any before, on a thread on which all of libc
 * may be used: the one that is inside castaway_snap(), or one that castaway_on_leak() starts. `profile` is the path. */
typedef void (*castaway_callback)(const struct castaway_stats *stats, const char *profile);

#ifndef CASTAWAY_TYPES_ONLY

/* A weak reference to what libcastaway.so exports, 0 without it. By way of the global offset table, because in a
 * program that is not position-independent the linker would otherwise settle for 0. */
#if defined(__x86_64__)
#define CASTAWAY_FIND(function, name) __asm__(".weak " name "\n\tmovq " name "@GOTPCREL(%%rip), %0" : "=r"(function))
#elif defined(__aarch64__)
#define CASTAWAY_FIND(function, name)                                                                                  \
  __asm__(".weak " name "\n\tadrp %0, :got:" name "\n\tldr %0, [%0, :got_lo12:" name "]" : "=r"(function))
#else
#define CASTAWAY_FIND(function, name) ((function) = 0)
#endif

/* As stat(2) does: a structure and a function of one name, which -Wshadow does not like in C++. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"

/* The names that these functions have in object files are others than those of what they call. */
static inline int castaway_present(void) __asm__("castaway_inline_present");
static inline int castaway_snap(void) __asm__("castaway_inline_snap");
static inline int castaway_stats(struct castaway_stats *stats) __asm__("castaway_inline_stats");
static inline int castaway_on_leak(castaway_callback callback) __asm__("castaway_inline_on_leak");
static inline int castaway_ignore(const void *pointer) __asm__("castaway_inline_ignore");
static inline int castaway_root(const void *begin, size_t size) __asm__("castaway_inline_root");
static inline int castaway_unroot(const void *begin, size_t size) __asm__("castaway_inline_unroot");
static inline void castaway_disable(void) __asm__("castaway_inline_disable");
static inline void castaway_enable(void) __asm__("castaway_inline_enable");

/* 1 if the process is preloaded with libcastaway.so. */
static inline int castaway_present(void) {
  int (*function)(void);
  CASTAWAY_FIND(function, "castaway_snap");
  return function != 0;
}

/* Makes a safepoint now and waits until its profile is written. 1 if there is one. */
static inline int castaway_snap(void) {
  int (*function)(void);
  CASTAWAY_FIND(function, "castaway_snap");
  return function ? function() : 0;
}

/* 1 if `stats` was filled in, which needs no safepoint; else it is all 0. */
static inline int castaway_stats(struct castaway_stats *stats) {
  int (*function)(struct castaway_stats *);
  CASTAWAY_FIND(function, "castaway_stats");
  if (function) return function(stats);
  __builtin_memset(stats, 0, sizeof *stats);
  return 0;
}

/* From now on `callback` is told of new leaks; NULL: nobody is. 1 if that could be arranged. */
static inline int castaway_on_leak(castaway_callback callback) {
  int (*function)(castaway_callback);
  CASTAWAY_FIND(function, "castaway_on_leak");
  return function ? function(callback) : 0;
}

/* The block that `pointer` leads into, and all that it reaches, is no leak. 1 if it is known. */
static inline int castaway_ignore(const void *pointer) {
  int (*function)(const void *);
  CASTAWAY_FIND(function, "castaway_ignore");
  return function ? function(pointer) : 0;
}

/* What is stored in this memory is reachable, until castaway_unroot() of the same. 1 if that could be noted. */
static inline int castaway_root(const void *begin, size_t size) {
  int (*function)(const void *, size_t);
  CASTAWAY_FIND(function, "castaway_root");
  return function ? function(begin, size) : 0;
}
static inline int castaway_unroot(const void *begin, size_t size) {
  int (*function)(const void *, size_t);
  CASTAWAY_FIND(function, "castaway_unroot");
  return function ? function(begin, size) : 0;
}

/* What the calling thread allocates between the two is no leak, nor what that reaches. They nest. */
static inline void castaway_disable(void) {
  void (*function)(void);
  CASTAWAY_FIND(function, "castaway_disable");
  if (function) function();
}
static inline void castaway_enable(void) {
  void (*function)(void);
  CASTAWAY_FIND(function, "castaway_enable");
  if (function) function();
}

#pragma GCC diagnostic pop
#undef CASTAWAY_FIND
#endif /* CASTAWAY_TYPES_ONLY */

#ifdef __cplusplus
}
#endif

#endif
