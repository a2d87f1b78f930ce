// ELF files by themselves: which symbol an address lies in, with libdwfl as another opinion.
#include "profile/elf_symbols.h"

#include <algorithm>
#include <elfutils/libdwfl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace castaway {
namespace {

// libdwfl on one file, without debug information.
class OtherOpinion {
public:
  explicit OtherOpinion(const std::string &path) {
    callbacks_.find_debuginfo = [](Dwfl_Module *, void **, const char *, Dwarf_Addr, const char *, const char *,
                                   GElf_Word, char **) { return -1; };
    dwfl_ = dwfl_begin(&callbacks_);
    dwfl_report_begin(dwfl_);
    module_ = dwfl_report_elf(dwfl_, path.c_str(), path.c_str(), -1, 0, true);
    dwfl_report_end(dwfl_, nullptr, nullptr);
  }
  ~OtherOpinion() { dwfl_end(dwfl_); }
  OtherOpinion(const OtherOpinion &) = delete;
  OtherOpinion &operator=(const OtherOpinion &) = delete;

  // As ElfSymbols::at() has it.
  std::pair<std::string, uint64_t> symbol_at(uint64_t address) const {
    GElf_Off offset = 0;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(module_, address, &offset, &symbol, nullptr, nullptr, nullptr);
    return {name == nullptr ? "" : name, name == nullptr ? 0 : address - offset};
  }
  // Addresses in and around some of its symbols.
  std::vector<uint64_t> addresses() const {
    constexpr int kMost = 400;
    std::vector<uint64_t> found;
    const int count = dwfl_module_getsymtab(module_);
    for (int i = 1; i < count; i += std::max(count / kMost, 1)) {
      GElf_Sym symbol;
      GElf_Addr begin = 0;
      dwfl_module_getsym_info(module_, i, &symbol, &begin, nullptr, nullptr, nullptr);
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= SHN_LORESERVE || GELF_ST_TYPE(symbol.st_info) == STT_TLS)
        continue;
      for (const auto inside : {uint64_t(0), symbol.st_size / 2, symbol.st_size - 1, symbol.st_size})
        found.push_back(symbol.st_value + inside);
    }
    return found;
  }

private:
  Dwfl_Callbacks callbacks_ = {};
  Dwfl *dwfl_;
  Dwfl_Module *module_;
};

std::set<std::string> loaded_files() {
  std::ostringstream text;
  text << std::ifstream("/proc/self/maps").rdbuf();
  const auto map = *MemoryMap::parse(text.str());
  std::set<std::string> paths;
  for (const auto &mapping : map.mappings())
    if (mapping.executable && mapping.is_file()) paths.insert(mapping.path);
  return paths;
}

// What libdwfl reads.
SymbolTable table_of(const ElfFile &file) {
  const auto own = file.symbol_table(SHT_SYMTAB);
  return own ? *own : *file.symbol_table(SHT_DYNSYM);
}

TEST(ElfSymbols, AreThoseThatLibdwflChooses) {
  int same = 0, unknown = 0;
  for (const auto &path : loaded_files()) {
    const OtherOpinion other(path);
    const auto file = *ElfFile::open(path);
    ElfSymbols many(file, table_of(*file));
    for (const auto address : other.addresses()) {
      // The first few without an index, most with it.
      ElfSymbols few(file, table_of(*file));
      const auto symbol = many.at(address), first = few.at(address);
      ASSERT_EQ(symbol.has_value(), first.has_value()) << path << " " << address;
      if (!symbol) {
        unknown++;
        continue;
      }
      same++;
      const auto wanted = other.symbol_at(address);
      EXPECT_EQ(std::pair(std::string(symbol->name), symbol->value), wanted) << path << " " << address;
      EXPECT_EQ(std::pair(std::string(first->name), first->value), wanted) << path << " " << address;
    }
  }
  EXPECT_GT(same, 5000);
  EXPECT_LT(unknown, same / 10); // symbols without size are weighed there
}

} // namespace
} // namespace castaway
