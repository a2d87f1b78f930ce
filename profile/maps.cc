#include "profile/maps.h"

#include "profile/text.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <optional>

namespace castaway {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

// The kernel writes a newline in a file's name as \012 and leaves all else as it is.
std::string unescape(std::string_view path) {
  constexpr std::string_view kNewline = "\\012";
  std::string out(path);
  for (size_t at = 0; (at = out.find(kNewline, at)) != std::string::npos; at++) out.replace(at, kNewline.size(), "\n");
  return out;
}

std::string hexadecimal(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%" PRIx64, number);
  return text;
}

// 7f12a000-7f12b000 r-xp 00001000 08:01 1234   /usr/lib/libfoo.so (deleted)
std::optional<MemoryMapping> parse_line(std::string_view line) {
  const auto begin = parse_hexadecimal(take_until(line, '-'));
  const auto end = parse_hexadecimal(take_until(line, ' '));
  const auto permissions = take_until(line, ' ');
  const auto offset = parse_hexadecimal(take_until(line, ' '));
  const auto device = take_until(line, ' ');
  const auto inode = parse_decimal(take_until(line, ' '));
  if (!begin || !end || !offset || !inode || *begin >= *end) return std::nullopt;
  if (permissions.size() != 4 || device.empty()) return std::nullopt;

  MemoryMapping mapping{*begin, *end, *offset, permissions[2] == 'x', false, {}};
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  if (line.ends_with(kDeleted)) {
    mapping.deleted = true;
    line.remove_suffix(kDeleted.size());
  }
  mapping.path = unescape(line);
  return mapping;
}

} // namespace

Result<MemoryMap> MemoryMap::parse(std::string_view text) {
  MemoryMap map;
  size_t number = 0;
  for (const auto line : lines_of(text)) {
    number++;
    auto mapping = parse_line(line);
    if (!mapping) return Error{"maps, line " + std::to_string(number) + ": not a mapping"};
    map.mappings_.push_back(std::move(*mapping));
  }
  // In the kernel's order, but for modules that were unloaded: the runtime writes those behind.
  const auto comes_first = [](const MemoryMapping &a, const MemoryMapping &b) { return a.begin < b.begin; };
  if (!std::is_sorted(map.mappings_.begin(), map.mappings_.end(), comes_first))
    std::stable_sort(map.mappings_.begin(), map.mappings_.end(), comes_first);
  for (size_t i = 1; i < map.mappings_.size(); i++)
    if (map.mappings_[i].begin < map.mappings_[i - 1].end)
      return Error{"maps: " + hexadecimal(map.mappings_[i].begin) + " lies in the mapping before it"};
  return map;
}

int MemoryMap::find(uint64_t address) const {
  const auto after =
      std::upper_bound(mappings_.begin(), mappings_.end(), address,
                       [](uint64_t value, const MemoryMapping &mapping) { return value < mapping.begin; });
  if (after == mappings_.begin()) return -1;
  const auto index = static_cast<int>(after - mappings_.begin()) - 1;
  return mappings_[static_cast<size_t>(index)].contains(address) ? index : -1;
}

} // namespace castaway
