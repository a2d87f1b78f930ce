// All ways to end, and what a program can tell of its allocator: statuses, handlers, errno, sizes.
#include "calm.h"
#include "support.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <stdexcept>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace calm {
namespace {

// Long enough for a safepoint or two, on a busy machine too.
void live_a_little(int argc, char **argv) { std::this_thread::sleep_for(span_of(argc, argv, 1000)); }

template <auto end> int ends(int argc, char **argv) {
  atexit([] { expect(false, "atexit"); });
  at_quick_exit([] { expect(false, "at_quick_exit"); });
  live_a_little(argc, argv);
  return end();
}

int by_return() { return 37; }
int by_exit() { exit(38); }
int by_fast_exit() { _exit(39); }
int by_quick_exit() { quick_exit(40); }
int by_abort() { abort(); }
int by_segv() {
  *static_cast<volatile int *>(nullptr) = 1;
  return 0;
}
int by_throw() { throw std::runtime_error("nobody catches this"); }
int by_exit_on_thread() {
  std::thread([] { exit(41); }).join();
  return 0;
}
// Allocates in handlers and destructors that run at the very end.
int in_handlers() {
  static struct Last {
    ~Last() {
      std::string text(1000, 'x');
      expect(false, "destructor: %zu", text.size());
    }
  } last;
  atexit([] { free(malloc(100)); });
  return 42;
}

// free keeps errno, and successful calls do not touch it.
int keeps_errno(int argc, char **argv) {
  repeat(span_of(argc, argv, 1000), [] {
    errno = 77;
    void *memory = malloc(1000), *large = malloc(1 << 20);
    memory = realloc(memory, 3000);
    void *aligned = aligned_alloc(64, 640);
    free(memory);
    free(aligned);
    free(large);
    free(nullptr);
    return expect(errno == 77, "errno %d", errno);
  });
  return done(argv);
}

// What fails fails as it should, and leaves the old block alone.
int failures(int, char **argv) {
  volatile size_t huge = SIZE_MAX / 2;
  errno = 0;
  expect(!malloc(huge) && errno == ENOMEM, "malloc: %s", strerror(errno));
  errno = 0;
  expect(!calloc(huge, 4) && errno == ENOMEM, "calloc: %s", strerror(errno));
  errno = 0;
  char *volatile same = strdup("still here"); // volatile, or the compiler objects to its use after realloc
  expect(!realloc(same, huge) && errno == ENOMEM, "realloc: %s", strerror(errno));
  expect(strcmp(same, "still here") == 0, "realloc lost the block");
  errno = 0;
  expect(!reallocarray(same, huge, 4) && errno == ENOMEM, "reallocarray: %s", strerror(errno));
  free(same);
  void *memory = nullptr;
  expect(posix_memalign(&memory, 3, 10) == EINVAL && !memory, "posix_memalign of 3");
  bool thrown = false;
  try {
    ::operator delete(::operator new(huge));
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  expect(thrown && !::operator new(huge, std::nothrow), "operator new");
  return done(argv);
}

// Alignment, usable sizes and contents are those of an allocator.
int contents(int argc, char **argv) {
  unsigned seed = 1;
  repeat(span_of(argc, argv, 1000), [&seed] {
    size_t size = rand_r(&seed) % 5000, alignment = size_t{16} << rand_r(&seed) % 9;
    auto *memory = static_cast<unsigned char *>(memalign(alignment, size));
    bool fine = expect(reinterpret_cast<uintptr_t>(memory) % alignment == 0, "memalign(%zu, %zu)", alignment, size) &&
                expect(malloc_usable_size(memory) >= size, "malloc_usable_size %zu", size);
    memset(memory, 0x5a, malloc_usable_size(memory));
    memory = static_cast<unsigned char *>(realloc(memory, size + 3000));
    for (size_t i = 0; i < size; ++i) fine = fine && expect(memory[i] == 0x5a, "byte %zu", i);
    auto *zeroed = static_cast<unsigned char *>(calloc(size + 1, 1));
    for (size_t i = 0; i <= size; ++i) fine = fine && expect(zeroed[i] == 0, "calloc byte %zu", i);
    free(memory);
    free(zeroed);
    return fine;
  });
  expect(malloc_usable_size(nullptr) == 0, "malloc_usable_size of null");
  return done(argv);
}

constexpr Case kCases[] = {
    {"return", ends<by_return>},
    {"exit", ends<by_exit>},
    {"fast_exit", ends<by_fast_exit>},
    {"quick_exit", ends<by_quick_exit>},
    {"abort", ends<by_abort>},
    {"segv", ends<by_segv>},
    {"throw", ends<by_throw>},
    {"exit_on_thread", ends<by_exit_on_thread>},
    {"in_handlers", ends<in_handlers>},
    {"errno", keeps_errno},
    {"failures", failures},
    {"contents", contents},
};

} // namespace

const std::span<const Case> kEnds = kCases;

} // namespace calm
