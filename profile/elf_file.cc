#include "profile/elf_file.h"

#include "profile/file.h"

#include <algorithm>
#include <cstring>
#include <sys/auxv.h>
#include <sys/mman.h>

namespace castaway {
namespace {

constexpr size_t kMostSegments = 1024;
constexpr size_t kFirstPage = 4096;
constexpr size_t kLongestBuildId = 64;

// Encodings of .eh_frame_hdr that every linker writes.
constexpr uint8_t kUnsigned4 = 0x03;           // DW_EH_PE_udata4
constexpr uint8_t kDataRelativeSigned4 = 0x3b; // DW_EH_PE_datarel | DW_EH_PE_sdata4

// .eh_frame_hdr: version, encodings of pointer, count and table, then a 4-byte pointer and a 4-byte count.
struct UnwindHeader {
  uint8_t version;
  uint8_t pointer_encoding;
  uint8_t count_encoding;
  uint8_t table_encoding;
  uint32_t frame_pointer;
  uint32_t count;
};

template <typename T> std::optional<T> copy_from(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return std::nullopt;
  T value;
  memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::string hexadecimal(std::span<const std::byte> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const auto byte : bytes) {
    text += digits[static_cast<unsigned>(byte) >> 4];
    text += digits[static_cast<unsigned>(byte) & 15];
  }
  return text;
}

// The payload of the GNU build id among the notes in `bytes`.
std::span<const std::byte> find_build_id(std::span<const std::byte> bytes) {
  while (const auto note = copy_from<Elf64_Nhdr>(bytes, 0)) {
    const uint64_t name = sizeof *note;
    const uint64_t payload = name + (uint64_t(note->n_namesz) + 3) / 4 * 4;
    const uint64_t next = payload + (uint64_t(note->n_descsz) + 3) / 4 * 4;
    if (payload + note->n_descsz > bytes.size()) break;
    if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(bytes.data() + name, "GNU", 4) == 0)
      return bytes.subspan(payload, note->n_descsz);
    bytes = bytes.subspan(std::min<uint64_t>(next, bytes.size()));
  }
  return {};
}

} // namespace

Result<std::shared_ptr<const ElfFile>> ElfFile::open(const std::string &path) {
  auto bytes = map_file(path);
  if (!bytes) return Error{bytes.error()};
  return parse(std::unique_ptr<ElfFile>(new ElfFile(path, *bytes, true)));
}

Result<std::shared_ptr<const ElfFile>> ElfFile::own_vdso() {
  const auto *begin = reinterpret_cast<const std::byte *>(getauxval(AT_SYSINFO_EHDR));
  if (begin == nullptr) return Error{"this process has no vdso"};
  // Its first page holds the headers, and those say how long it is.
  const auto header = copy_from<Elf64_Ehdr>({begin, kFirstPage}, 0);
  const auto load = copy_from<Elf64_Phdr>({begin, kFirstPage}, header->e_phoff);
  const auto size = load ? load->p_filesz : 0;
  return parse(std::unique_ptr<ElfFile>(new ElfFile("", {begin, size}, false)));
}

ElfFile::~ElfFile() {
  if (mapped_) munmap(const_cast<std::byte *>(bytes_.data()), bytes_.size());
}

Result<std::shared_ptr<const ElfFile>> ElfFile::parse(std::unique_ptr<ElfFile> file) {
  if (!file->read_headers()) return Error{file->path_ + ": not a 64-bit little-endian ELF file"};
  file->read_build_id();
  file->read_unwind_table();
  return std::shared_ptr<const ElfFile>(std::move(file));
}

bool ElfFile::read_headers() {
  const auto header = copy_from<Elf64_Ehdr>(bytes_, 0);
  if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return false;
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB) return false;
  header_ = *header;
  if (header_.e_phentsize != sizeof(Elf64_Phdr) || header_.e_phnum > kMostSegments) return false;
  for (size_t i = 0; i < header_.e_phnum; i++) {
    if (header_.e_phoff > bytes_.size()) return false;
    const auto segment = copy_from<Elf64_Phdr>(bytes_, header_.e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment) return false;
    segments_.push_back(*segment);
  }
  return true;
}

void ElfFile::read_build_id() {
  for (const auto &segment : segments_) {
    if (segment.p_type != PT_NOTE || segment.p_offset > bytes_.size()) continue;
    const auto rest = bytes_.subspan(segment.p_offset);
    const auto id = find_build_id(rest.first(std::min<uint64_t>(segment.p_filesz, rest.size())));
    if (!id.empty() && id.size() <= kLongestBuildId) build_id_ = hexadecimal(id);
  }
}

void ElfFile::read_unwind_table() {
  for (const auto &segment : segments_) {
    if (segment.p_type != PT_GNU_EH_FRAME) continue;
    const auto bytes = at(segment.p_vaddr);
    const auto header = copy_from<UnwindHeader>(bytes, 0);
    if (!header || header->version != 1 || header->count_encoding != kUnsigned4 ||
        header->table_encoding != kDataRelativeSigned4 || (header->pointer_encoding & 0x07) != kUnsigned4)
      continue;
    const auto room = (bytes.size() - sizeof *header) / 8;
    unwind_table_ =
        UnwindTable{segment.p_vaddr, segment.p_vaddr + sizeof *header, std::min<uint64_t>(header->count, room)};
  }
}

std::span<const std::byte> ElfFile::at(uint64_t address) const {
  for (const auto &segment : segments_) {
    if (segment.p_type != PT_LOAD || address - segment.p_vaddr >= segment.p_filesz) continue;
    const auto inside = address - segment.p_vaddr;
    if (segment.p_offset > bytes_.size() || inside >= bytes_.size() - segment.p_offset) continue;
    const auto rest = bytes_.subspan(segment.p_offset + inside);
    return rest.first(std::min<uint64_t>(segment.p_filesz - inside, rest.size()));
  }
  return {};
}

std::span<const std::byte> ElfFile::bytes_of(const Elf64_Shdr &section) const {
  const auto rest = bytes_.subspan(std::min<uint64_t>(section.sh_offset, bytes_.size()));
  return section.sh_type == SHT_NOBITS ? rest.first(0) : rest.first(std::min<uint64_t>(section.sh_size, rest.size()));
}

std::optional<Elf64_Shdr> ElfFile::section_header(uint64_t i) const {
  if (i >= header_.e_shnum || header_.e_shoff > bytes_.size() || header_.e_shentsize != sizeof(Elf64_Shdr))
    return std::nullopt;
  return copy_from<Elf64_Shdr>(bytes_, header_.e_shoff + i * sizeof(Elf64_Shdr));
}

std::optional<Elf64_Shdr> ElfFile::find_section(std::string_view name) const {
  const auto names = section_header(header_.e_shstrndx);
  if (!names) return std::nullopt;
  const auto text = bytes_of(*names);
  for (size_t i = 0; i < header_.e_shnum; i++) {
    const auto header = section_header(i);
    if (!header || header->sh_name >= text.size()) continue;
    const auto *begin = reinterpret_cast<const char *>(text.data()) + header->sh_name;
    if (std::string_view(begin, strnlen(begin, text.size() - header->sh_name)) == name) return header;
  }
  return std::nullopt;
}

std::span<const std::byte> ElfFile::section(std::string_view name) const {
  const auto header = find_section(name);
  return header ? bytes_of(*header) : std::span<const std::byte>();
}

bool ElfFile::is_compressed(std::string_view section) const {
  const auto header = find_section(section);
  return header && (header->sh_flags & SHF_COMPRESSED) != 0;
}

std::optional<SymbolTable> ElfFile::symbol_table(uint32_t type) const {
  for (size_t i = 0; i < header_.e_shnum; i++) {
    const auto header = section_header(i);
    if (!header || header->sh_type != type) continue;
    const auto names = section_header(header->sh_link);
    const auto symbols = bytes_of(*header);
    if (names)
      return SymbolTable{symbols, bytes_of(*names),
                         std::min(size_t(header->sh_info), symbols.size() / sizeof(Elf64_Sym))};
  }
  return std::nullopt;
}

bool ElfFile::is_in_section(uint64_t address, uint16_t index) const {
  const auto header = index < SHN_LORESERVE ? section_header(index) : std::nullopt;
  return header && address - header->sh_addr < header->sh_size;
}

bool ElfFile::covers(uint64_t address) const {
  for (const auto &segment : segments_)
    if (segment.p_type == PT_LOAD && address - segment.p_vaddr < segment.p_memsz) return true;
  return false;
}

std::optional<uint64_t> ElfFile::bias(const MemoryMapping &mapping, uint64_t page_size) const {
  for (const auto &segment : segments_) {
    if (segment.p_type != PT_LOAD || (mapping.executable && (segment.p_flags & PF_X) == 0)) continue;
    const auto first_page = segment.p_offset - segment.p_offset % page_size;
    if (mapping.offset < first_page || mapping.offset >= segment.p_offset + segment.p_filesz) continue;
    return mapping.begin - mapping.offset - (segment.p_vaddr - segment.p_offset);
  }
  return std::nullopt;
}

} // namespace castaway
