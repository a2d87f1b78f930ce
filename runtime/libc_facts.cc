// What is known of the libc in the target; see libc_facts.h.
#include "runtime/libc_facts.h"

#include "runtime/arch.h"
#include "runtime/cfi.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string_view>

namespace castaway {

constinit LibcFacts libc_facts{};

namespace {

constexpr size_t kPage = 4096;

// The functions in which threads wait without timeout, by name. What one of them leads to with a jump (glibc puts slow
// paths into functions of their own, without a name in the library) counts as the same.
struct WaitFunction {
  const char *name;
  WaitKind kind;
};
constexpr WaitFunction kWaitFunctions[] = {
    {"pthread_mutex_lock", WaitKind::mutex},
    {"pthread_mutex_timedlock", WaitKind::mutex},
    {"pthread_mutex_clocklock", WaitKind::mutex},
    {"pthread_cond_wait", WaitKind::cond},
    {"pthread_cond_timedwait", WaitKind::cond},
    {"pthread_cond_clockwait", WaitKind::cond},
    {"pthread_rwlock_rdlock", WaitKind::rwlock},
    {"pthread_rwlock_wrlock", WaitKind::rwlock},
    {"pthread_rwlock_timedrdlock", WaitKind::rwlock},
    {"pthread_rwlock_timedwrlock", WaitKind::rwlock},
    {"sem_wait", WaitKind::sem},
    {"sem_timedwait", WaitKind::sem},
    {"sem_clockwait", WaitKind::sem},
    {"pthread_barrier_wait", WaitKind::barrier},
    {"pthread_join", WaitKind::join},
    {"pthread_once", WaitKind::once},
};
constexpr size_t kMostJumps = 2;

struct Known {
  Range code;
  WaitKind kind;
  bool locks_mutex;
};
constexpr size_t kMostKnown = (sizeof kWaitFunctions / sizeof *kWaitFunctions) * (1 + kMostJumps);
Known known[kMostKnown];
size_t known_count;

void add(Range code, WaitKind kind, const char *name) {
  for (size_t i = 0; i < known_count; ++i)
    if (known[i].code.begin == code.begin) return;
  if (known_count < kMostKnown) known[known_count++] = {code, kind, std::string_view(name) == "pthread_mutex_lock"};
}

void learn_wait_function(const WaitFunction &function) {
  void *at = dlsym(RTLD_NEXT, function.name);
  if (!at) return;
  Range code = function_at(reinterpret_cast<uintptr_t>(at));
  if (code.empty()) return;
  add(code, function.kind, function.name);
  size_t jumps = 0;
  for (uintptr_t pc = code.begin; pc + arch::kJumpSize <= code.end && jumps < kMostJumps; ++pc) {
    uintptr_t target = arch::jump_target(reinterpret_cast<const uint8_t *>(pc));
    // Any byte can look like a jump; one that leads to the first byte of a function is one.
    if (target == 0 || code.contains(target) || !libc_facts.code.contains(target)) continue;
    Range there = function_at(target);
    if (there.begin == target) add(there, function.kind, function.name), ++jumps;
  }
}

const Known *find(uintptr_t pc) {
  for (size_t i = 0; i < known_count; ++i)
    if (known[i].code.contains(pc)) return &known[i];
  return nullptr;
}

// glibc keeps the heads of its free lists, two words each, in an array of 127 in its writable segment; an empty one
// points 16 bytes before itself, twice. This early nearly all are empty.
Range find_main_arena(Range data) {
  constexpr size_t kHeads = 127, kHeadBytes = 16;
  constexpr size_t kBefore = 16 + 80 + 16; // mutex and flags, fast lists, top and last remainder
  constexpr size_t kAfter = 64;            // which lists are in use, links to other arenas, sizes
  auto is_empty_head = [](uintptr_t at) {
    const auto *words = reinterpret_cast<const uintptr_t *>(at);
    return words[0] == at - 16 && words[1] == at - 16;
  };
  for (uintptr_t at = (data.begin + 15) & ~uintptr_t{15}; at + kHeads * kHeadBytes <= data.end; at += 16) {
    size_t empty = 0;
    if (!is_empty_head(at)) continue;
    for (size_t i = 0; i < kHeads; ++i) empty += is_empty_head(at + i * kHeadBytes);
    if (empty > kHeads / 2) return {at - kBefore, at + kHeads * kHeadBytes + kAfter};
  }
  return {};
}

// Segments of the module whose ELF header is at `base`: its code, or its writable data.
Range segment(uintptr_t base, uint32_t flag) {
  const auto *header = reinterpret_cast<const ElfW(Ehdr) *>(base);
  const auto *segments = reinterpret_cast<const ElfW(Phdr) *>(base + header->e_phoff);
  for (int i = 0; i < header->e_phnum; ++i)
    if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & flag))
      return {base + segments[i].p_vaddr, base + segments[i].p_vaddr + segments[i].p_memsz};
  return {};
}

} // namespace

void learn_libc_facts() {
  void *wait = dlsym(RTLD_NEXT, "pthread_cond_wait");
  Dl_info info;
  if (!wait || !dladdr(wait, &info)) return;
  uintptr_t base = reinterpret_cast<uintptr_t>(info.dli_fbase);
  libc_facts.code = segment(base, PF_X);
  Range data = segment(base, PF_W);
  // The first pages of it are made read-only after loading; they are readable all the same.
  libc_facts.main_arena = find_main_arena(data);

  // For debuggers: the size of the descriptor; for sanitizers: the size of the static TLS.
  if (auto *size = static_cast<const uint32_t *>(dlsym(RTLD_NEXT, "_thread_db_sizeof_pthread")))
    libc_facts.descriptor_size = *size;
  if (libc_facts.descriptor_size < 256 || libc_facts.descriptor_size > 64 * kPage) libc_facts.descriptor_size = kPage;
  struct Field { // libthread_db's description of a member
    uint32_t bits, count, offset;
  };
  auto *tid = static_cast<const Field *>(dlsym(RTLD_NEXT, "_thread_db_pthread_tid"));
  if (tid && tid->bits == 32 && tid->offset + sizeof(int32_t) <= libc_facts.descriptor_size)
    libc_facts.tid_offset = tid->offset;
  using TlsInfo = void (*)(size_t *, size_t *);
  size_t size = 0, alignment = 0;
  if (auto tls_info = reinterpret_cast<TlsInfo>(dlsym(RTLD_NEXT, "_dl_get_tls_static_info")))
    tls_info(&size, &alignment);
  if (arch::kTlsAbovePointer) size += libc_facts.descriptor_size; // which is not in there
  libc_facts.static_tls_size = size > libc_facts.descriptor_size ? size : libc_facts.descriptor_size;
  for (const WaitFunction &function : kWaitFunctions) learn_wait_function(function);
}

WaitKind wait_function_at(uintptr_t pc) {
  const Known *function = find(pc);
  return function ? function->kind : WaitKind::none;
}

bool in_mutex_lock(uintptr_t pc) {
  const Known *function = find(pc);
  return function && function->locks_mutex;
}

} // namespace castaway
