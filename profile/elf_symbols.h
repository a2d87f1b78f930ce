// ElfSymbols: which symbol of an ELF file an address lies in.
//
// The same answers as libdwfl's dwfl_module_addrinfo(), which looks at all symbols for each address: 190 us in the
// 11000 of PostgreSQL, and 4 s for 4000 addresses in a library with 45000. Here the first few take a tenth of that
// each, because a small report asks for no more; then an index is made, and all 4000 take 7 ms.
//
// Owner: one thread, OFFLINE. The file's contents are hostile; what is odd is treated as not there.
#pragma once

#include "profile/elf_file.h"

#include <algorithm>
#include <cstdint>
#include <elf.h>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

namespace castaway {

struct ElfSymbol {
  std::string_view name; // as long as the file
  uint64_t value = 0;    // virtual address in the file
};

class ElfSymbols {
public:
  // `table`: of the file.
  ElfSymbols(std::shared_ptr<const ElfFile> file, const SymbolTable &table) : file_(std::move(file)), table_(table) {}

  // An empty name where `address` lies in no symbol; nullopt where symbols without size would have to be weighed.
  std::optional<ElfSymbol> at(uint64_t address);

private:
  struct Entry {
    uint64_t first, last; // addresses
    uint64_t furthest;    // of the last ones up to this one
    uint32_t number;
  };
  struct Part { // of the table: symbols from..to
    size_t from, to;
    std::vector<Entry> index; // of those with a size, by their first address
  };

  Elf64_Sym symbol(size_t number) const;
  size_t count() const { return table_.symbols.size() / sizeof(Elf64_Sym); }
  std::optional<Elf64_Sym> find(uint64_t address, const Part &part) const;
  void make_index(Part &part) const;
  bool may_be_label(uint64_t address);

  std::shared_ptr<const ElfFile> file_;
  SymbolTable table_;
  Part globals_{std::max<size_t>(table_.first_global, 1), count(), {}}, locals_{1, table_.first_global, {}};
  int asked_ = 0;
  bool is_indexed_ = false;
  struct Labels {                        // symbols without size
    std::map<uint16_t, uint64_t> begins; // by section, the first one's value
    std::set<uint64_t> values;
  };
  std::optional<Labels> labels_; // once they were needed
};

} // namespace castaway
