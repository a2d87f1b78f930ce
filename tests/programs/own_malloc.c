// An allocator inside of the executable, which nothing can see from outside: it never frees, and it counts on its
// symbols being the first that the loader finds.
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

static char *next, *end;
static int busy;

static void *take_bytes(size_t alignment, size_t size) {
  while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
  }
  size_t need = size + alignment + 16;
  if (!next || (size_t)(end - next) < need) {
    size_t chunk = need > (1 << 20) ? need : 1 << 20;
    next = mmap(NULL, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    end = next + chunk;
  }
  char *block = (char *)(((size_t)next + 16 + alignment - 1) & ~(alignment - 1));
  ((size_t *)block)[-1] = size;
  next = block + size;
  __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
  return block;
}

void *malloc(size_t size) { return take_bytes(16, size); }
void free(void *memory) { (void)memory; }
void *calloc(size_t count, size_t size) { return take_bytes(16, count * size); } // fresh mappings are zeroed
void *memalign(size_t alignment, size_t size) { return take_bytes(alignment < 16 ? 16 : alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = memalign(alignment, size);
  return 0;
}
void *valloc(size_t size) { return memalign(4096, size); }
void *pvalloc(size_t size) { return memalign(4096, size); }

void *realloc(void *memory, size_t size) {
  void *fresh = malloc(size);
  if (memory) {
    size_t old = ((size_t *)memory)[-1];
    memcpy(fresh, memory, old < size ? old : size);
  }
  return fresh;
}
size_t malloc_usable_size(void *memory) { return memory ? ((size_t *)memory)[-1] : 0; }
