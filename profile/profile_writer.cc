#include "profile/profile_writer.h"

#include "profile/chain_text.h"
#include "profile/profile_comments.h"

namespace castaway {

ProfileWriter::ProfileWriter(Analysis &analysis)
    : analysis_(analysis), symbolize_(analysis.capture().fact("symbolize") != "off") {
  add_program_mapping();
  const auto &capture = analysis.capture();
  const auto now = capture.number_or("wall_ns", 0);
  const auto first = capture.number_or("previous_wall_ns", 0);
  builder_.set_time(static_cast<int64_t>(now), first != 0 && first < now ? static_cast<int64_t>(now - first) : 0);
  for (const auto &comment : capture_comments(capture, analysis.notes())) builder_.add_comment(comment);
  for (const auto &line : chain_text(analysis)) builder_.add_comment(comment_line(kAnswer, line));
}

// pprof takes the first mapping for the program, used or not.
void ProfileWriter::add_program_mapping() {
  const auto &mappings = analysis_.modules().map().mappings();
  const auto program = analysis_.capture().fact("exe");
  int first = -1;
  for (size_t i = 0; i < mappings.size(); i++) {
    if (!mappings[i].executable || !mappings[i].is_file()) continue;
    if (first < 0) first = static_cast<int>(i);
    if (mappings[i].path == program) {
      first = static_cast<int>(i);
      break;
    }
  }
  if (first >= 0) use(first);
}

ProfileWriter::MappingUse &ProfileWriter::use(int mapping) {
  const auto [known, is_new] = mappings_.try_emplace(mapping);
  if (is_new) {
    const auto &range = analysis_.modules().map().mappings()[static_cast<size_t>(mapping)];
    const auto *module = analysis_.modules().of_mapping(mapping);
    const auto build_id = module != nullptr && module->file ? module->file->build_id() : std::string();
    known->second.id = builder_.add_mapping({range.begin, range.end, range.offset, range.path, build_id});
  }
  return known->second;
}

ProfileWriter::MappingUse *ProfileWriter::mapping_at(uint64_t address) {
  const int mapping = analysis_.modules().map().find(address);
  return analysis_.modules().of_mapping(mapping) == nullptr ? nullptr : &use(mapping);
}

LocationId ProfileWriter::location(uint64_t address) {
  const auto known = locations_.find(address);
  if (known != locations_.end()) return known->second;
  auto *mapping = mapping_at(address);
  PprofLocation location;
  location.address = address;
  location.mapping = mapping == nullptr ? 0 : mapping->id;
  if (symbolize_) {
    const auto &symbols = analysis_.symbols().at(address);
    if (mapping != nullptr) mapping->all_known &= symbols.known;
    if (symbols.offset) location.function_offset_plus_one = *symbols.offset + 1;
    for (const auto &frame : symbols.frames)
      location.lines.push_back({builder_.add_function(frame.function, frame.system_name, frame.file), frame.line});
  }
  return locations_.emplace(address, builder_.add_location(location)).first->second;
}

std::vector<LocationId> ProfileWriter::stack(const std::vector<uint64_t> &addresses) {
  std::vector<LocationId> locations;
  for (const auto address : addresses) locations.push_back(location(address));
  return locations;
}

LocationId ProfileWriter::marker(std::string_view name) {
  const auto known = markers_.find(name);
  if (known != markers_.end()) return known->second;
  PprofLocation location;
  location.lines.push_back({builder_.add_function(name, name, ""), 0});
  return markers_.emplace(std::string(name), builder_.add_location(location)).first->second;
}

std::string ProfileWriter::finish() && {
  for (const auto &[index, mapping] : mappings_)
    if (symbolize_ && mapping.all_known) builder_.set_symbolized(mapping.id);
  return std::move(builder_).finish();
}

} // namespace castaway
