// Hooks that do nothing: malloc is called and returns, as every hook's has to that wants to see the block; free is
// jumped to. Preloaded, they show what hooks cost at the least, and how much of that is left to do something.
#include <cstddef>

#define EXPORT extern "C" __attribute__((visibility("default")))

extern "C" void *__libc_malloc(size_t size); // glibc's other names for them
extern "C" void __libc_free(void *block);

EXPORT void *malloc(size_t size) {
  void *block = __libc_malloc(size);
  asm volatile("" : : "r"(block)); // or it would be a jump as well
  return block;
}

EXPORT void free(void *block) { __libc_free(block); }
