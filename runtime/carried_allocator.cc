// Programs that carry their own malloc; see carried_allocator.h.
// Sources: gperftools/malloc_hook_c.h; ELF-64 object file format (symbol tables).
#include "runtime/carried_allocator.h"

#include "runtime/side_table.h"
#include "runtime/sys.h"
#include "runtime/text.h"
#include "runtime/tracking.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/stat.h>

namespace castaway {

namespace {

using Allocate = void *(*)(size_t);
using Release = void (*)(void *);
using NewHook = void (*)(const void *, size_t);
using DeleteHook = void (*)(const void *);
using AddNewHook = int (*)(NewHook);
using AddDeleteHook = int (*)(DeleteHook);

bool passes_us() {
  auto allocate = reinterpret_cast<Allocate>(dlsym(RTLD_DEFAULT, "malloc"));
  auto release = reinterpret_cast<Release>(dlsym(RTLD_DEFAULT, "free"));
  if (!allocate || !release) return false;
  constexpr size_t kProbe = 40;
  void *block = allocate(kProbe);
  bool seen = heap_map.decode(reinterpret_cast<uintptr_t>(block)).size == kProbe;
  release(block);
  return seen;
}

// The executable's file, mapped while its symbols are looked through.
class Executable {
public:
  Executable() {
    int fd = sys::open_at(AT_FDCWD, "/proc/self/exe", O_RDONLY);
    struct stat status {};
    if (fd < 0 || sys::call(SYS_fstat, fd, &status) < 0) {
      sys::close(fd);
      return;
    }
    size_ = static_cast<size_t>(status.st_size);
    long at = sys::call(SYS_mmap, 0, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    sys::close(fd);
    if (at > 0 || at < -4096) bytes_ = reinterpret_cast<const char *>(at);
  }
  ~Executable() {
    if (bytes_) sys::unmap_memory(const_cast<char *>(bytes_), size_);
  }
  Executable(const Executable &) = delete;
  Executable &operator=(const Executable &) = delete;

  // The address of a symbol in the running program, or 0.
  uintptr_t find(std::string_view name) const {
    const auto *header = at<ElfW(Ehdr)>(0, 1);
    const auto *sections = header ? at<ElfW(Shdr)>(header->e_shoff, header->e_shnum) : nullptr;
    for (int i = 0; sections && i < header->e_shnum; ++i)
      if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < header->e_shnum)
        if (uintptr_t value = find_in(sections[i], sections[sections[i].sh_link], name))
          return header->e_type == ET_DYN ? base(*header) + value : value;
    return 0;
  }

private:
  template <typename T> const T *at(size_t offset, size_t count) const {
    return bytes_ && offset <= size_ && count <= (size_ - offset) / sizeof(T)
               ? reinterpret_cast<const T *>(bytes_ + offset)
               : nullptr;
  }

  uintptr_t find_in(const ElfW(Shdr) & symbols, const ElfW(Shdr) & names, std::string_view name) const {
    size_t count = symbols.sh_size / sizeof(ElfW(Sym));
    const auto *symbol = at<ElfW(Sym)>(symbols.sh_offset, count);
    const char *text = at<char>(names.sh_offset, names.sh_size);
    for (size_t i = 0; symbol && text && i < count; ++i)
      if (symbol[i].st_shndx != SHN_UNDEF && symbol[i].st_name + name.size() < names.sh_size &&
          name == std::string_view(text + symbol[i].st_name, name.size()) && text[symbol[i].st_name + name.size()] == 0)
        return symbol[i].st_value;
    return 0;
  }

  // Where the program is loaded, from the address of its program headers.
  static uintptr_t base(const ElfW(Ehdr) & header) { return getauxval(AT_PHDR) - header.e_phoff; }

  const char *bytes_ = nullptr;
  size_t size_ = 0;
};

template <typename F> F look_up(const Executable &executable, const char *name) {
  void *exported = dlsym(RTLD_DEFAULT, name);
  return reinterpret_cast<F>(exported ? reinterpret_cast<uintptr_t>(exported) : executable.find(name));
}

uintptr_t granule_of(const void *block) { return reinterpret_cast<uintptr_t>(block) & ~(HeapMap::kGranule - 1); }

// These hooks do not tell who allocates. The loader does while a thread is being created: its DTV.
// Nor can they ask for more than the program did: tcmalloc has blocks of 8 bytes, two of which share a granule.
void on_new(const void *block, size_t size) {
  constexpr size_t kHalf = 8;
  if (!block || !tracking.on) return;
  if (size <= kHalf) {
    prepare_map();
    if (!side_table::share(granule_of(block), heap_map, sample_stack(size))) give_up(Trouble::map_full);
    return;
  }
  auto *caller = this_thread.creating_thread ? reinterpret_cast<const void *>(real.loader.begin) : nullptr;
  note_block(const_cast<void *>(block), size, caller);
}

void on_delete(const void *block) {
  if (!block) return;
  uintptr_t granule = granule_of(block);
  Block known = heap_map.decode(granule);
  if (known.flagged && known.size == HeapMap::kGranule && side_table::unshare(granule, heap_map)) return;
  forget_block(const_cast<void *>(block));
}

} // namespace

CarriedAllocator find_carried_allocator() {
  if (passes_us()) return CarriedAllocator::none;
  real.carried_free = reinterpret_cast<Release>(dlsym(RTLD_DEFAULT, "free"));
  Executable executable;
  auto add_new = look_up<AddNewHook>(executable, "MallocHook_AddNewHook");
  auto add_delete = look_up<AddDeleteHook>(executable, "MallocHook_AddDeleteHook");
  if (!add_new || !add_delete || !add_new(on_new) || !add_delete(on_delete)) return CarriedAllocator::unseen;
  return passes_us() ? CarriedAllocator::hooked : CarriedAllocator::unseen;
}

} // namespace castaway
