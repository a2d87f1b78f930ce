// Where markers leave work for each other: items of their work lists, and parts of large ranges.
//
// Thread-safe: a spin lock, held for a copy of some hundred words. A marker asks hungry() first, which costs a load, so
// that nothing is shared while everybody has enough.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: build() returns false when the workspace ran out.
#pragma once

#include "scanner/crew.h"
#include "scanner/image.h"
#include "scanner/tables.h"
#include "scanner/window_queue.h"

#include <atomic>
#include <cstdint>
#include <span>

namespace castaway {

class WorkPool {
public:
  using Item = uint64_t;                     // an Object
  static constexpr size_t kMostItems = 4096; // that are taken at once
  static constexpr size_t kStep = 64 << 10;  // bytes of a range that are read before somebody is asked

  // `items`: how many it has room for. `ranges` are the first work.
  bool build(Crew &crew, size_t items, std::span<const Range> ranges, WindowQueue &windows, Workspace &workspace);

  // Whether somebody waits for work that is not there.
  bool hungry() const { return idle_.load(std::memory_order_relaxed) > available_.load(std::memory_order_relaxed); }
  // Whether all but the one who asks, who works, wait.
  bool others_wait() const {
    return idle_.load(std::memory_order_relaxed) + 1 >= working_.load(std::memory_order_relaxed);
  }
  // False where there is no room: they stay the giver's.
  bool give(std::span<const Item> items);
  bool give(Range range);

  struct Work {
    size_t items = 0;     // written to where take() was told to
    Range range;          // or this
    bool windows = false; // or what can be taken from the queue of windows
    explicit operator bool() const { return items > 0 || !range.empty() || windows; }
  };
  // Waits for work. When all that there are wait, a new round of the windows begins; where that has none, nothing is
  // returned, to all of them. REQUIRES: the caller has given all of its buffer to the windows.
  Work take(Item *items);
  // A marker begins; to be called once by each, before its first take().
  void join() { working_.fetch_add(1); }

private:
  class Guard;
  Work take_some(Item *items);

  Crew *crew_ = nullptr;
  WindowQueue *windows_ = nullptr;
  std::span<Item> items_;
  std::span<Range> ranges_;
  size_t item_count_ = 0;
  size_t range_count_ = 0;
  std::atomic<bool> locked_ = false;
  std::atomic<uint32_t> working_ = 0;   // markers that have come
  std::atomic<uint32_t> idle_ = 0;      // of these, those that wait
  std::atomic<uint32_t> available_ = 0; // how many could take something
};

} // namespace castaway
