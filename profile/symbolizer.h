// The symbolizer: from an address to functions, files and lines, inlined calls expanded.
//
// libdw on the files that the modules name; debug information in files of its own is found by build id or debug link
// below /usr/lib/debug, and never fetched over the network. Where there is none, the ELF symbol (elf_symbols.h); where
// there is no symbol either, `module+0xoffset`. Files are opened when the first address in them is asked for, and every
// address is looked up once.
//
// Debug information is often compressed, and to read one line of libc's takes 45 ms. So there are addresses of which
// the function's name will do where that would have to be read for them alone, and those in libc are always of this
// kind where nobody waits for the report.
//
// Owner: one thread, OFFLINE. A file that cannot be read leaves its addresses with their fallback names.
#pragma once

#include "profile/dwarf_frames.h"
#include "profile/elf_symbols.h"
#include "profile/modules.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace castaway {

enum class SymbolDetail {
  names_only, // ELF symbols: cheap, without lines and inlined calls
  full,
};

struct Symbolized {
  // Innermost inlined function first, the function that is really there last; never empty.
  std::vector<SourceFrame> frames;
  // Distance from the start of the ELF symbol.
  std::optional<uint64_t> offset;
  // False: the name is only a fallback.
  bool known = false;
};

struct Variable {
  std::string name; // demangled; the section's address where no symbol is known
  uint64_t offset = 0;
  std::string_view module; // path
};

class EarlierSymbols;

class Symbolizer {
public:
  // `modules` and `earlier` outlive it. `debug_path` as for gdb's debug-file-directory; the default is the system's.
  // `earlier`: is asked first; may be null.
  Symbolizer(const Modules &modules, SymbolDetail detail, std::string debug_path = "",
             EarlierSymbols *earlier = nullptr);
  ~Symbolizer();
  Symbolizer(const Symbolizer &) = delete;
  Symbolizer &operator=(const Symbolizer &) = delete;

  // Before any of these is asked for.
  void spare_lines_of(std::unordered_set<uint64_t> addresses) { spared_ = std::move(addresses); }
  // Those in the C and C++ libraries.
  void spare_runtime_lines() { spares_runtime_ = true; }
  // `address`: of the instruction itself, or within the call instruction. The reference stays good.
  const Symbolized &at(uint64_t address);
  // A module's variable at `address`; nullopt where no module's data is.
  std::optional<Variable> variable_at(uint64_t address);

private:
  struct ModuleSymbols;
  struct DebugInformation {
    bool exists = false;
    bool compressed = false;
    bool was_read = false;
    std::shared_ptr<const ElfFile> file; // found by build id
  };

  const Symbolized *find_earlier(const Module &module, uint64_t address);
  // Whether debug information may say more of it than its ELF symbols.
  bool may_tell_more(const Module &module) { return debug_of(module).exists; }
  // Of any address in it a name will do.
  bool is_spared(const Module &module) const;
  bool spares_lines(const Module &module, uint64_t address);
  DebugInformation &debug_of(const Module &module);
  Symbolized look_up(uint64_t address);
  // `inside`: the address in the file. An empty name where there is none.
  ElfSymbol symbol_at(const Module &module, uint64_t inside);
  ElfSymbols *own_symbols_of(const Module &module);
  std::vector<SourceFrame> lines_at(const Module &module, uint64_t inside);
  ModuleSymbols &symbols_of(const Module &module);
  std::string fallback_name(uint64_t address) const;

  const Modules &modules_;
  SymbolDetail detail_;
  std::string debug_path_;
  EarlierSymbols *earlier_;
  std::unordered_map<const Module *, DebugInformation> debug_;
  std::unordered_map<const Module *, std::unique_ptr<ModuleSymbols>> symbols_;
  std::unordered_map<const Module *, std::unique_ptr<ElfSymbols>> own_symbols_;
  std::unordered_map<uint64_t, Symbolized> known_;
  std::unordered_set<uint64_t> spared_;
  bool spares_runtime_ = false;
};

} // namespace castaway
