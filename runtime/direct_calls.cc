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
// In hooks_x86_64.S: `call *hot.malloc` and `jmp *hot.free`, six bytes each.
[[gnu::visibility("hidden")]] extern unsigned char castaway_call_of_malloc[], castaway_jump_to_free[];
}

namespace castaway {

namespace {

constexpr size_t kSize = 6; // of an indirect branch through a pointer near by

// What a linker makes of such branches when it knows better (x86-64 psABI, "Optimize GOTPCRELX Relocations"): a call
// keeps its end, where it returns to; behind a jump nothing is executed.
constexpr unsigned char kCall[] = {0x67, 0xe8}; // an address size prefix, which changes nothing
constexpr unsigned char kJump[] = {0xe9};

template <size_t length>
void write_branch(int memory, const unsigned char *at, const unsigned char (&opcode)[length], uintptr_t to) {
  const intptr_t distance = static_cast<intptr_t>(to - (reinterpret_cast<uintptr_t>(at) + length + sizeof(int32_t)));
  if (distance != static_cast<int32_t>(distance)) return;
  const auto offset = static_cast<int32_t>(distance);
  unsigned char code[kSize] = {0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc};
  std::memcpy(code, opcode, length);
  std::memcpy(code + length, &offset, sizeof offset);
  sys::call(SYS_pwrite64, memory, code, kSize, at);
}

} // namespace

void make_calls_direct() {
  int memory = sys::open_at(AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (memory < 0) return;
  write_branch(memory, castaway_call_of_malloc, kCall, reinterpret_cast<uintptr_t>(hot.malloc));
  write_branch(memory, castaway_jump_to_free, kJump, reinterpret_cast<uintptr_t>(hot.free));
  sys::close(memory);
}

} // namespace castaway

#else

namespace castaway {
void make_calls_direct() {}
} // namespace castaway

#endif
