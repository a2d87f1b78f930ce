// Small text tools for parsers of hostile text. Pure; any thread; OFFLINE.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace castaway {

// The lines of `text`, without their newlines; an unfinished last one counts.
std::vector<std::string_view> lines_of(std::string_view text);

// The whole of `text` as a number: no sign, no blanks, at least one digit, no overflow.
std::optional<uint64_t> parse_decimal(std::string_view text);
std::optional<uint64_t> parse_hexadecimal(std::string_view text);

// Takes the text up to `delimiter` off the front of `rest`, and the delimiter with it. All of it if there is none.
std::string_view take_until(std::string_view &rest, char delimiter);

std::string_view trimmed(std::string_view text);

} // namespace castaway
