// The allocation hooks: malloc and its family, in front of whatever allocator the program has.
//
// HOOK context. One shape each: forward to the definition that the program would have got without us, then note the
// block; or forget the block, then forward. Ordering invariants, both needed for the truth of a report:
//   - a block is noted after the allocator has handed it out and forgotten before the allocator gets it back, so the
//     map never claims memory that the allocator may give to another thread;
//   - between the two ends of a realloc the block is in the map under neither address; `in_transition` says so, and a
//     safepoint waits until the thread is through.
// errno is left as the allocator left it.
#include "runtime/exports.h"
#include "runtime/side_table.h"
#include "runtime/tracking.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace castaway {
namespace {

// Every allocator aligns requests of 16 bytes and more to 16, which the heap map relies on.
size_t at_least_granule(size_t size) { return size < HeapMap::kGranule ? HeapMap::kGranule : size; }

// Memory for what the loader asks for while the real functions are being looked up. Never given back.
alignas(16) char bootstrap[64 << 10];
std::atomic<size_t> bootstrap_used;

void *bootstrap_allocate(size_t size) {
  size = (size + 15) & ~size_t{15};
  size_t at = bootstrap_used.fetch_add(size, std::memory_order_relaxed);
  return at + size <= sizeof bootstrap ? bootstrap + at : nullptr;
}
bool is_bootstrap(const void *block) {
  return block >= static_cast<void *>(bootstrap) && block < static_cast<void *>(bootstrap + sizeof bootstrap);
}

// False only inside dlsym, on the way to the real functions.
inline bool ready() { return __builtin_expect(hot.malloc != nullptr, 1) || resolve_real(); }

#define CALLER __builtin_return_address(0)

[[gnu::always_inline]] inline void *noted(void *block, size_t size, const void *caller) {
  if (block) note_block(block, size, caller);
  return block;
}

} // namespace

// From the loader, before the real functions are known, where profiling is off, or while large sizes are dense.
[[gnu::noinline]] void *malloc_unusual(size_t size, const void *caller) {
  if (!ready()) return bootstrap_allocate(size);
  void *block = hot.malloc(at_least_granule(size));
  return block ? note_slowly(block, size, caller) : nullptr;
}

// A block of one granule, or an empty one. malloc() jumps here, so that its caller is this one's.
[[gnu::noinline, gnu::hot]] void *malloc_short(size_t size) {
  if (size > HeapMap::kGranule) __builtin_unreachable(); // malloc() has asked
  void *block = hot.malloc(HeapMap::kGranule);
  return !block || note_plain(block, size) ? block : note_slowly(block, size, CALLER);
}

// A longer one than the codes of small ones say; in the same way.
[[gnu::noinline, gnu::hot]] void *malloc_large(size_t size) {
  if (size <= HeapMap::kSmallBytes) __builtin_unreachable(); // malloc() has asked
  if (sampling::large_are_dense()) return malloc_unusual(size, CALLER);
  void *block = hot.malloc(size);
  return !block || note_large(block, size, size) ? block : note_rarely(block, size, CALLER);
}

// Large, flagged, unknown, or none at all. free() jumps here.
[[gnu::noinline, gnu::hot]] void free_slowly(void *block) {
  if (!block) return;
  if (heap_map.erase_large_plain(reinterpret_cast<uintptr_t>(block))) return hot.free(block);
  if (forget_block(block) || (!is_bootstrap(block) && hot.free)) hot.free(block);
}

namespace {

void *reallocate(void *block, size_t size, const void *caller) {
  if (is_bootstrap(block)) { // its length is not known: copy what there may be
    void *fresh = noted(hot.malloc(at_least_granule(size)), size, caller);
    size_t most = static_cast<size_t>(bootstrap + sizeof bootstrap - static_cast<char *>(block));
    return fresh ? std::memcpy(fresh, block, size < most ? size : most) : nullptr;
  }
  ThreadState &thread = this_thread;
  thread.in_transition = 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  Block old = heap_map.erase(reinterpret_cast<uintptr_t>(block));
  SideEntry entry = old.flagged ? side_table::take(old.begin) : SideEntry{};
  void *fresh = real.realloc(block, size ? at_least_granule(size) : 0);
  if (!fresh && size != 0) { // a failed realloc leaves the old block as it was
    if (old) heap_map.insert(old.begin, old.size, entry.begin != 0 && side_table::put(entry));
  } else if (entry.marks & SideEntry::kReported) {
    count_refuted();
  }
  if (fresh) note_block(fresh, size, caller);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  thread.in_transition = 0;
  return fresh;
}

// The block at `begin`, of any kind, is at least `usable` bytes long.
[[gnu::noinline]] void grow(uintptr_t begin, size_t usable) {
  Block known = heap_map.decode(begin);
  if (!known || usable <= known.granule_end() - begin) return;
  this_thread.in_transition = 1; // a large block's entry is more than one store
  heap_map.insert(begin, usable, known.flagged);
  this_thread.in_transition = 0;
}

} // namespace
} // namespace castaway

using namespace castaway;

// The two that matter are written for it: everything rare is behind one test, at the end or in a function of its own.
// tests/e2e/hook_cost_test.cc counts their instructions.
#if defined(__x86_64__)
// They are in hooks_x86_64.S, which knows these:
static_assert(offsetof(Hot, slow_callers_begin) == 0 && offsetof(Hot, slow_callers_length) == 8);
static_assert(offsetof(Hot, malloc) == 16 && offsetof(Hot, free) == 24 && offsetof(Hot, costs) == 36);
static_assert(sizeof(Hot::costs[0]) == 4 && offsetof(ThreadState, sampler.until_sample) == 0);
static_assert(HeapMap::kLeaves == 0x200000 && HeapMap::kLeafBits == 26 && HeapMap::kGranuleBits == 4);
static_assert(HeapMap::is_medium(17) && !HeapMap::is_medium(16));
static_assert(HeapMap::is_medium(17 + 1743) && !HeapMap::is_medium(17 + 1744));
static_assert(HeapMap::small_code(17) == 0x8112 && HeapMap::small_code(64) == 0x8014);
static_assert(HeapMap::small_code(17 + 1743) == 0x8012 + 0x6c && HeapMap::small_code(64, true) == 0x9014);
static_assert(std::is_standard_layout_v<HeapMap>); // so that the map begins with its first member
#else
EXPORT [[gnu::aligned(64), gnu::hot]] void *malloc(size_t size) {
  if (is_slow_caller(CALLER)) return malloc_unusual(size, CALLER);
  if (!HeapMap::is_medium(size)) return size > HeapMap::kGranule ? malloc_large(size) : malloc_short(size);
  void *block = hot.malloc(size);
  if (block && !note_plain(block, size)) return note_rarely(block, size, CALLER);
  return block;
}

EXPORT [[gnu::aligned(64), gnu::hot]] void free(void *block) {
  if (__builtin_expect(heap_map.erase_plain(reinterpret_cast<uintptr_t>(block)), 1)) return hot.free(block);
  free_slowly(block);
}
#endif

EXPORT void *calloc(size_t count, size_t size) {
  if (!ready()) return bootstrap_allocate(count * size); // static memory: zero
  size_t total;
  // On overflow the allocator says no in its own way.
  if (__builtin_mul_overflow(count, size, &total)) return real.calloc(count, size);
  if (total < HeapMap::kGranule) return noted(real.calloc(1, HeapMap::kGranule), total, CALLER);
  return noted(real.calloc(count, size), total, CALLER);
}

EXPORT void *realloc(void *block, size_t size) {
  if (!ready()) return bootstrap_allocate(size);
  if (!block) return noted(real.realloc(nullptr, at_least_granule(size)), size, CALLER);
  return reallocate(block, size, CALLER);
}

EXPORT void *reallocarray(void *block, size_t count, size_t size) {
  if (real.carried_free) return real.reallocarray(block, count, size); // libc's leads to the program's realloc
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) {
    errno = ENOMEM;
    return nullptr;
  }
  if (!ready()) return bootstrap_allocate(total);
  if (!block) return noted(real.realloc(nullptr, at_least_granule(total)), total, CALLER);
  return reallocate(block, total, CALLER);
}

EXPORT void *memalign(size_t alignment, size_t size) {
  if (!ready()) return nullptr;
  return noted(real.memalign(at_least_granule(alignment), at_least_granule(size)), size, CALLER);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
  if (!ready()) return nullptr;
  return noted(
      real.aligned_alloc(alignment < 16 && (alignment & (alignment - 1)) == 0 ? 16 : alignment, at_least_granule(size)),
      size, CALLER);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size) {
  if (!ready()) return ENOMEM;
  bool valid = alignment % sizeof(void *) == 0 && (alignment & (alignment - 1)) == 0 && alignment != 0;
  int result = real.posix_memalign(out, valid ? at_least_granule(alignment) : alignment, at_least_granule(size));
  if (result == 0) note_block(*out, size, CALLER);
  return result;
}

EXPORT void *valloc(size_t size) {
  if (!ready()) return nullptr;
  return noted(real.valloc(at_least_granule(size)), size, CALLER);
}

EXPORT void *pvalloc(size_t size) {
  if (!ready()) return nullptr;
  return noted(real.pvalloc(at_least_granule(size)), size, CALLER);
}

// A program that asks may use what it is told: from here on that is the block's length.
EXPORT [[gnu::hot]] size_t malloc_usable_size(void *block) {
  if (!block || !ready() || is_bootstrap(block)) return 0;
  size_t usable = real.malloc_usable_size(block);
  // Some ask for each block, twice: usually there is little or nothing to do.
  if (!HeapMap::is_medium(usable) || !heap_map.grow_plain(reinterpret_cast<uintptr_t>(block), usable))
    grow(reinterpret_cast<uintptr_t>(block), usable);
  return usable;
}

EXPORT void free_sized(void *block, size_t size) {
  if (real.carried_free) return real.carried_free(block);
  if (!real.free_sized) return free(block);
  if (!block) return;
  forget_block(block);
  // We may have asked for more than the program did.
  real.free_sized(block, at_least_granule(size));
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t size) {
  if (real.carried_free) return real.carried_free(block);
  if (!real.free_aligned_sized) return free(block);
  if (!block) return;
  forget_block(block);
  real.free_aligned_sized(block, at_least_granule(alignment), at_least_granule(size));
}
