// Sums that stop at the largest value: hostile numbers must not wrap to small or negative ones. Pure; OFFLINE.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace castaway {

inline void add_saturated(int64_t &sum, int64_t value) {
  const auto limit = value < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
  if (__builtin_add_overflow(sum, value, &sum)) sum = limit;
}

// The largest value for what is larger.
inline int64_t saturated(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

} // namespace castaway
