#include "profile/earlier_symbols.h"

namespace castaway {
namespace {

// A symbol and a source file: known from debug information.
bool is_complete(const ProfileData &profile, const ProfileLocation &location) {
  if (!location.mapping || !location.function_offset || location.lines.empty()) return false;
  const auto &mapping = profile.mappings[*location.mapping];
  if (mapping.build_id.empty() || location.address < mapping.begin || location.address >= mapping.end) return false;
  return !profile.functions[location.lines[0].function].file.empty();
}

} // namespace

void EarlierSymbols::add(const ProfileData &profile) {
  for (const auto &location : profile.locations) {
    if (!is_complete(profile, location)) continue;
    const auto &mapping = profile.mappings[*location.mapping];
    Symbolized symbols{.frames = {}, .offset = location.function_offset, .known = true};
    for (const auto &line : location.lines) {
      const auto &function = profile.functions[line.function];
      symbols.frames.push_back({function.name, function.system_name, function.file, line.line});
    }
    by_build_id_[mapping.build_id].emplace(location.address - mapping.begin + mapping.offset, std::move(symbols));
  }
}

const Symbolized *EarlierSymbols::find(const std::string &build_id, uint64_t offset) const {
  const auto file = by_build_id_.find(build_id);
  if (file == by_build_id_.end()) return nullptr;
  const auto known = file->second.find(offset);
  return known == file->second.end() ? nullptr : &known->second;
}

} // namespace castaway
