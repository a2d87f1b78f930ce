#include "profile/earlier_symbols.h"

namespace castaway {
namespace {

// Of code in a file that can be told from others.
bool is_symbolized(const ProfileData &profile, const ProfileLocation &location) {
  if (!location.mapping || location.lines.empty()) return false;
  const auto &mapping = profile.mappings[*location.mapping];
  return !mapping.build_id.empty() && location.address >= mapping.begin && location.address < mapping.end;
}

bool has_source(const ProfileData &profile, const ProfileLocation &location) {
  return !profile.functions[location.lines[0].function].file.empty();
}

// With a symbol, or with a name that stands for none. Not where lines were spared: that is a symbol without a place.
bool is_complete(const ProfileData &profile, const ProfileLocation &location) {
  if (location.function_offset) return true;
  const bool is_fallback = profile.functions[location.lines[0].function].system_name.empty();
  return location.lines.size() == 1 && is_fallback && !has_source(profile, location);
}

} // namespace

void EarlierSymbols::add(const ProfileData &profile) {
  for (const auto &location : profile.locations) {
    if (!is_symbolized(profile, location)) continue;
    const auto &mapping = profile.mappings[*location.mapping];
    auto &file = by_build_id_[mapping.build_id];
    file.has_sources |= has_source(profile, location);
    if (!is_complete(profile, location)) continue;
    Symbolized symbols{.frames = {}, .offset = location.function_offset, .known = location.function_offset.has_value()};
    for (const auto &line : location.lines) {
      const auto &function = profile.functions[line.function];
      symbols.frames.push_back({function.name, function.system_name, function.file, line.line});
    }
    file.by_offset.emplace(location.address - mapping.begin + mapping.offset, std::move(symbols));
  }
}

EarlierSymbols::Found EarlierSymbols::find(const std::string &build_id, uint64_t offset) const {
  const auto file = by_build_id_.find(build_id);
  if (file == by_build_id_.end()) return {};
  const auto known = file->second.by_offset.find(offset);
  return known == file->second.by_offset.end() ? Found() : Found{&known->second, file->second.has_sources};
}

} // namespace castaway
