// See hot.h.
#include "runtime/hot.h"

namespace castaway {

alignas(64) constinit Hot hot = [] {
  Hot words{.slow_callers_begin = 0,
            .slow_callers_length = SIZE_MAX,
            .malloc = nullptr,
            .free = nullptr,
            .large_are_dense = 0,
            .costs = {}};
  for (size_t i = 0; i < HeapMap::kSmallGranules; ++i)
    words.costs[i] = static_cast<uint32_t>((i + 1) * HeapMap::kGranule); // what allocations of the class need
  return words;
}();

} // namespace castaway
