#include "tools/values.h"

#include <array>
#include <charconv>

namespace castaway {

namespace {

struct Unit {
  std::string_view name;
  std::chrono::nanoseconds length;
};

constexpr std::array kUnits = {
    Unit{"ms", std::chrono::milliseconds(1)},
    Unit{"s", std::chrono::seconds(1)},
    Unit{"m", std::chrono::minutes(1)},
    Unit{"h", std::chrono::hours(1)},
};

const Unit *find_unit(std::string_view name) {
  for (const Unit &unit : kUnits) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

bool is_program_name(std::string_view name) { return !name.empty() && name.find('/') == std::string_view::npos; }

} // namespace

std::optional<uint64_t> read_number(std::string_view text, uint64_t least, uint64_t most) {
  uint64_t value = 0;
  const char *end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end || value < least || value > most) return std::nullopt;
  return value;
}

std::optional<std::chrono::nanoseconds> read_duration(std::string_view text) {
  const size_t digits = text.find_first_not_of("0123456789");
  if (digits == std::string_view::npos) {
    return read_number(text, 0, 0) ? std::optional(std::chrono::nanoseconds(0)) : std::nullopt;
  }
  const Unit *unit = find_unit(text.substr(digits));
  if (unit == nullptr) return std::nullopt;
  const auto count = read_number(text.substr(0, digits), 0, static_cast<uint64_t>(kLongestDuration / unit->length));
  if (!count) return std::nullopt;
  return static_cast<int64_t>(*count) * unit->length;
}

std::optional<bool> read_switch(std::string_view text) {
  if (text == "1" || text == "on" || text == "true" || text == "yes") return true;
  if (text == "0" || text == "off" || text == "false" || text == "no") return false;
  return std::nullopt;
}

bool is_follow(std::string_view text) {
  while (true) {
    const size_t comma = text.find(',');
    if (!is_program_name(text.substr(0, comma))) return false;
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

} // namespace castaway
