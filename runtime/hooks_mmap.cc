// The mapping hooks: mmap, mremap, munmap, see mappings.h for why; and mlockall, see memory.h. HOOK context.
#include "runtime/exports.h"
#include "runtime/mappings.h"
#include "runtime/memory.h"
#include "runtime/real.h"
#include "runtime/sys.h"
#include "runtime/tracking.h"

#include <cstdarg>
#include <cstdint>
#include <sys/mman.h>

namespace castaway {

constinit RangeSet application_memory;
constinit RangeSet allocator_memory;

namespace {

constexpr size_t kPage = 4096;

Range pages(void *at, size_t size) {
  uintptr_t begin = reinterpret_cast<uintptr_t>(at);
  return {begin, begin + ((size + kPage - 1) & ~(kPage - 1))};
}

void note_mapping(Range range, const void *caller) {
  if (!tracking.on) return;
  bool allocator = real.allocator.contains(reinterpret_cast<uintptr_t>(caller));
  (allocator ? allocator_memory : application_memory).add(range);
  (allocator ? application_memory : allocator_memory).remove(range);
}

// The system call itself, while the real functions are not known: an allocator that the program brings may map memory
// under a lock of its own, and looking up names allocates.
template <typename Result, typename... Args> Result raw(long number, Args... arguments) {
  long result = sys::call(number, arguments...);
  if (result > -4096 && result < 0) errno = static_cast<int>(-result), result = -1;
  return (Result)result; // NOLINT: an address or a number
}

void forget_mapping(Range range) {
  if (!tracking.on) return;
  application_memory.remove(range);
  allocator_memory.remove(range);
}

// Mappings from before the allocator's module is known, in a process that still has one thread.
struct EarlyMapping {
  Range range;
  const void *caller;
};
constexpr size_t kMostEarly = 64;
EarlyMapping early_mappings[kMostEarly];
size_t early_count;

} // namespace

void classify_early_mappings() {
  for (size_t i = 0; i < early_count; ++i)
    if (real.allocator.contains(reinterpret_cast<uintptr_t>(early_mappings[i].caller)))
      allocator_memory.add(early_mappings[i].range);
}

} // namespace castaway

using namespace castaway;

EXPORT void *mmap(void *hint, size_t size, int protection, int flags, int fd, off_t offset) {
  if (!real.mmap) {
    void *early = raw<void *>(SYS_mmap, hint, size, protection, flags, fd, offset);
    if (early != MAP_FAILED && early_count < kMostEarly)
      early_mappings[early_count++] = {pages(early, size), __builtin_return_address(0)};
    return early;
  }
  void *at = real.mmap(hint, size, protection, flags, fd, offset);
  // Files and shared memory are known for what they are from /proc/PID/maps.
  if (at == MAP_FAILED) return at;
  if ((flags & MAP_ANONYMOUS) && (flags & MAP_TYPE) == MAP_PRIVATE)
    note_mapping(pages(at, size), __builtin_return_address(0));
  else if (flags & MAP_FIXED)
    forget_mapping(pages(at, size));
  return at;
}

EXPORT void *mmap64(void *hint, size_t size, int protection, int flags, int fd, off_t offset)
    __attribute__((alias("mmap")));

EXPORT int munmap(void *at, size_t size) {
  if (!real.munmap) return raw<int>(SYS_munmap, at, size);
  // Forgotten first: afterwards the addresses may be somebody else's.
  forget_mapping(pages(at, size));
  return real.munmap(at, size);
}

EXPORT void *mremap(void *old, size_t old_size, size_t size, int flags, ...) {
  void *target = nullptr;
  if (flags & MREMAP_FIXED) {
    va_list arguments;
    va_start(arguments, flags);
    target = va_arg(arguments, void *);
    va_end(arguments);
  }
  if (!real.mremap) return raw<void *>(SYS_mremap, old, old_size, size, flags, target);
  void *at = real.mremap(old, old_size, size, flags, target);
  if (at == MAP_FAILED) return at;
  constexpr int kDontUnmap = 4; // MREMAP_DONTUNMAP, Linux 5.7
  if (at != old && !(flags & kDontUnmap)) forget_mapping(pages(old, old_size));
  note_mapping(pages(at, size), __builtin_return_address(0));
  return at;
}

EXPORT int mlockall(int flags) noexcept {
  if (flags & MCL_FUTURE) expect_locking();
  const int result = real.mlockall ? real.mlockall(flags) : raw<int>(SYS_mlockall, flags);
  if (result == 0 && (flags & MCL_CURRENT)) unlock_own_memory(); // system calls of ours leave errno alone
  return result;
}
