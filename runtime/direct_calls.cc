// Direct calls for the allocator's functions; see direct_calls.h.
//
// The code is written through /proc/self/mem, as a debugger sets a breakpoint: its page never becomes writable, which
// hardened systems deny or take for an attack, and nobody else who has the file mapped sees anything. Where the kernel
// does not allow that either (proc_mem.force_override, Linux 6.12), or the allocator is too far away, calls stay
// indirect.
#include "runtime/direct_calls.h"

#include "runtime/hot.h"
#include "runtime/sys.h"

#include <cstring>

#if defined(__x86_64__)

extern "C" {
// In hooks_x86_64.S: the distances from here to `call *hot.malloc` and `jmp *hot.free`.
[[gnu::visibility("hidden")]] extern const int32_t castaway_branches[2];
}

namespace castaway {

namespace {

constexpr size_t kSize = 6; // of an indirect branch through a pointer near by

// The two bytes that an indirect branch begins with, and what a linker makes of it when it knows better (x86-64 psABI,
// "Optimize GOTPCRELX Relocations"): a call keeps its end, where it returns to; behind a jump nothing is executed.
struct Branch {
  unsigned char indirect[2];
  unsigned char direct[2];
  size_t length; // of `direct`
};
constexpr Branch kCall = {{0xff, 0x15}, {0x67, 0xe8}, 2}; // an address size prefix, which changes nothing
constexpr Branch kJump = {{0xff, 0x25}, {0xe9}, 1};

void rewrite(int memory, uintptr_t at, const Branch &branch, uintptr_t to) {
  unsigned char code[kSize] = {};
  if (sys::call(SYS_pread64, memory, code, kSize, at) != kSize || std::memcmp(code, branch.indirect, 2) != 0) return;
  const auto distance = static_cast<intptr_t>(to - (at + branch.length + sizeof(int32_t)));
  const auto offset = static_cast<int32_t>(distance);
  if (offset != distance) return;
  std::memset(code, 0xcc, kSize);
  std::memcpy(code, branch.direct, branch.length);
  std::memcpy(code + branch.length, &offset, sizeof offset);
  sys::call(SYS_pwrite64, memory, code, kSize, at);
}

} // namespace

void make_calls_direct() {
  int memory = sys::open_at(AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (memory < 0) return;
  const auto from = reinterpret_cast<uintptr_t>(castaway_branches);
  rewrite(memory, from + castaway_branches[0], kCall, reinterpret_cast<uintptr_t>(hot.malloc));
  rewrite(memory, from + castaway_branches[1], kJump, reinterpret_cast<uintptr_t>(hot.free));
  sys::close(memory);
}

} // namespace castaway

#else

namespace castaway {
void make_calls_direct() {}
} // namespace castaway

#endif
