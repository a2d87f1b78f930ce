// The memory map of a process as /proc/PID/maps has it, parsed from hostile text.
//
// Owner: the caller; immutable. OFFLINE.
#pragma once

#include "profile/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace castaway {

struct MemoryMapping {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t offset = 0; // in the file
  bool executable = false;
  bool deleted = false; // the file that is mapped no longer has this name
  std::string path;     // "", "[stack]", "[vdso]" or a file's; without " (deleted)"

  bool contains(uint64_t address) const { return address >= begin && address < end; }
  bool is_file() const { return !path.empty() && path[0] == '/'; }
};

class MemoryMap {
public:
  // Mappings must be in ascending order and disjoint, as the kernel lists them; the error names the line.
  static Result<MemoryMap> parse(std::string_view text);

  const std::vector<MemoryMapping> &mappings() const { return mappings_; }
  // Index of the mapping that contains `address`, -1 if none does.
  int find(uint64_t address) const;

private:
  std::vector<MemoryMapping> mappings_;
};

} // namespace castaway
