// Modules that were unloaded; see unloaded.h. Lists come from dl_iterate_phdr: no descriptor of the target is used.
#include "runtime/unloaded.h"

#include "runtime/memory.h"
#include "runtime/spin_lock.h"

#include <link.h>

namespace castaway::unloaded {

namespace {

constexpr size_t kMostLoaded = 2048;

SpinLock lock; // over all below
UnloadedCode *loaded;
size_t loaded_count;
UnloadedCode *gone; // a ring
size_t gone_count;

bool ready() {
  if (!loaded) loaded = static_cast<UnloadedCode *>(own_memory(kMostLoaded * sizeof(UnloadedCode)));
  if (!gone) gone = static_cast<UnloadedCode *>(own_memory(kMost * sizeof(UnloadedCode)));
  return loaded && gone;
}

int count_unloads(dl_phdr_info *info, size_t, void *data) {
  *static_cast<uint64_t *>(data) = info->dlpi_subs;
  return 1;
}

int note_loaded(dl_phdr_info *info, size_t, void *) {
  if (!info->dlpi_name || info->dlpi_name[0] != '/') return 0;
  for (int i = 0; i < info->dlpi_phnum && loaded_count < kMostLoaded; ++i) {
    const ElfW(Phdr) &segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_X)) continue;
    UnloadedCode &code = loaded[loaded_count++];
    uintptr_t page = segment.p_vaddr % 4096;
    code.range = {info->dlpi_addr + segment.p_vaddr - page, info->dlpi_addr + segment.p_vaddr + segment.p_memsz};
    code.range.end = (code.range.end + 4095) & ~uintptr_t{4095};
    code.offset = segment.p_offset - page;
    code.path.clear();
    code.path << info->dlpi_name;
  }
  return 0;
}

int forget_loaded(dl_phdr_info *info, size_t, void *) {
  for (size_t i = 0; i < loaded_count; ++i)
    for (int s = 0; s < info->dlpi_phnum; ++s) {
      const ElfW(Phdr) &segment = info->dlpi_phdr[s];
      if (segment.p_type == PT_LOAD && loaded[i].range.contains(info->dlpi_addr + segment.p_vaddr))
        loaded[i].range = {};
    }
  return 0;
}

} // namespace

void Watch::before() {
  SpinGuard guard(lock);
  if (!guard || !ready()) return;
  dl_iterate_phdr(count_unloads, &unloads_);
  loaded_count = 0;
  dl_iterate_phdr(note_loaded, nullptr);
}

void Watch::after() {
  uint64_t now = 0;
  dl_iterate_phdr(count_unloads, &now);
  if (now == unloads_) return;
  SpinGuard guard(lock);
  if (!guard || !ready()) return;
  dl_iterate_phdr(forget_loaded, nullptr);
  for (size_t i = 0; i < loaded_count; ++i)
    if (!loaded[i].range.empty()) gone[gone_count++ % kMost] = loaded[i];
  loaded_count = 0;
}

void reset_lock() { lock.reset(); }

size_t count() { return gone_count < kMost ? gone_count : kMost; }

const UnloadedCode &at(size_t i) { return gone[gone_count < kMost ? i : (gone_count + i) % kMost]; }

} // namespace castaway::unloaded
