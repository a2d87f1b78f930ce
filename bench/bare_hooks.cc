// Hooks that do nothing: malloc is called and returns, as every hook's has to that wants to see the block; free is
// jumped to. Preloaded, they show what hooks cost at the least whose branches are through pointers, as a linker makes
// them: castaway's are made direct ones (runtime/direct_calls.h), and have that much more time to do something.
#include <cstddef>

extern "C" {

void *__libc_malloc(size_t size); // glibc's other names for them
void __libc_free(void *block);

void *malloc(size_t size) {
  void *block = __libc_malloc(size);
  asm volatile("" : : "r"(block)); // or it would be a jump as well
  return block;
}

void free(void *block) { __libc_free(block); }

} // extern "C"
