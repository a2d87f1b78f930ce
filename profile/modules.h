// Modules: which ELF file stands behind which part of a process's memory.
//
// Every executable file mapping (and the vdso) belongs to one module; so do the other mappings of the same file at the
// same distance, which hold its call frame information. A file that is gone or is no ELF file leaves its mappings with
// a module without ELF file: addresses in it can still be named after the path.
//
// Owner: the caller, who keeps the MemoryMap alive. Immutable. OFFLINE.
#pragma once

#include "profile/elf_file.h"
#include "profile/maps.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace castaway {

struct Module {
  std::string path; // as in the maps
  std::shared_ptr<const ElfFile> file;
  uint64_t bias = 0; // address in the process minus address in the file
  std::string error; // why there is no file
};

class Modules {
public:
  // `pid` helps with files that were deleted while they are mapped, if that process still lives; 0 if not known.
  Modules(const MemoryMap &map, uint64_t page_size, uint64_t pid);

  const MemoryMap &map() const { return map_; }
  const std::vector<Module> &all() const { return modules_; }
  // nullptr if `address` belongs to none.
  const Module *at(uint64_t address) const;
  const Module *of_mapping(int mapping) const;
  // The same for data: a module's zeroed variables lie in memory behind its last mapping that is no file's.
  const Module *of_data(uint64_t address) const;

private:
  using File = Result<std::shared_ptr<const ElfFile>>;
  File open(const MemoryMapping &mapping, uint64_t pid) const;
  int add(const MemoryMapping &mapping, const File &file, uint64_t page_size);
  int adopt(const MemoryMapping &mapping) const;

  const MemoryMap &map_;
  std::vector<Module> modules_;
  std::vector<int> module_of_;                              // by mapping, -1 for none
  std::map<std::pair<std::string, uint64_t>, int> by_path_; // and bias
};

} // namespace castaway
