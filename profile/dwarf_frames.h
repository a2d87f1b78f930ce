// DwarfFrames: source positions and inlined calls at an address of one module, out of its debug information.
//
// Why not dwarf_getscopes: it walks a whole compilation unit per address. Here the functions of a unit are listed once,
// sorted by address, and only the one that holds the address is searched for inlined calls. Units themselves are found
// by .debug_aranges where there is one and, as clang writes none, by the units' own ranges.
//
// Functions with internal linkage, and templates over such types, have no linkage name to demangle, only their last
// name. Their namespaces and classes are noted in the same walk, so that `send` is `examples::Channel<...>::send`.
//
// Debug information is hostile: depth and counts are bounded; what cannot be read is left out. Owner: one Symbolizer;
// one thread. OFFLINE.
#pragma once

#include <cstdint>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace castaway {

struct SourceFrame {
  std::string function;    // demangled
  std::string system_name; // as in the symbol table, where known
  std::string file;        // absolute where the debug information allows it
  int64_t line = 0;
};

class DwarfFrames {
public:
  // `module` outlives it. Nothing is read yet.
  explicit DwarfFrames(Dwfl_Module *module) : module_(module) {}

  // Frames at `address` (in the Dwfl's address space), innermost inlined function first, the function that is really
  // there last. Empty if the module has no debug information there.
  std::vector<SourceFrame> at(Dwarf_Addr address);

private:
  struct Extent {
    Dwarf_Addr begin;
    Dwarf_Addr end;
    Dwarf_Off die;
  };
  // A function whose declaration has no linkage name.
  struct Scoped {
    Dwarf_Off die;
    uint32_t scope; // index of Unit::scopes
  };
  struct Unit {
    std::vector<Extent> functions;   // sorted by begin
    std::vector<Scoped> scoped;      // sorted by die
    std::vector<std::string> scopes; // "examples::Channel<int>::"
  };

  std::optional<Dwarf_Die> find_unit(Dwarf_Addr address, Dwarf_Addr &bias);
  std::optional<Dwarf_Die> find_function(Dwarf_Die &unit, Dwarf_Addr address);
  void list_units();
  const Unit &listed(Dwarf_Die &unit);
  static void list_functions(Dwarf_Die &parent, uint32_t scope, int depth, size_t &entries_left, Unit &out);
  static uint32_t add_scope(Dwarf_Die &die, uint32_t outer, Unit &out);
  void set_name(Dwarf_Die &die, SourceFrame &frame);
  std::string scope_of(Dwarf_Die die);

  Dwfl_Module *module_;
  bool listed_ = false;
  std::vector<Extent> units_; // only where .debug_aranges did not help
  std::unordered_map<Dwarf_Off, Unit> units_by_offset_;
};

} // namespace castaway
