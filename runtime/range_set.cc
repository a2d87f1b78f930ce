// A set of address ranges; see range_set.h.
#include "runtime/range_set.h"

#include "runtime/memory.h"

#include <cstring>

namespace castaway {

bool RangeSet::ready() {
  if (!ranges_) ranges_ = static_cast<Range *>(own_memory((kMost + 2) * sizeof(Range)));
  return ranges_ != nullptr;
}

size_t RangeSet::first_ending_after(uintptr_t address) const {
  size_t low = 0, high = count_;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (ranges_[middle].end > address)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// Puts `with` in the place of the ranges from..to.
void RangeSet::replace(size_t from, size_t to, std::span<const Range> with) {
  changing_ = true;
  std::memmove(ranges_ + from + with.size(), ranges_ + to, (count_ - to) * sizeof(Range));
  std::memcpy(ranges_ + from, with.data(), with.size_bytes());
  count_ = count_ - (to - from) + with.size();
  changing_ = false;
}

void RangeSet::add(Range range) {
  if (range.empty()) return;
  SpinGuard guard(lock_);
  if (!guard || !ready() || count_ >= kMost) return incomplete_.store(true, std::memory_order_relaxed);
  // Ranges that touch this one become part of it.
  size_t from = range.begin == 0 ? 0 : first_ending_after(range.begin - 1);
  size_t to = from;
  while (to < count_ && ranges_[to].begin <= range.end) {
    if (ranges_[to].begin < range.begin) range.begin = ranges_[to].begin;
    if (ranges_[to].end > range.end) range.end = ranges_[to].end;
    ++to;
  }
  replace(from, to, {&range, 1});
}

void RangeSet::remove(Range range) {
  if (range.empty()) return;
  SpinGuard guard(lock_);
  if (!guard) return incomplete_.store(true, std::memory_order_relaxed);
  if (count_ == 0) return;
  size_t from = first_ending_after(range.begin);
  size_t to = from;
  Range rest[2];
  size_t rests = 0;
  for (; to < count_ && ranges_[to].begin < range.end; ++to) {
    if (ranges_[to].begin < range.begin) rest[rests++] = {ranges_[to].begin, range.begin};
    if (ranges_[to].end > range.end) rest[rests++] = {range.end, ranges_[to].end};
  }
  if (count_ - (to - from) + rests > kMost) return incomplete_.store(true, std::memory_order_relaxed);
  replace(from, to, {rest, rests});
}

} // namespace castaway
