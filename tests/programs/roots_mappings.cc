// Roots in mappings that the program made itself, in instructions too.
#include "roots.h"

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace roots {
namespace {

using support::Mode;

constexpr size_t kSize = 64 << 10;

void store_in(void *mapping, Mode mode) {
  support::require(mapping != MAP_FAILED, "mmap");
  static_cast<void **>(mapping)[kSize / sizeof(void *) / 2] = secret(mode);
}

int temporary_file() {
  char path[] = "/tmp/castaway-map-XXXXXX";
  int file = mkstemp(path);
  support::require(file >= 0 && unlink(path) == 0 && ftruncate(file, kSize) == 0, "temporary file");
  return file;
}

void *map(int flags, int file) { return mmap(nullptr, kSize, PROT_READ | PROT_WRITE, flags, file, 0); }

void in_private_anonymous(Mode mode) { store_in(map(MAP_PRIVATE | MAP_ANONYMOUS, -1), mode); }
void in_shared_anonymous(Mode mode) { store_in(map(MAP_SHARED | MAP_ANONYMOUS, -1), mode); }
void in_private_file(Mode mode) { store_in(map(MAP_PRIVATE, temporary_file()), mode); }
void in_shared_file(Mode mode) { store_in(map(MAP_SHARED, temporary_file()), mode); }

void in_moved(Mode mode) {
  void *mapping = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  support::require(mremap(mapping, kSize, 64 * kSize, MREMAP_MAYMOVE) != MAP_FAILED, "mremap");
}

// The pointer's mapping lies directly behind one that malloc made, so that the kernel may show them as one.
void in_neighbour_of_heap(Mode mode) {
  void *large = calloc(1, 1 << 20);
  support::kept = large;
  uintptr_t end = (reinterpret_cast<uintptr_t>(large) + (1 << 20) + 4095) & ~uintptr_t{4095};
  void *behind = mmap(reinterpret_cast<void *>(end), kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  store_in(behind, mode);
}

// As a JIT compiler writes it: nops of `odd` bytes, then movabs $pointer, %rax; and the page may no longer be written.
template <size_t odd, bool writable> void in_code(Mode mode) {
  auto *code = static_cast<unsigned char *>(map(MAP_PRIVATE | MAP_ANONYMOUS, -1));
  support::require(code != MAP_FAILED, "mmap");
  unsigned char *at = code + 256;
  for (size_t i = 0; i < odd; ++i) *at++ = 0x90;
  *at++ = 0x48, *at++ = 0xb8;
  void *pointer = secret(mode);
  memcpy(at, &pointer, sizeof pointer);
  at[sizeof pointer] = 0xc3;
  support::require(mprotect(code, kSize, PROT_READ | PROT_EXEC | (writable ? PROT_WRITE : 0)) == 0, "mprotect");
}

void advise(void *mapping, int advice, size_t size = kSize) {
  support::require(madvise(mapping, size, advice) == 0, "madvise");
}

// Memory that a fork leaves out or wipes: the pointer's own, that of a block, of a stack, of something that is shared.
void in_unforked(Mode mode) {
  void *mapping = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  advise(mapping, MADV_DONTFORK);
}
void in_unforked_shared(Mode mode) {
  void *mapping = map(MAP_SHARED | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  advise(mapping, MADV_DONTFORK);
}
void in_unforked_hole(Mode mode) { // that nobody may read for now
  void *mapping = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  advise(mapping, MADV_DONTFORK);
  support::require(mprotect(mapping, kSize, PROT_NONE) == 0, "mprotect");
}
void in_wiped(Mode mode) {
  void *mapping = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  advise(mapping, MADV_WIPEONFORK);
}
void in_wiped_page(Mode mode) { // a mapping that cannot be split
  void *mapping = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  advise(static_cast<char *>(mapping) + (kSize / 2 & ~size_t{4095}), MADV_WIPEONFORK, 4096);
}
void in_unforked_block(Mode mode) { // as RDMA libraries mark registered buffers
  auto **block = static_cast<void **>(aligned_alloc(4096, 4096));
  block[100] = secret(mode);
  advise(block, MADV_DONTFORK, 4096);
  support::kept = block;
}
void *hold_on_stack(void *) {
  void *volatile held = handed;
  uintptr_t page = reinterpret_cast<uintptr_t>(&held) & ~uintptr_t{4095};
  advise(reinterpret_cast<void *>(page), MADV_DONTFORK, 4096);
  handed = nullptr;
  support::park();
  return held;
}
void in_unforked_stack(Mode mode) { park_with(hold_on_stack, secret(mode)); }

// A hole in the middle of what the program mapped, with a pointer in it, which may be readable again one day.
void in_hole(Mode mode) {
  void *mapping = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  support::require(mprotect(static_cast<char *>(mapping) + kSize / 2, 4096, PROT_NONE) == 0, "mprotect");
}
void in_hole_of_block(Mode mode) {
  auto **block = static_cast<void **>(aligned_alloc(4096, 3 * 4096));
  block[4096 / sizeof(void *)] = secret(mode);
  support::require(mprotect(block + 4096 / sizeof(void *), 4096, PROT_NONE) == 0, "mprotect");
  support::kept = block;
}
// Written once and then made read-only: a file's pages, and memory that no hook has seen being mapped.
void in_protected_file(Mode mode) {
  void *mapping = map(MAP_PRIVATE, temporary_file());
  store_in(mapping, mode);
  support::require(mprotect(mapping, kSize, PROT_READ) == 0, "mprotect");
}
void in_protected_unknown(Mode mode) {
  long mapping = syscall(SYS_mmap, 0, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  store_in(reinterpret_cast<void *>(mapping), mode);
  support::require(mprotect(reinterpret_cast<void *>(mapping), kSize, PROT_NONE) == 0, "mprotect");
}
// In front of pages that have no file behind them any more: reading those is SIGBUS.
void in_truncated_file(Mode mode) {
  for (int flags : {MAP_PRIVATE, MAP_SHARED}) {
    int file = temporary_file();
    auto **mapping = static_cast<void **>(map(flags, file));
    support::require(mapping != MAP_FAILED, "mmap");
    for (size_t at = 0; at < kSize; at += 4096) static_cast<char *>(static_cast<void *>(mapping))[at + 8] = 1;
    if (flags == MAP_PRIVATE) mapping[511] = secret(mode);
    support::require(ftruncate(file, 4096) == 0, "ftruncate");
  }
}

// Where threads have access only after they have asked for it (pkeys(7)), on processors that have keys.
void in_keyed(Mode mode) {
  void *mapping = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  store_in(mapping, mode);
  const int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
  if (key > 0) support::require(pkey_mprotect(mapping, kSize, PROT_READ | PROT_WRITE, key) == 0, "pkey_mprotect");
}

// Beside far more address space than anybody has memory, as databases and virtual machines reserve it.
void beside_reserve(Mode mode) {
  constexpr size_t kReserve = size_t{8} << 40;
  void *reserve = mmap(nullptr, kReserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  support::require(reserve != MAP_FAILED, "mmap");
  in_private_anonymous(mode);
}

constexpr support::Case kCases[] = {
    {"reserve", beside_reserve},
    {"unforked", in_unforked},
    {"unforked_shared", in_unforked_shared},
    {"unforked_hole", in_unforked_hole},
    {"unforked_block", in_unforked_block},
    {"unforked_stack", in_unforked_stack},
    {"wiped", in_wiped},
    {"wiped_page", in_wiped_page},
    {"hole", in_hole},
    {"hole_of_block", in_hole_of_block},
    {"protected_file", in_protected_file},
    {"protected_unknown", in_protected_unknown},
    {"truncated_file", in_truncated_file},
    {"keyed", in_keyed},
    {"mmap", in_private_anonymous},
    {"shared_anonymous", in_shared_anonymous},
    {"private_file", in_private_file},
    {"shared_file", in_shared_file},
    {"mremap", in_moved},
    {"heap_neighbour", in_neighbour_of_heap},
    {"code", in_code<1, false>},
    {"writable_code", in_code<4, true>},
};

} // namespace

const std::span<const support::Case> kMappings = kCases;

} // namespace roots
