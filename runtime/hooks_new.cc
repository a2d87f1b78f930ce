// The operators new and delete, in front of whatever definition the program has.
//
// HOOK context. libstdc++'s operators call malloc and free, which are hooked already; tcmalloc, jemalloc and mimalloc
// bring operators of their own that do not. Which kind it is shows in the heap map after a first allocation. Where the
// operators reach malloc, ours are nothing but a jump.
// A C program that loads C++ code later may keep libstdc++ out of the global scope; it is looked up by name then.
#include "runtime/exports.h"
#include "runtime/tracking.h"

#include <dlfcn.h>

namespace castaway {
namespace {

enum Operator {
  kNew,
  kNewArray,
  kNewNothrow,
  kNewArrayNothrow,
  kNewAligned,
  kNewArrayAligned,
  kNewAlignedNothrow,
  kNewArrayAlignedNothrow,
  kDelete,
  kDeleteArray,
  kDeleteSized,
  kDeleteArraySized,
  kDeleteNothrow,
  kDeleteArrayNothrow,
  kDeleteAligned,
  kDeleteArrayAligned,
  kDeleteSizedAligned,
  kDeleteArraySizedAligned,
  kDeleteAlignedNothrow,
  kDeleteArrayAlignedNothrow,
  kOperators
};

// Mangled by the Itanium C++ ABI.
constexpr const char *kNames[kOperators] = {"_Znwm",
                                            "_Znam",
                                            "_ZnwmRKSt9nothrow_t",
                                            "_ZnamRKSt9nothrow_t",
                                            "_ZnwmSt11align_val_t",
                                            "_ZnamSt11align_val_t",
                                            "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                            "_ZnamSt11align_val_tRKSt9nothrow_t",
                                            "_ZdlPv",
                                            "_ZdaPv",
                                            "_ZdlPvm",
                                            "_ZdaPvm",
                                            "_ZdlPvRKSt9nothrow_t",
                                            "_ZdaPvRKSt9nothrow_t",
                                            "_ZdlPvSt11align_val_t",
                                            "_ZdaPvSt11align_val_t",
                                            "_ZdlPvmSt11align_val_t",
                                            "_ZdaPvmSt11align_val_t",
                                            "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                                            "_ZdaPvSt11align_val_tRKSt9nothrow_t"};

// All of them take at most three words; which are meant, the callee knows.
using Function = void *(*)(void *, size_t, size_t);

std::atomic<Function> functions[kOperators];
enum : int { kUnknown, kReachMalloc, kOwnAllocator };
std::atomic<int> way{kUnknown};

Function look_up(Operator which) {
  void *found = next_symbol(kNames[which]);
  constexpr const char *kLibraries[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
  for (const char *library : kLibraries)
    if (!found)
      if (void *handle = dlopen(library, RTLD_NOLOAD | RTLD_LAZY)) {
        found = dlsym(handle, kNames[which]);
        dlclose(handle);
      }
  return reinterpret_cast<Function>(found);
}

// Null where no C++ runtime has this operator: then the caller has none either.
Function next(Operator which) {
  Function function = functions[which].load(std::memory_order_relaxed);
  if (__builtin_expect(function != nullptr, 1)) return function;
  function = look_up(which);
  functions[which].store(function, std::memory_order_relaxed);
  return function;
}

void *allocate(Operator which, void *a, size_t b, size_t c, const void *caller) {
  Function function = next(which);
  size_t size = reinterpret_cast<size_t>(a);
  if (!function) return malloc(size);
  // Own allocators align only what is 16 bytes or longer.
  int now = way.load(std::memory_order_relaxed);
  if (now == kReachMalloc) return function(a, b, c);
  size_t asked = size < HeapMap::kGranule ? HeapMap::kGranule : size;
  void *block = function(reinterpret_cast<void *>(asked), b, c);
  if (!block) return block;
  if (now == kUnknown) {
    bool seen = static_cast<bool>(heap_map.decode(reinterpret_cast<uintptr_t>(block)));
    way.store(now = seen ? kReachMalloc : kOwnAllocator, std::memory_order_relaxed);
    // It was noted on its way through malloc, with the length that we asked for.
    if (seen && asked != size) forget_block(block), note_block(block, size, caller);
  }
  if (now == kOwnAllocator) note_block(block, size, caller);
  return block;
}

void release(Operator which, void *block, size_t b, size_t c) {
  Function function = next(which);
  if (!function) return free(block);
  if (block && way.load(std::memory_order_relaxed) != kReachMalloc) forget_block(block);
  function(block, b, c);
}

// Sized forms get the size that was asked of the allocator.
size_t asked_size(size_t size) {
  return way.load(std::memory_order_relaxed) == kOwnAllocator && size < HeapMap::kGranule ? HeapMap::kGranule : size;
}

} // namespace
} // namespace castaway

using namespace castaway;

#define NEW1(name, which)                                                                                              \
  EXPORT void *name(size_t size) {                                                                                     \
    return allocate(which, reinterpret_cast<void *>(size), 0, 0, __builtin_return_address(0));                         \
  }
#define NEW2(name, which)                                                                                              \
  EXPORT void *name(size_t size, size_t b) {                                                                           \
    return allocate(which, reinterpret_cast<void *>(size), b, 0, __builtin_return_address(0));                         \
  }
#define NEW3(name, which)                                                                                              \
  EXPORT void *name(size_t size, size_t b, size_t c) {                                                                 \
    return allocate(which, reinterpret_cast<void *>(size), b, c, __builtin_return_address(0));                         \
  }
#define DELETE1(name, which)                                                                                           \
  EXPORT void name(void *block) { release(which, block, 0, 0); }
#define DELETE2(name, which)                                                                                           \
  EXPORT void name(void *block, size_t b) { release(which, block, b, 0); }
#define DELETE3(name, which)                                                                                           \
  EXPORT void name(void *block, size_t b, size_t c) { release(which, block, b, c); }
#define DELETE_SIZED(name, which)                                                                                      \
  EXPORT void name(void *block, size_t size) { release(which, block, asked_size(size), 0); }
#define DELETE_SIZED_ALIGNED(name, which)                                                                              \
  EXPORT void name(void *block, size_t size, size_t c) { release(which, block, asked_size(size), c); }

NEW1(_Znwm, kNew)
NEW1(_Znam, kNewArray)
NEW2(_ZnwmRKSt9nothrow_t, kNewNothrow)
NEW2(_ZnamRKSt9nothrow_t, kNewArrayNothrow)
NEW2(_ZnwmSt11align_val_t, kNewAligned)
NEW2(_ZnamSt11align_val_t, kNewArrayAligned)
NEW3(_ZnwmSt11align_val_tRKSt9nothrow_t, kNewAlignedNothrow)
NEW3(_ZnamSt11align_val_tRKSt9nothrow_t, kNewArrayAlignedNothrow)
DELETE1(_ZdlPv, kDelete)
DELETE1(_ZdaPv, kDeleteArray)
DELETE_SIZED(_ZdlPvm, kDeleteSized)
DELETE_SIZED(_ZdaPvm, kDeleteArraySized)
DELETE2(_ZdlPvRKSt9nothrow_t, kDeleteNothrow)
DELETE2(_ZdaPvRKSt9nothrow_t, kDeleteArrayNothrow)
DELETE2(_ZdlPvSt11align_val_t, kDeleteAligned)
DELETE2(_ZdaPvSt11align_val_t, kDeleteArrayAligned)
DELETE_SIZED_ALIGNED(_ZdlPvmSt11align_val_t, kDeleteSizedAligned)
DELETE_SIZED_ALIGNED(_ZdaPvmSt11align_val_t, kDeleteArraySizedAligned)
DELETE3(_ZdlPvSt11align_val_tRKSt9nothrow_t, kDeleteAlignedNothrow)
DELETE3(_ZdaPvSt11align_val_tRKSt9nothrow_t, kDeleteArrayAlignedNothrow)
