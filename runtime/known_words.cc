// Words that are known to be numbers; see known_words.h.
#include "runtime/known_words.h"

#include "runtime/sys.h"
#include "runtime/text.h"
#include "runtime/tracking.h"

#include <cstring>
#include <sys/stat.h>

namespace castaway {

namespace {

constexpr size_t kPage = 4096;

// The bytes of a file from `offset` on, as they are on disk; null where it is not the file with this number any more.
const char *map_file(std::string_view path, uint64_t inode, uint64_t offset, size_t size) {
  Text<4096> name;
  name << path;
  int fd = sys::open_at(AT_FDCWD, name.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat status {};
  bool same = fd >= 0 && !name.full() && sys::call(SYS_fstat, fd, &status) == 0 && S_ISREG(status.st_mode) &&
              status.st_ino == inode && offset + size <= static_cast<uint64_t>(status.st_size);
  size_t skipped = offset % kPage;
  long at = same ? sys::call(SYS_mmap, 0, size + skipped, PROT_READ, MAP_PRIVATE, fd, offset - skipped) : -1;
  sys::close(fd);
  return at < 0 && at > -4096 ? nullptr : reinterpret_cast<const char *>(at) + skipped;
}

// dl_new_hash() and _dl_elf_hash() of glibc: the hashes of DT_GNU_HASH and of the System V ABI.
struct Hashes {
  uint32_t gnu = 5381, elf = 0;
  void add(unsigned char byte) {
    gnu = gnu * 33 + byte;
    elf = (elf << 4) + byte;
    elf = (elf ^ ((elf & 0xf0000000) >> 24)) & 0x0fffffff;
  }
};

} // namespace

KnownWords::KnownWords(const Vmas &vmas, RangeList &found) : vmas_(vmas), found_(found) {
  heap_map.visit_leaves([this](size_t index, const uint8_t *) {
    uintptr_t begin = static_cast<uintptr_t>(index) << HeapMap::kLeafBits;
    if (first_block_ <= begin) return;
    if (begin > UINT32_MAX) {
      first_block_ = begin; // or somewhat above, which makes no difference
      return;
    }
    heap_map.sweep_leaf_where(
        index, [this](size_t) { return first_block_ == UINTPTR_MAX ? ~uint64_t{0} : 0; },
        [this](const Block &block) { first_block_ = std::min(first_block_, block.begin); });
  });
}

void KnownWords::find_constants(const Vma &first, uintptr_t base, const ElfW(Phdr) & segment) {
  constexpr size_t kWord = sizeof(uintptr_t);
  uintptr_t begin = (base + segment.p_vaddr + kWord - 1) & ~(kWord - 1);
  uintptr_t end = (base + segment.p_vaddr + segment.p_filesz) & ~(kWord - 1);
  if (first_block_ > UINT32_MAX || end <= begin || !vmas_.readable({begin, end})) return;
  const char *file = nullptr;
  for (uintptr_t at = begin; at < end; at += kWord) {
    auto word = *reinterpret_cast<const uintptr_t *>(at);
    if (!may_hit(word)) continue;
    uint64_t offset = segment.p_offset + (begin - base - segment.p_vaddr);
    if (!file) file = map_file(first.path, first.inode, offset, end - begin);
    if (!file) return;
    if (std::memcmp(file + (at - begin), &word, kWord) == 0) found_.add({at, at + kWord});
  }
}

void KnownWords::find_hashes(Range memory) {
  constexpr size_t kLargest = size_t{16} << 20;
  if (first_block_ > UINT32_MAX || memory.size() > kLargest || !vmas_.readable(memory)) return;
  auto begin = reinterpret_cast<const uintptr_t *>(memory.begin);
  auto end = reinterpret_cast<const uintptr_t *>(memory.end);
  // struct unique_sym has the name behind its hash, struct r_found_version before (glibc's include/link.h).
  for (const uintptr_t *word = begin + 1; word + 1 < end; ++word)
    if (may_hit(*word) && (is_hash(*word, word[1]) || is_hash(*word, word[-1])))
      found_.add({reinterpret_cast<uintptr_t>(word), reinterpret_cast<uintptr_t>(word + 1)});
}

// Whether `name` is a string of a module's that is never written, and `word` a hash of it.
bool KnownWords::is_hash(uintptr_t word, uintptr_t name) const {
  const Vma *vma = vmas_.find(name);
  if (!vma || !vma->readable || vma->writable || vma->path.substr(0, 1) != "/") return false;
  Hashes hashes;
  for (uintptr_t at = name; at < vma->range.end; ++at) {
    auto byte = *reinterpret_cast<const unsigned char *>(at);
    if (byte == 0) return at > name && (hashes.gnu == word || hashes.elf == word);
    hashes.add(byte);
  }
  return false;
}

} // namespace castaway
