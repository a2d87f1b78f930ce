// ProfileWriter: addresses of an analysis into one pprof profile, each written once. Owner: one thread, OFFLINE.
#pragma once

#include "profile/analysis.h"
#include "profile/pprof_builder.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace castaway {

class ProfileWriter {
public:
  // The program's mapping, time and comments are in place afterwards. `analysis` outlives it.
  explicit ProfileWriter(Analysis &analysis);

  PprofBuilder &builder() { return builder_; }
  std::vector<LocationId> stack(const std::vector<uint64_t> &addresses);
  // A frame that stands for no code, "[allocation not sampled]".
  LocationId marker(std::string_view name);
  std::string finish() &&;

private:
  struct MappingUse {
    MappingId id = 0;
    bool all_known = true;
  };

  LocationId location(uint64_t address);
  MappingUse *mapping_at(uint64_t address);
  MappingUse &use(int mapping);
  void add_program_mapping();

  Analysis &analysis_;
  bool symbolize_;
  PprofBuilder builder_;
  std::unordered_map<uint64_t, LocationId> locations_;
  std::map<std::string, LocationId, std::less<>> markers_;
  std::map<int, MappingUse> mappings_; // by index in the memory map
};

} // namespace castaway
