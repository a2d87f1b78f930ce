#include "profile/dwarf_frames.h"

#include "profile/demangle.h"

#include <algorithm>
#include <dwarf.h>
#include <filesystem>

namespace castaway {
namespace {

constexpr int kDeepestScope = 64; // of namespaces and classes, and of blocks within a function
// Entries looked at in one unit, and among the children of one scope: a damaged chain of siblings may be a ring.
constexpr size_t kMostEntries = 1 << 23;
constexpr size_t kMostSiblings = 1 << 18;
// From an inlined call to what it is a copy of, and on to its declaration.
constexpr int kMostOrigins = 8;
constexpr size_t kLongestScope = 4096;

// Calls `visit` with each address range of `die`.
template <typename Visit> void for_ranges(Dwarf_Die &die, Visit visit) {
  Dwarf_Addr base = 0;
  Dwarf_Addr begin = 0;
  Dwarf_Addr end = 0;
  ptrdiff_t offset = 0;
  while ((offset = dwarf_ranges(&die, offset, &base, &begin, &end)) > 0) visit(begin, end);
}

// The entry with the greatest begin among those that contain `address`.
template <typename Extents> auto find_extent(const Extents &sorted, Dwarf_Addr address) {
  auto i = std::upper_bound(sorted.begin(), sorted.end(), address,
                            [](Dwarf_Addr value, const auto &extent) { return value < extent.begin; });
  // Functions rarely overlap: look a little back, past ones that end earlier.
  for (int tries = 8; i != sorted.begin() && tries > 0; tries--)
    if (address < (--i)->end) return i;
  return sorted.end();
}

std::string attribute_string(Dwarf_Die &die, unsigned name) {
  Dwarf_Attribute attribute;
  const char *text = dwarf_formstring(dwarf_attr_integrate(&die, name, &attribute));
  return text == nullptr ? "" : text;
}

std::optional<Dwarf_Word> attribute_number(Dwarf_Die &die, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dwarf_formudata(dwarf_attr(&die, name, &attribute), &value) != 0) return std::nullopt;
  return value;
}

// The entry that `die` is a copy or a definition of: the one that stands in its namespace or class.
Dwarf_Die declaration_of(Dwarf_Die die) {
  for (int i = 0; i < kMostOrigins; i++) {
    Dwarf_Attribute attribute;
    Dwarf_Die origin;
    auto *reference = dwarf_attr(&die, DW_AT_abstract_origin, &attribute);
    if (reference == nullptr) reference = dwarf_attr(&die, DW_AT_specification, &attribute);
    if (reference == nullptr || dwarf_formref_die(reference, &origin) == nullptr) break;
    die = origin;
  }
  return die;
}

bool has_linkage_name(Dwarf_Die &die) {
  return dwarf_hasattr(&die, DW_AT_linkage_name) != 0 || dwarf_hasattr(&die, DW_AT_MIPS_linkage_name) != 0;
}

// libdw has put the compilation's directory in front where the name was relative.
std::string tidy(const char *file) {
  return file == nullptr ? "" : std::filesystem::path(file).lexically_normal().string();
}

void set_position(Dwarf_Die &unit, Dwarf_Addr address, SourceFrame &frame) {
  auto *line = dwarf_getsrc_die(&unit, address);
  int number = 0;
  if (line == nullptr || dwarf_lineno(line, &number) != 0) return;
  frame.file = tidy(dwarf_linesrc(line, nullptr, nullptr));
  frame.line = number;
}

// Where `inlined` was called from.
void set_call_position(Dwarf_Die &unit, Dwarf_Die &inlined, SourceFrame &frame) {
  Dwarf_Files *files = nullptr;
  size_t count = 0;
  const auto file = attribute_number(inlined, DW_AT_call_file);
  if (file && dwarf_getsrcfiles(&unit, &files, &count) == 0 && *file < count)
    frame.file = tidy(dwarf_filesrc(files, *file, nullptr, nullptr));
  frame.line = static_cast<int64_t>(attribute_number(inlined, DW_AT_call_line).value_or(0));
}

// The child of `parent` that holds `address`, if it can hold inlined calls.
std::optional<Dwarf_Die> child_at(Dwarf_Die &parent, Dwarf_Addr address) {
  Dwarf_Die child;
  if (dwarf_child(&parent, &child) != 0) return std::nullopt;
  size_t left = kMostSiblings;
  do {
    const int tag = dwarf_tag(&child);
    const bool scope = tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block || tag == DW_TAG_try_block ||
                       tag == DW_TAG_catch_block;
    if (scope && dwarf_haspc(&child, address) == 1) return child;
  } while (--left != 0 && dwarf_siblingof(&child, &child) == 0);
  return std::nullopt;
}

// `function` and the inlined subroutines at `address` in it, outermost first.
std::vector<Dwarf_Die> nested_functions(Dwarf_Die function, Dwarf_Addr address) {
  std::vector<Dwarf_Die> chain{function};
  auto scope = std::optional(function);
  for (int depth = 0; depth < kDeepestScope && (scope = child_at(*scope, address)); depth++)
    if (dwarf_tag(&*scope) == DW_TAG_inlined_subroutine) chain.push_back(*scope);
  return chain;
}

} // namespace

std::vector<SourceFrame> DwarfFrames::at(Dwarf_Addr address) {
  Dwarf_Addr bias = 0;
  auto unit = find_unit(address, bias);
  if (!unit) return {};
  const auto inside = address - bias;
  auto function = find_function(*unit, inside);
  if (!function) return {};
  auto chain = nested_functions(*function, inside);
  std::vector<SourceFrame> frames(chain.size());
  for (size_t i = 0; i < frames.size(); i++) {
    auto &die = chain[chain.size() - 1 - i];
    set_name(die, frames[i]);
    if (i == 0) set_position(*unit, inside, frames[i]);
    if (i + 1 < frames.size()) set_call_position(*unit, die, frames[i + 1]);
  }
  return frames;
}

std::optional<Dwarf_Die> DwarfFrames::find_unit(Dwarf_Addr address, Dwarf_Addr &bias) {
  if (const auto *unit = dwfl_module_addrdie(module_, address, &bias)) return *unit;
  if (!listed_) list_units();
  auto *dwarf = dwfl_module_getdwarf(module_, &bias);
  const auto found = find_extent(units_, address - bias);
  Dwarf_Die unit;
  if (dwarf == nullptr || found == units_.end() || dwarf_offdie(dwarf, found->die, &unit) == nullptr)
    return std::nullopt;
  return unit;
}

void DwarfFrames::list_units() {
  listed_ = true;
  Dwarf_Addr bias = 0;
  for (auto *unit = dwfl_module_nextcu(module_, nullptr, &bias); unit != nullptr;
       unit = dwfl_module_nextcu(module_, unit, &bias))
    for_ranges(*unit, [&](Dwarf_Addr begin, Dwarf_Addr end) { units_.push_back({begin, end, dwarf_dieoffset(unit)}); });
  std::sort(units_.begin(), units_.end(), [](const auto &a, const auto &b) { return a.begin < b.begin; });
}

const DwarfFrames::Unit &DwarfFrames::listed(Dwarf_Die &unit) {
  const auto [known, is_new] = units_by_offset_.try_emplace(dwarf_dieoffset(&unit));
  auto &[functions, scoped, scopes] = known->second;
  if (is_new) {
    size_t entries_left = kMostEntries;
    scopes.emplace_back();
    list_functions(unit, 0, 0, entries_left, known->second);
    std::sort(functions.begin(), functions.end(), [](const auto &a, const auto &b) { return a.begin < b.begin; });
    std::sort(scoped.begin(), scoped.end(), [](const auto &a, const auto &b) { return a.die < b.die; });
  }
  return known->second;
}

std::optional<Dwarf_Die> DwarfFrames::find_function(Dwarf_Die &unit, Dwarf_Addr address) {
  const auto &functions = listed(unit).functions;
  const auto found = find_extent(functions, address);
  Dwarf_Die function;
  if (found == functions.end() || dwarf_offdie(dwarf_cu_getdwarf(unit.cu), found->die, &function) == nullptr)
    return std::nullopt;
  return function;
}

void DwarfFrames::list_functions(Dwarf_Die &parent, uint32_t scope, int depth, size_t &entries_left, Unit &out) {
  Dwarf_Die child;
  if (depth > kDeepestScope || dwarf_child(&parent, &child) != 0) return;
  do {
    if (entries_left == 0) return;
    entries_left--;
    switch (dwarf_tag(&child)) {
    case DW_TAG_subprogram:
      for_ranges(child, [&](Dwarf_Addr begin, Dwarf_Addr end) {
        out.functions.push_back({begin, end, dwarf_dieoffset(&child)});
      });
      if (scope != 0 && !has_linkage_name(child)) out.scoped.push_back({dwarf_dieoffset(&child), scope});
      break;
    case DW_TAG_namespace:
    case DW_TAG_module:
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
      list_functions(child, add_scope(child, scope, out), depth + 1, entries_left, out);
      break;
    default:
      break;
    }
  } while (dwarf_siblingof(&child, &child) == 0);
}

// The scope that `die` makes within `outer`; `outer` itself where it has no name to add.
uint32_t DwarfFrames::add_scope(Dwarf_Die &die, uint32_t outer, Unit &out) {
  auto name = attribute_string(die, DW_AT_name);
  if (name.empty() && dwarf_tag(&die) == DW_TAG_namespace) name = "(anonymous namespace)";
  if (name.empty() || out.scopes[outer].size() + name.size() > kLongestScope) return outer;
  out.scopes.push_back(out.scopes[outer] + name + "::");
  return static_cast<uint32_t>(out.scopes.size() - 1);
}

void DwarfFrames::set_name(Dwarf_Die &die, SourceFrame &frame) {
  frame.system_name = attribute_string(die, DW_AT_linkage_name);
  if (frame.system_name.empty()) frame.system_name = attribute_string(die, DW_AT_MIPS_linkage_name);
  if (!frame.system_name.empty()) {
    frame.function = function_name(frame.system_name);
    return;
  }
  frame.system_name = attribute_string(die, DW_AT_name);
  if (!frame.system_name.empty()) frame.function = scope_of(declaration_of(die)) + frame.system_name;
}

std::string DwarfFrames::scope_of(Dwarf_Die die) {
  Dwarf_Die unit;
  if (dwarf_diecu(&die, &unit, nullptr, nullptr) == nullptr) return "";
  const auto &[functions, scoped, scopes] = listed(unit);
  const auto offset = dwarf_dieoffset(&die);
  const auto found = std::lower_bound(scoped.begin(), scoped.end(), offset,
                                      [](const auto &entry, Dwarf_Off value) { return entry.die < value; });
  return found != scoped.end() && found->die == offset ? scopes[found->scope] : "";
}

} // namespace castaway
