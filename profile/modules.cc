#include "profile/modules.h"

#include <cstdio>
#include <map>
#include <optional>

namespace castaway {
namespace {

// A deleted file can still be opened through the process that has it mapped, given the rights.
std::string path_in_process(const MemoryMapping &mapping, uint64_t pid) {
  char path[96];
  snprintf(path, sizeof path, "/proc/%llu/map_files/%llx-%llx", static_cast<unsigned long long>(pid),
           static_cast<unsigned long long>(mapping.begin), static_cast<unsigned long long>(mapping.end));
  return path;
}

} // namespace

Modules::Modules(const MemoryMap &map, uint64_t page_size, uint64_t pid) : map_(map) {
  const auto &mappings = map.mappings();
  module_of_.assign(mappings.size(), -1);
  std::map<std::string, File> files;
  for (size_t i = 0; i < mappings.size(); i++) {
    const auto &mapping = mappings[i];
    if (!mapping.executable || !(mapping.is_file() || mapping.path == "[vdso]")) continue;
    auto found = files.find(mapping.path);
    if (found == files.end()) found = files.emplace(mapping.path, open(mapping, pid)).first;
    module_of_[i] = add(mapping, found->second, page_size);
  }
  for (size_t i = 0; i < mappings.size(); i++)
    if (module_of_[i] < 0 && mappings[i].is_file()) module_of_[i] = adopt(mappings[i]);
}

Modules::File Modules::open(const MemoryMapping &mapping, uint64_t pid) const {
  if (mapping.path == "[vdso]") return ElfFile::own_vdso();
  if (!mapping.deleted) return ElfFile::open(mapping.path);
  auto file = pid == 0 ? File(Error{""}) : ElfFile::open(path_in_process(mapping, pid));
  if (!file) return Error{mapping.path + ": deleted since it was mapped"};
  return file;
}

// The module of an executable mapping: a known one at the same bias, or a new one.
int Modules::add(const MemoryMapping &mapping, const File &file, uint64_t page_size) {
  Module module;
  module.path = mapping.path;
  if (const auto bias = file ? (*file)->bias(mapping, page_size) : std::nullopt) {
    module.file = *file;
    module.bias = *bias;
  } else {
    module.error = file ? mapping.path + ": is not the file that was mapped" : file.error();
    module.bias = mapping.begin - mapping.offset;
  }
  const auto [known, is_new] = by_path_.try_emplace({module.path, module.bias}, static_cast<int>(modules_.size()));
  if (is_new) modules_.push_back(std::move(module));
  return known->second;
}

int Modules::adopt(const MemoryMapping &mapping) const {
  for (auto i = by_path_.lower_bound({mapping.path, 0}); i != by_path_.end() && i->first.first == mapping.path; i++) {
    const auto &module = modules_[static_cast<size_t>(i->second)];
    if (module.file && module.file->covers(mapping.begin - module.bias)) return i->second;
  }
  return -1;
}

const Module *Modules::of_mapping(int mapping) const {
  const int module = mapping < 0 ? -1 : module_of_[static_cast<size_t>(mapping)];
  return module < 0 ? nullptr : &modules_[static_cast<size_t>(module)];
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
