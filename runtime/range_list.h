// Lists of ranges, for building the roots. Context of RangeList: SNAPSHOT, or before main.
#pragma once

#include "runtime/sys.h"
#include "scanner/image.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

// Sorts ranges, and makes overlapping and touching ones one; returns how many are left.
inline size_t join_ranges(Range *ranges, size_t count) {
  std::sort(ranges, ranges + count, [](const Range &a, const Range &b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (kept > 0 && ranges[i].begin <= ranges[kept - 1].end)
      ranges[kept - 1].end = std::max(ranges[kept - 1].end, ranges[i].end);
    else
      ranges[kept++] = ranges[i];
  }
  return kept;
}

class RangeList {
public:
  RangeList() : ranges_(static_cast<Range *>(sys::map_memory(kMost * sizeof(Range)))) {}

  void add(Range range) {
    if (range.empty()) return;
    if (count_ > 0 && ranges_[count_ - 1].end == range.begin)
      ranges_[count_ - 1].end = range.end;
    else if (ranges_ && count_ < kMost)
      ranges_[count_++] = range;
    else
      complete_ = false;
  }
  // Gives back the memory; the list is over.
  void release() {
    if (ranges_) sys::unmap_memory(ranges_, kMost * sizeof(Range));
    ranges_ = nullptr;
  }
  // As join_ranges().
  void normalize() { count_ = join_ranges(ranges_, count_); }

  std::span<const Range> all() const { return {ranges_, count_}; }
  bool complete() const { return complete_; }
  // The sum of their sizes.
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const Range &range : all()) sum += range.size();
    return sum;
  }

private:
  static constexpr size_t kMost = size_t{1} << 22;
  Range *ranges_;
  size_t count_ = 0;
  bool complete_ = true;
};

// Calls visit(Range) for each part of `range` that lies in none of `without`, which is sorted and disjoint.
template <typename Visit> void for_each_outside(Range range, std::span<const Range> without, Visit visit) {
  const Range *next = std::lower_bound(without.data(), without.data() + without.size(), range.begin,
                                       [](const Range &r, uintptr_t at) { return r.end <= at; });
  uintptr_t at = range.begin;
  for (; next != without.data() + without.size() && next->begin < range.end; ++next) {
    if (next->begin > at) visit(Range{at, next->begin});
    at = std::max(at, next->end);
  }
  if (at < range.end) visit(Range{at, range.end});
}

// Calls visit(Range) for each part of `range` that lies in one of `within`, which is sorted and disjoint.
template <typename Visit> void for_each_inside(Range range, std::span<const Range> within, Visit visit) {
  const Range *next = std::lower_bound(within.data(), within.data() + within.size(), range.begin,
                                       [](const Range &r, uintptr_t at) { return r.end <= at; });
  for (; next != within.data() + within.size() && next->begin < range.end; ++next)
    visit(Range{std::max(range.begin, next->begin), std::min(range.end, next->end)});
}

} // namespace castaway
