#include "profile/symbolizer.h"

#include "profile/demangle.h"
#include "profile/earlier_symbols.h"
#include "profile/file.h"
#include "profile/runtime_frames.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <unistd.h>

namespace castaway {
namespace {

int find_no_debug_information(Dwfl_Module *, void **, const char *, Dwarf_Addr, const char *, const char *, GElf_Word,
                              char **) {
  return -1;
}

// Whether libdwfl would find a file of debug information by name, or at least something in its place: beside the file,
// below .debug there, or below /usr/lib/debug with its directory or the end of that.
bool has_named_debug_file(std::string_view path, const char *link) {
  const std::filesystem::path file(path);
  const auto name = link == nullptr ? file.filename().string() + ".debug" : std::string(link);
  std::error_code ignored;
  const auto is_there = [&](const std::filesystem::path &candidate) {
    return std::filesystem::exists(candidate, ignored) && !std::filesystem::equivalent(candidate, file, ignored);
  };
  const auto directory = file.parent_path();
  if (is_there(directory / name) || is_there(directory / ".debug" / name)) return true;
  const auto below = directory.relative_path();
  for (auto from = below.begin();; from++) {
    std::filesystem::path candidate("/usr/lib/debug");
    for (auto part = from; part != below.end(); part++) candidate /= *part;
    if (is_there(candidate / name)) return true;
    if (from == below.end()) return false;
  }
}

// libdwfl's own way ends at debuginfod: to learn that there is no server, it loads an HTTP library and thirty others,
// which would be half of a small report. So it is asked only where there is a file to find.
int find_debug_information(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file,
                           const char *link, GElf_Word checksum, char **found) {
  const int fd = dwfl_build_id_find_debuginfo(module, data, name, base, file, link, checksum, found);
  if (fd >= 0 || file == nullptr || !has_named_debug_file(file, link)) return fd;
  return dwfl_standard_find_debuginfo(module, data, name, base, file, link, checksum, found);
}

std::string debug_path_of_build(const std::string &id) {
  constexpr size_t kDirectory = 2; // digits
  if (id.size() <= kDirectory) return "";
  return "/usr/lib/debug/.build-id/" + id.substr(0, kDirectory) + "/" + id.substr(kDirectory) + ".debug";
}

bool has_named_debug_file(const ElfFile &file) {
  const auto link = file.section(".gnu_debuglink");
  const auto *text = reinterpret_cast<const char *>(link.data());
  const std::string name(text, link.empty() ? 0 : strnlen(text, link.size()));
  return has_named_debug_file(file.path(), name.empty() ? nullptr : name.c_str());
}

// libdwfl asks debuginfod servers where this variable names some: a reporter waits for no network.
void forbid_network() {
  static std::once_flag once;
  std::call_once(once, [] { unsetenv("DEBUGINFOD_URLS"); });
}

std::string base_name(const std::string &path) { return path.substr(path.rfind('/') + 1); }

std::string with_offset(const std::string &name, uint64_t offset) {
  char text[24];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(offset));
  return name.empty() ? text : name + "+" + text;
}

} // namespace

// One file's symbols, in a Dwfl of its own with the file's own virtual addresses.
struct Symbolizer::ModuleSymbols {
  ModuleSymbols(const Module &module, SymbolDetail detail, std::string &debug_path) {
    debug_path_pointer = debug_path.empty() ? nullptr : debug_path.data();
    // Another path than the usual is a test's.
    auto *usual = debug_path.empty() ? find_debug_information : dwfl_standard_find_debuginfo;
    callbacks.find_debuginfo = detail == SymbolDetail::full ? usual : find_no_debug_information;
    callbacks.debuginfo_path = &debug_path_pointer;
    if (!module.file || module.file->path().empty()) return;
    auto file = open_file(module.file->path());
    dwfl = file ? dwfl_begin(&callbacks) : nullptr;
    if (dwfl == nullptr) return;
    dwfl_report_begin(dwfl);
    const auto &path = module.file->path();
    // The descriptor becomes libdwfl's if it takes the file.
    const int fd = dup(file->get());
    elf = fd < 0 ? nullptr : dwfl_report_elf(dwfl, path.c_str(), path.c_str(), fd, 0, true);
    if (elf == nullptr && fd >= 0) close(fd);
    dwfl_report_end(dwfl, nullptr, nullptr);
    if (elf != nullptr && detail == SymbolDetail::full) lines.emplace(elf);
  }

  ~ModuleSymbols() {
    if (dwfl != nullptr) dwfl_end(dwfl);
  }

  ModuleSymbols(const ModuleSymbols &) = delete;
  ModuleSymbols &operator=(const ModuleSymbols &) = delete;

  char *debug_path_pointer = nullptr;
  Dwfl_Callbacks callbacks = {};
  Dwfl *dwfl = nullptr;
  Dwfl_Module *elf = nullptr;
  std::optional<DwarfFrames> lines;
};

Symbolizer::Symbolizer(const Modules &modules, SymbolDetail detail, std::string debug_path, EarlierSymbols *earlier)
    : modules_(modules), detail_(detail), debug_path_(std::move(debug_path)), earlier_(earlier) {
  forbid_network();
}

Symbolizer::~Symbolizer() = default;

const Symbolized &Symbolizer::at(uint64_t address) {
  const auto known = known_.find(address);
  if (known != known_.end()) return known->second;
  return known_.emplace(address, look_up(address)).first->second;
}

const Symbolized *Symbolizer::find_earlier(const Module &module, uint64_t address) {
  if (earlier_ == nullptr || !module.file) return nullptr;
  const auto &map = modules_.map();
  const auto &mapping = map.mappings()[static_cast<size_t>(map.find(address))];
  const auto find = [&] { return earlier_->find(module.file->build_id(), address - mapping.begin + mapping.offset); };
  auto found = find();
  // To read debug information takes longer than to read a profile.
  while (found.symbols == nullptr && !spares_lines(module, address) && may_tell_more(module) &&
         !debug_of(module).was_read && earlier_->learn_more())
    found = find();
  if (found.symbols == nullptr || (!found.final && !is_spared(module) && may_tell_more(module))) return nullptr;
  // The same code may be mapped from a file with another name.
  const auto &symbols = *found.symbols;
  return symbols.known || symbols.frames[0].function == fallback_name(address) ? &symbols : nullptr;
}

bool Symbolizer::is_spared(const Module &module) const { return spares_runtime_ && is_runtime_module(module.path); }

bool Symbolizer::spares_lines(const Module &module, uint64_t address) {
  if (!is_spared(module) && (!spared_.contains(address) || debug_of(module).was_read)) return false;
  return debug_of(module).compressed;
}

// In the file itself, or where find_debug_information() finds it.
Symbolizer::DebugInformation &Symbolizer::debug_of(const Module &module) {
  const auto [known, is_new] = debug_.try_emplace(&module);
  auto &debug = known->second;
  if (!is_new || detail_ == SymbolDetail::names_only || !module.file || module.file->path().empty()) return debug;
  const auto look_into = [&debug](const ElfFile &file) {
    const bool is_old_form = !file.section(".zdebug_info").empty(); // always compressed
    debug.exists = is_old_form || !file.section(".debug_info").empty();
    debug.compressed = is_old_form || file.is_compressed(".debug_info");
  };
  look_into(*module.file);
  if (!debug.exists && debug_path_.empty())
    if (const auto file = ElfFile::open(debug_path_of_build(module.file->build_id()))) {
      look_into(**file);
      debug.file = *file;
    }
  debug.exists = debug.exists || !debug_path_.empty() || has_named_debug_file(*module.file);
  return debug;
}

// The table that libdwfl would take: the file's own, or that of its debug information, or else what the file exports.
ElfSymbols *Symbolizer::own_symbols_of(const Module &module) {
  const auto [known, is_new] = own_symbols_.try_emplace(&module);
  auto &symbols = known->second;
  if (!is_new || !module.file) return symbols.get();
  const auto take = [&symbols](const std::shared_ptr<const ElfFile> &file, uint32_t type) {
    const auto table = file == nullptr ? std::nullopt : file->symbol_table(type);
    if (table) symbols = std::make_unique<ElfSymbols>(file, *table);
    return table.has_value();
  };
  const auto &debug = debug_of(module);
  const bool is_all_known = !debug.exists || debug.file != nullptr;
  const bool has_own = take(module.file, SHT_SYMTAB) || (is_all_known && take(debug.file, SHT_SYMTAB));
  if (!has_own && is_all_known && module.file->section(".gnu_debugdata").empty()) take(module.file, SHT_DYNSYM);
  return symbols.get();
}

ElfSymbol Symbolizer::symbol_at(const Module &module, uint64_t inside) {
  if (auto *own = own_symbols_of(module))
    if (const auto symbol = own->at(inside)) return *symbol;
  auto *elf = symbols_of(module).elf;
  GElf_Off offset = 0;
  GElf_Sym symbol;
  const char *name =
      elf == nullptr ? nullptr : dwfl_module_addrinfo(elf, inside, &offset, &symbol, nullptr, nullptr, nullptr);
  return name == nullptr ? ElfSymbol() : ElfSymbol{name, inside - offset};
}

Symbolized Symbolizer::look_up(uint64_t address) {
  Symbolized result;
  if (const auto *module = modules_.at(address)) {
    if (const auto *known = find_earlier(*module, address)) return *known;
    const bool without_lines = spares_lines(*module, address);
    const auto inside = address - module->bias;
    const auto symbol = symbol_at(*module, inside);
    if (!symbol.name.empty() && !without_lines) result.offset = inside - symbol.value;
    if (debug_of(*module).exists && !without_lines) result.frames = lines_at(*module, inside);
    const std::string name(symbol.name);
    if (result.frames.empty() && !name.empty()) result.frames.push_back({function_name(name), name, "", 0});
  }
  result.known = !result.frames.empty();
  if (result.frames.empty()) result.frames.emplace_back();
  for (auto &frame : result.frames)
    if (frame.function.empty()) frame.function = fallback_name(address);
  return result;
}

std::vector<SourceFrame> Symbolizer::lines_at(const Module &module, uint64_t inside) {
  auto &lines = symbols_of(module).lines;
  if (!lines) return {};
  debug_of(module).was_read = true;
  return lines->at(inside);
}

std::optional<Variable> Symbolizer::variable_at(uint64_t address) {
  const auto *module = modules_.of_data(address);
  if (module == nullptr) return std::nullopt;
  const auto inside = address - module->bias;
  GElf_Off offset = 0;
  GElf_Sym symbol;
  auto *elf = symbols_of(*module).elf;
  const char *name =
      elf == nullptr ? nullptr : dwfl_module_addrinfo(elf, inside, &offset, &symbol, nullptr, nullptr, nullptr);
  // A symbol that is only the nearest before the address, as of a stripped file, would mislead.
  if (name == nullptr || offset >= std::max<uint64_t>(symbol.st_size, 1))
    return Variable{with_offset("", inside), 0, module->path};
  return Variable{function_name(name), offset, module->path};
}

Symbolizer::ModuleSymbols &Symbolizer::symbols_of(const Module &module) {
  auto &symbols = symbols_[&module];
  if (!symbols) symbols = std::make_unique<ModuleSymbols>(module, detail_, debug_path_);
  return *symbols;
}

std::string Symbolizer::fallback_name(uint64_t address) const {
  const auto *module = modules_.at(address);
  if (module != nullptr) return with_offset(base_name(module->path), address - module->bias);
  return with_offset("", address);
}

} // namespace castaway
