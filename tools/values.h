// Readers of option values: text in, a value or nothing out. The forms are those that the runtime reads in the
// environment variables (runtime/config.h); each is exact, so that a slip of the pen is refused, not guessed at.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace castaway {

// Digits only, from `least` to `most`.
std::optional<uint64_t> read_number(std::string_view text, uint64_t least, uint64_t most);

// A whole number and a unit: 500ms, 60s, 5m, 1h; and plain 0. At most kLongestDuration.
std::optional<std::chrono::nanoseconds> read_duration(std::string_view text);

inline constexpr std::chrono::nanoseconds kLongestDuration = std::chrono::hours(24 * 366);

// 1, on, true, yes; 0, off, false, no.
std::optional<bool> read_switch(std::string_view text);

// all, fork, none, or program names parted by commas, none of them empty or with a slash.
bool is_follow(std::string_view text);

} // namespace castaway
