// Modules: which ELF file stands behind which part of a process's memory.
//
// Every executable file mapping (and the vdso) belongs to one module; so do the other mappings of the same file at the
// same distance, which hold its call frame information. A file that is gone or is no ELF file leaves its mappings with
// a module without ELF file: addresses in it can still be named after the path. A file is opened when the first address
// in it is asked for: a server maps forty libraries, and its stacks lie in two or three of them.
//
// Owner: the caller, who keeps the MemoryMap alive. One thread, though all is const. OFFLINE.
#pragma once

#include "profile/elf_file.h"
#include "profile/maps.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
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
  // Those of which any address was asked for.
  const std::deque<Module> &opened() const { return modules_; }
  // nullptr if `address` belongs to none.
  const Module *at(uint64_t address) const;
  const Module *of_mapping(int mapping) const;
  // The same for data: a module's zeroed variables lie in memory behind its last mapping that is no file's.
  const Module *of_data(uint64_t address) const;

private:
  using File = Result<std::shared_ptr<const ElfFile>>;
  using ByBias = std::map<uint64_t, int>;
  void learn(const MemoryMapping &asked) const;
  File open(const MemoryMapping &mapping) const;
  int add(const MemoryMapping &mapping, const File &file, ByBias &known) const;
  int adopt(const MemoryMapping &mapping, const ByBias &known) const;

  const MemoryMap &map_;
  uint64_t page_size_, pid_;
  mutable std::deque<Module> modules_;
  mutable std::vector<int> module_of_; // by mapping; kNone, or kNotAsked so far
};

} // namespace castaway
