// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/work_pool.h"

#include "scanner/flag_guard.h"

#include <algorithm>
#include <cstring>

namespace castaway {

class WorkPool::Guard {
public:
  explicit Guard(WorkPool &pool) : pool_(pool), guard_(pool.locked_) {}
  Guard(const Guard &) = delete;
  Guard &operator=(const Guard &) = delete;
  ~Guard() {
    size_t some = pool_.range_count_ + (pool_.item_count_ + kMostItems - 1) / kMostItems;
    pool_.available_.store(static_cast<uint32_t>(some), std::memory_order_relaxed);
  }

private:
  WorkPool &pool_;
  FlagGuard guard_; // until after that
};

bool WorkPool::build(Crew &crew, size_t items, std::span<const Range> ranges, WindowQueue &windows,
                     Workspace &workspace) {
  constexpr size_t kMoreRanges = 1024;
  crew_ = &crew;
  windows_ = &windows;
  items_ = take_table<Item>(workspace, items);
  ranges_ = take_table<Range>(workspace, ranges.size() + kMoreRanges);
  if (!items_.data() || !ranges_.data()) return false;
  for (const Range &range : ranges) ranges_[range_count_++] = range;
  return true;
}

bool WorkPool::give(std::span<const Item> items) {
  Guard guard(*this);
  if (items.size() > items_.size() - item_count_) return false;
  std::memcpy(items_.data() + item_count_, items.data(), items.size_bytes());
  item_count_ += items.size();
  return true;
}

bool WorkPool::give(Range range) {
  Guard guard(*this);
  if (range_count_ == ranges_.size()) return false;
  ranges_[range_count_++] = range;
  return true;
}

WorkPool::Work WorkPool::take_some(Item *items) {
  if (item_count_ > 0) {
    // Not all where others wait as well.
    size_t share = item_count_ / (1 + idle_.load(std::memory_order_relaxed));
    size_t count = std::clamp<size_t>(share, 1, kMostItems);
    item_count_ -= count;
    std::memcpy(items, items_.data() + item_count_, count * sizeof *items);
    return {count, {}, false};
  }
  if (range_count_ > 0) return {0, ranges_[--range_count_], false};
  return {0, {}, windows_->ready() > 0};
}

WorkPool::Work WorkPool::take(Item *items) {
  bool waits = false;
  for (;;) {
    {
      Guard guard(*this);
      Work work = take_some(items);
      if (work && waits) idle_.fetch_sub(1, std::memory_order_relaxed);
      if (work) return work;
      if (!waits) idle_.fetch_add(1, std::memory_order_relaxed);
      waits = true;
      // Who works can still give; who waits cannot. One that has not come yet finds nothing to do.
      if (idle_.load(std::memory_order_relaxed) == working_.load(std::memory_order_relaxed) && !windows_->start_round())
        return {};
    }
    crew_->rest();
  }
}

} // namespace castaway
