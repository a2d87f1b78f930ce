// ElfFile: an ELF file mapped read-only, looked at by virtual address.
//
// Serves the unwinder (call frame information and code bytes, where the target had them) and the profile's mappings
// (build id). Only 64-bit little-endian files are read. The file's contents are hostile: every offset is checked
// against the file's size; what is odd is treated as not there.
//
// How it fails: not a regular file, no ELF: an Error. A file that is truncated while it is mapped: SIGBUS. Immutable;
// any thread. OFFLINE.
#pragma once

#include "profile/maps.h"
#include "profile/result.h"

#include <cstddef>
#include <cstdint>
#include <elf.h>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace castaway {

// The sorted search table of .eh_frame_hdr, by virtual address in the file.
struct UnwindTable {
  uint64_t header = 0; // of .eh_frame_hdr, which the table's entries are relative to
  uint64_t entries = 0;
  uint64_t entry_count = 0; // of 8 bytes each
};

// Symbols as the file has them; all that is local comes first.
struct SymbolTable {
  std::span<const std::byte> symbols; // Elf64_Sym[], perhaps not aligned
  std::span<const std::byte> names;   // zero-terminated
  size_t first_global = 0;
};

class ElfFile {
public:
  static Result<std::shared_ptr<const ElfFile>> open(const std::string &path);
  // The vdso that the kernel gave this process: the same for all processes on one machine.
  static Result<std::shared_ptr<const ElfFile>> own_vdso();
  ~ElfFile();
  ElfFile(const ElfFile &) = delete;
  ElfFile &operator=(const ElfFile &) = delete;

  uint16_t machine() const { return header_.e_machine; }
  // Empty for the vdso.
  const std::string &path() const { return path_; }
  // Hexadecimal, empty if it has none.
  const std::string &build_id() const { return build_id_; }
  const std::optional<UnwindTable> &unwind_table() const { return unwind_table_; }

  // The bytes from virtual address `address` to the end of what the file has there; empty if it has nothing.
  std::span<const std::byte> at(uint64_t address) const;
  // The section of this name as the file has it, perhaps compressed; empty where there is none.
  std::span<const std::byte> section(std::string_view name) const;
  bool is_compressed(std::string_view section) const;
  // `type`: SHT_SYMTAB or SHT_DYNSYM. nullopt where there is none.
  std::optional<SymbolTable> symbol_table(uint32_t type) const;
  // `index`: of the section, as symbols have it.
  bool is_in_section(uint64_t address, uint16_t index) const;
  // Whether a segment covers `address`, with bytes in the file or zeros behind them.
  bool covers(uint64_t address) const;
  // What to subtract from an address in `mapping` to get the virtual address in this file; nullopt if no segment (no
  // executable one for an executable mapping) can be mapped there.
  std::optional<uint64_t> bias(const MemoryMapping &mapping, uint64_t page_size) const;

private:
  ElfFile(std::string path, std::span<const std::byte> bytes, bool mapped)
      : path_(std::move(path)), bytes_(bytes), mapped_(mapped) {}
  static Result<std::shared_ptr<const ElfFile>> parse(std::unique_ptr<ElfFile> file);
  std::optional<Elf64_Shdr> section_header(uint64_t i) const;
  std::optional<Elf64_Shdr> find_section(std::string_view name) const;
  std::span<const std::byte> bytes_of(const Elf64_Shdr &section) const;
  bool read_headers();
  void read_build_id();
  void read_unwind_table();

  std::string path_;
  std::span<const std::byte> bytes_;
  bool mapped_;
  Elf64_Ehdr header_ = {};
  std::vector<Elf64_Phdr> segments_; // all program headers
  std::string build_id_;
  std::optional<UnwindTable> unwind_table_;
};

} // namespace castaway
