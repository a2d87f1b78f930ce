// Every function that allocates is seen: each block here comes from another one, from a function by_<its name>.
#include "blocks.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <malloc.h>
#include <new>

namespace blocks {
namespace {

using support::Mode;

constexpr auto kAligned = std::align_val_t{256};

struct Function {
  size_t size;
  void *(*allocate)(size_t size);
  void (*release)(void *memory, size_t size);
};

void release_plain(void *memory, size_t) { free(memory); }

#define CASTAWAY_ALLOCATE(name, expression)                                                                            \
  [[gnu::noinline]] void *by_##name(size_t size) {                                                                     \
    void *memory = expression;                                                                                         \
    support::keep_frame();                                                                                             \
    return memory;                                                                                                     \
  }

void *checked_posix_memalign(size_t alignment, size_t size) {
  void *memory = nullptr;
  support::require(posix_memalign(&memory, alignment, size) == 0, "posix_memalign");
  return memory;
}
char *text_of(size_t length) {
  static char text[4096];
  memset(text, 'x', length);
  text[length] = '\0';
  return text;
}

CASTAWAY_ALLOCATE(malloc, malloc(size))
CASTAWAY_ALLOCATE(calloc, calloc(size / 7, 7))
CASTAWAY_ALLOCATE(realloc_null, realloc(nullptr, size))
CASTAWAY_ALLOCATE(realloc, realloc(malloc(10), size))
CASTAWAY_ALLOCATE(reallocarray, reallocarray(nullptr, size / 3, 3))
CASTAWAY_ALLOCATE(memalign, memalign(64, size))
CASTAWAY_ALLOCATE(aligned_alloc, aligned_alloc(128, size))
CASTAWAY_ALLOCATE(posix_memalign, checked_posix_memalign(512, size))
CASTAWAY_ALLOCATE(valloc, valloc(size))
CASTAWAY_ALLOCATE(strdup, strdup(text_of(size - 1)))
CASTAWAY_ALLOCATE(strndup, strndup(text_of(size + 50), size - 1))
CASTAWAY_ALLOCATE(new, ::operator new(size))
CASTAWAY_ALLOCATE(new_array, ::operator new[](size))
CASTAWAY_ALLOCATE(new_nothrow, ::operator new(size, std::nothrow))
CASTAWAY_ALLOCATE(new_array_nothrow, ::operator new[](size, std::nothrow))
CASTAWAY_ALLOCATE(new_aligned, ::operator new(size, kAligned))
CASTAWAY_ALLOCATE(new_array_aligned, ::operator new[](size, kAligned))
CASTAWAY_ALLOCATE(new_aligned_nothrow, ::operator new(size, kAligned, std::nothrow))

// The names of C23, which this C library does not have: through whoever brings them, else plainly.
void release_sized(void *memory, size_t size) {
  auto free_sized = reinterpret_cast<void (*)(void *, size_t)>(dlsym(RTLD_DEFAULT, "free_sized"));
  free_sized ? free_sized(memory, size) : free(memory);
}
void release_aligned_sized(void *memory, size_t size) {
  auto free_sized = reinterpret_cast<void (*)(void *, size_t, size_t)>(dlsym(RTLD_DEFAULT, "free_aligned_sized"));
  free_sized ? free_sized(memory, 128, size) : free(memory);
}

// Aligned sizes are multiples of the alignment: to such the C++ library rounds them up before it asks malloc.
constexpr Function kAll[] = {
    {1001, by_malloc, release_sized},
    {1015, by_calloc, release_plain},
    {1003, by_realloc_null, release_plain},
    {1004, by_realloc, [](void *memory, size_t) { free(realloc(memory, 0)); }},
    {1005, by_reallocarray, release_plain},
    {1006, by_memalign, release_plain},
    {1024, by_aligned_alloc, release_aligned_sized},
    {1008, by_posix_memalign, release_plain},
    {1009, by_valloc, release_plain},
    {1011, by_strdup, release_plain},
    {1012, by_strndup, release_plain},
    {1013, by_new, [](void *memory, size_t) { ::operator delete(memory); }},
    {1014, by_new_array, [](void *memory, size_t size) { ::operator delete[](memory, size); }},
    {1016, by_new_nothrow, [](void *memory, size_t) { ::operator delete(memory, std::nothrow); }},
    {1017, by_new_array_nothrow, [](void *memory, size_t) { ::operator delete[](memory); }},
    {1024, by_new_aligned, [](void *memory, size_t size) { ::operator delete(memory, size, kAligned); }},
    {1280, by_new_array_aligned, [](void *memory, size_t) { ::operator delete[](memory, kAligned); }},
    {1536, by_new_aligned_nothrow, [](void *memory, size_t) { ::operator delete(memory, kAligned, std::nothrow); }},
};

void *volatile all[std::size(kAll)];

void every_function(Mode mode) {
  for (size_t i = 0; i < std::size(kAll); ++i) {
    all[i] = kAll[i].allocate(kAll[i].size);
    support::require(all[i], "allocation");
    support::count(kAll[i].size);
    if (mode == Mode::fixed) kAll[i].release(all[i], kAll[i].size);
  }
  if (mode == Mode::held) return;
  for (auto &each : all) each = nullptr;
}

// By itself: jemalloc and others leave this one to the C library, whose blocks they cannot free.
[[gnu::noinline]] void *by_pvalloc() {
  void *memory = pvalloc(4096);
  support::count(4096);
  return memory;
}
void page_function(Mode mode) {
  void *memory = by_pvalloc();
  if (mode == Mode::held) support::kept = memory;
  if (mode == Mode::fixed) free(memory);
}

constexpr support::Case kCases[] = {{"every_function", every_function}, {"page_function", page_function}};

} // namespace

const std::span<const support::Case> kFunctions = kCases;

} // namespace blocks
