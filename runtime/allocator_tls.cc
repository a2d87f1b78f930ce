// See allocator_tls.h.
#include "runtime/allocator_tls.h"

#include "runtime/arch.h"
#include "runtime/libc_facts.h"
#include "runtime/real.h"

#include <link.h>

namespace castaway {

namespace {

constexpr uintptr_t kKeyAlignment = uintptr_t{1} << 30;

// From the thread pointer of any thread; empty where there is none, or none at a fixed distance.
intptr_t tls_begin, tls_end;

int learn(dl_phdr_info *info, size_t, void *) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) &segment = info->dlpi_phdr[i];
    uintptr_t data = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
    if (segment.p_type != PT_TLS || !data || !real.foreign_allocator.contains(info->dlpi_addr)) continue;
    uintptr_t pointer = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
    if ((arch::kTlsAbovePointer ? data - pointer : pointer - data) > libc_facts.static_tls_size) continue;
    tls_begin = static_cast<intptr_t>(data - pointer);
    tls_end = tls_begin + static_cast<intptr_t>(segment.p_memsz);
  }
  return 0;
}

} // namespace

void learn_allocator_tls() {
  if (!real.foreign_allocator.empty()) dl_iterate_phdr(learn, nullptr);
}

void forget_lookup_keys(std::span<const StoppedThread> threads, const Vmas &vmas) {
  if (tls_begin == tls_end) return;
  for (const StoppedThread &thread : threads) {
    uintptr_t pointer = arch::thread_pointer(thread.registers);
    Range tls{(pointer + static_cast<uintptr_t>(tls_begin) + 7) & ~uintptr_t{7},
              pointer + static_cast<uintptr_t>(tls_end)};
    const Vma *vma = thread.gone || pointer == 0 ? nullptr : vmas.find(tls.begin);
    if (!vma || !vma->writable || vma->shared || vma->range.end < tls.end) continue;
    for (uintptr_t at = tls.begin; at + sizeof(uintptr_t) <= tls.end; at += sizeof(uintptr_t))
      if (auto *word = reinterpret_cast<uintptr_t *>(at); *word % kKeyAlignment == 0 && *word) *word = 0;
  }
}

} // namespace castaway
