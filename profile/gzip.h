// gzip of whole buffers. Pure; any thread; OFFLINE.
#pragma once

#include "profile/result.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace castaway {

Result<std::string> gzip(std::string_view bytes);

bool is_gzip(std::span<const std::byte> bytes);

// Hostile bytes: a damaged or truncated stream, and one that gives more than `limit` bytes, is an Error.
Result<std::string> gunzip(std::span<const std::byte> bytes, size_t limit);

} // namespace castaway
