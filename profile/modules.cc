#include "profile/modules.h"

#include <cstdio>
#include <optional>

namespace castaway {
namespace {

constexpr std::string_view kVdso = "[vdso]";
constexpr int kNone = -1, kNotAsked = -2; // instead of a module's index

// A deleted file can still be opened through the process that has it mapped, given the rights.
std::string path_in_process(const MemoryMapping &mapping, uint64_t pid) {
  char path[96];
  snprintf(path, sizeof path, "/proc/%llu/map_files/%llx-%llx", static_cast<unsigned long long>(pid),
           static_cast<unsigned long long>(mapping.begin), static_cast<unsigned long long>(mapping.end));
  return path;
}

} // namespace

Modules::Modules(const MemoryMap &map, uint64_t page_size, uint64_t pid) : map_(map), page_size_(page_size), pid_(pid) {
  for (const auto &mapping : map.mappings())
    module_of_.push_back(mapping.is_file() || mapping.path == kVdso ? kNotAsked : kNone);
}

// All mappings of a file together: what is not executable belongs to a module that is.
void Modules::learn(const MemoryMapping &asked) const {
  const auto &mappings = map_.mappings();
  const auto is_same = [&asked](const MemoryMapping &mapping) {
    return mapping.deleted == asked.deleted && mapping.path == asked.path;
  };
  std::optional<File> file;
  ByBias known;
  for (size_t i = 0; i < mappings.size(); i++) {
    if (!mappings[i].executable || !is_same(mappings[i])) continue;
    if (!file) file = open(mappings[i]);
    module_of_[i] = add(mappings[i], *file, known);
  }
  for (size_t i = 0; i < mappings.size(); i++)
    if (!mappings[i].executable && is_same(mappings[i])) module_of_[i] = adopt(mappings[i], known);
}

Modules::File Modules::open(const MemoryMapping &mapping) const {
  if (mapping.path == kVdso) return ElfFile::own_vdso();
  if (!mapping.deleted) return ElfFile::open(mapping.path);
  auto file = pid_ == 0 ? File(Error{""}) : ElfFile::open(path_in_process(mapping, pid_));
  if (!file) return Error{mapping.path + ": deleted since it was mapped"};
  return file;
}

// The module of an executable mapping: a known one at the same bias, or a new one.
int Modules::add(const MemoryMapping &mapping, const File &file, ByBias &known) const {
  Module module;
  module.path = mapping.path;
  if (const auto bias = file ? (*file)->bias(mapping, page_size_) : std::nullopt) {
    module.file = *file;
    module.bias = *bias;
  } else {
    module.error = file ? mapping.path + ": is not the file that was mapped" : file.error();
    module.bias = mapping.begin - mapping.offset;
  }
  const auto [at, is_new] = known.try_emplace(module.bias, static_cast<int>(modules_.size()));
  if (is_new) modules_.push_back(std::move(module));
  return at->second;
}

int Modules::adopt(const MemoryMapping &mapping, const ByBias &known) const {
  for (const auto &[bias, index] : known) {
    const auto &module = modules_[static_cast<size_t>(index)];
    if (module.file && module.file->covers(mapping.begin - bias)) return index;
  }
  return kNone;
}

const Module *Modules::of_mapping(int mapping) const {
  if (mapping < 0) return nullptr;
  const auto &module = module_of_[static_cast<size_t>(mapping)];
  if (module == kNotAsked) learn(map_.mappings()[static_cast<size_t>(mapping)]);
  return module == kNone ? nullptr : &modules_[static_cast<size_t>(module)];
}

const Module *Modules::at(uint64_t address) const { return of_mapping(map_.find(address)); }

const Module *Modules::of_data(uint64_t address) const {
  const auto &mappings = map_.mappings();
  int at = map_.find(address);
  // Back over adjacent memory without a file; the kernel may have merged it with what the program mapped behind.
  while (at > 0 && mappings[static_cast<size_t>(at)].path.empty() &&
         mappings[static_cast<size_t>(at) - 1].end == mappings[static_cast<size_t>(at)].begin)
    at--;
  const auto *module = of_mapping(at);
  return module != nullptr && module->file && module->file->covers(address - module->bias) ? module : nullptr;
}

} // namespace castaway
