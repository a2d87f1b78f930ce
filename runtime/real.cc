// Finding the functions behind the hooks; see real.h.
#include "runtime/real.h"

#include "runtime/config.h"
#include "runtime/direct_calls.h"
#include "runtime/tracking.h"

#include <cstdint>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <unistd.h>

namespace castaway {

constinit Real real{};

namespace {

enum : int { kUnresolved, kResolving, kResolved };
std::atomic<int> state{kUnresolved};

template <typename F> void find(F &function, const char *name) { function = reinterpret_cast<F>(next_symbol(name)); }

// The span of addresses of the module whose ELF header is at `base`.
Range module_range(uintptr_t base) {
  if (base == 0) return {};
  const auto *header = reinterpret_cast<const ElfW(Ehdr) *>(base);
  const auto *segment = reinterpret_cast<const ElfW(Phdr) *>(base + header->e_phoff);
  uintptr_t end = 0;
  for (int i = 0; i < header->e_phnum; ++i)
    if (segment[i].p_type == PT_LOAD && segment[i].p_vaddr + segment[i].p_memsz > end)
      end = segment[i].p_vaddr + segment[i].p_memsz;
  return {base, header->e_type == ET_DYN ? base + end : end};
}

Range module_of(const void *address) {
  Dl_info info;
  return dladdr(address, &info) ? module_range(reinterpret_cast<uintptr_t>(info.dli_fbase)) : Range{};
}

} // namespace

void *next_symbol(const char *name) { return dlsym(RTLD_NEXT, name); }

bool resolve_real() {
  int expected = kUnresolved;
  if (!state.compare_exchange_strong(expected, kResolving)) return expected == kResolved;
  real.loader = module_range(getauxval(AT_BASE));
  Real found = real;
  find(found.calloc, "calloc");
  find(found.free, "free");
  find(found.realloc, "realloc");
  find(found.memalign, "memalign");
  find(found.aligned_alloc, "aligned_alloc");
  find(found.posix_memalign, "posix_memalign");
  find(found.valloc, "valloc");
  find(found.pvalloc, "pvalloc");
  find(found.malloc_usable_size, "malloc_usable_size");
  find(found.reallocarray, "reallocarray");
  find(found.free_sized, "free_sized");
  find(found.free_aligned_sized, "free_aligned_sized");
  find(found.mmap, "mmap");
  find(found.munmap, "munmap");
  find(found.mremap, "mremap");
  find(found.mlockall, "mlockall");
  find(found.pthread_create, "pthread_create");
  find(found.sigaltstack, "sigaltstack");
  find(found.dlclose, "dlclose");
  find(found.malloc, "malloc");
  found.allocator = module_of(reinterpret_cast<void *>(found.malloc));
  Range libc = module_of(reinterpret_cast<void *>(found.pthread_create));
  if (found.allocator.begin != libc.begin) found.foreign_allocator = found.allocator;
  real = found;
  hot.malloc = real.malloc;
  hot.free = real.free;
  make_calls_direct();
  if (!has_address_space()) stop_tracking();
  start_tracking();
  // Blocks from before our own start count too: libraries allocate in their constructors.
  Config early;
  Text<512> ignored;
  if (!read_config(environ, early, ignored)) tracking.sample_bytes = early.sample_bytes;
  state.store(kResolved, std::memory_order_release);
  return true;
}

} // namespace castaway
