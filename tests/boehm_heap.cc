// Boehm's collector, kept from seeing anything but our roots; see boehm_heap.h.
#include "tests/boehm_heap.h"

#include <cstdlib>
#include <cstring>

#define GC_THREADS // as the library was built
#include <gc/gc.h>
#include <gc/gc_mark.h>
#include <sys/mman.h>
#include <vector>

namespace castaway::testing::boehm {

namespace {

constexpr size_t kRoots = 4096;

std::span<const uintptr_t> asked;
std::vector<bool> reached;

// When marking is over and nothing has been swept: later, the marks of pages that are free are gone with their headers.
void read_marks(GC_EventType event) {
  if (event != GC_EVENT_MARK_END) return;
  for (size_t i = 0; i < asked.size(); ++i) reached[i] = GC_is_marked(reinterpret_cast<void *>(asked[i])) != 0;
}

Range start() {
  GC_set_no_dls(1);
  GC_set_all_interior_pointers(1);
  GC_set_markers_count(1);
  GC_INIT();
  GC_clear_roots(); // the modules' data
  GC_disable();
  GC_set_on_collection_event(read_marks);
  void *memory = mmap(nullptr, kRoots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  char *begin = static_cast<char *>(memory);
  GC_add_roots(begin, begin + kRoots);
  return {reinterpret_cast<uintptr_t>(begin), reinterpret_cast<uintptr_t>(begin) + kRoots};
}

// What earlier calls have left where the collector's own frames will be.
[[gnu::noinline]] void scrub_stack() {
  char room[256 << 10];
  memset(room, 0, sizeof room);
  asm volatile("" : : "r"(room) : "memory");
}

// The stack, as the collector sees it, begins with this function. Below it are the collector's own frames, which it
// reads in any case.
[[gnu::noinline]] void collect_from_here() {
  GC_stack_base whole, none = {};
  void *thread = GC_get_my_stackbottom(&whole);
  none.mem_base = __builtin_frame_address(0);
  GC_set_stackbottom(thread, &none);
  GC_gcollect();
  GC_set_stackbottom(thread, &whole);
}

} // namespace

Range roots() {
  static Range range = start();
  return range;
}

uintptr_t allocate(size_t size) {
  roots();
  auto block = reinterpret_cast<uintptr_t>(GC_MALLOC(size));
  if (!block) abort();
  return block;
}
void release(uintptr_t block) { GC_FREE(reinterpret_cast<void *>(block)); }
size_t slot_size(uintptr_t block) { return GC_size(reinterpret_cast<void *>(block)); }

std::set<uintptr_t> collect(std::span<const uintptr_t> blocks) {
  asked = blocks;
  reached.assign(blocks.size(), false);
  GC_enable();
  scrub_stack();
#if defined(__x86_64__)
  asm volatile("xor %%ebx, %%ebx\n xor %%r12d, %%r12d\n xor %%r13d, %%r13d\n xor %%r14d, %%r14d\n xor %%r15d, %%r15d"
               :
               :
               : "rbx", "r12", "r13", "r14", "r15", "memory");
#endif
  collect_from_here();
  GC_disable();
  std::set<uintptr_t> found;
  for (size_t i = 0; i < blocks.size(); ++i)
    if (reached[i]) found.insert(blocks[i]);
  return found;
}

} // namespace castaway::testing::boehm
