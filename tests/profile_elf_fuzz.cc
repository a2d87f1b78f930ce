// libFuzzer: ELF files of any bytes, and which symbol an address lies in. ElfSymbols has to say the same before it has
// made its index and after.
#include "profile/elf_symbols.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace castaway {
namespace {

// Addresses in and behind symbols, spread by `seed`.
std::vector<uint64_t> addresses_of(const SymbolTable &table, uint32_t seed) {
  std::vector<uint64_t> addresses = {0, 1, ~uint64_t{0}, seed};
  for (size_t i = 0; i < table.symbols.size() / sizeof(Elf64_Sym) && addresses.size() < 200; i++) {
    Elf64_Sym symbol;
    memcpy(&symbol, table.symbols.data() + i * sizeof symbol, sizeof symbol);
    addresses.push_back(symbol.st_value + seed % 64);
    addresses.push_back(symbol.st_value + symbol.st_size);
  }
  return addresses;
}

void look_up(const std::shared_ptr<const ElfFile> &file, const SymbolTable &table, uint32_t seed) {
  ElfSymbols indexed(file, table);
  for (int i = 0; i < 20; i++) indexed.at(seed); // until it has one
  for (const auto address : addresses_of(table, seed)) {
    file->at(address);
    file->covers(address);
    const auto soon = ElfSymbols(file, table).at(address), later = indexed.at(address);
    if (soon.has_value() != later.has_value() || (soon && (soon->name != later->name || soon->value != later->value)))
      abort();
  }
}

} // namespace
} // namespace castaway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace castaway;
  const int memory = memfd_create("fuzz", MFD_CLOEXEC);
  if (memory < 0 || write(memory, data, size) != static_cast<ssize_t>(size)) abort();
  const auto file = ElfFile::open("/proc/self/fd/" + std::to_string(memory));
  close(memory);
  if (!file) return 0;
  for (const char *name : {".debug_line", ".eh_frame", ""}) {
    (*file)->section(name);
    (*file)->is_compressed(name);
  }
  for (const uint32_t type : {SHT_SYMTAB, SHT_DYNSYM})
    if (const auto table = (*file)->symbol_table(type))
      look_up(*file, *table, static_cast<uint32_t>(size) * 2654435761u);
  return 0;
}
