// The scanner's algorithm again, slow and obviously right: sets, whole rounds until nothing changes, nothing clever.
//
// Owner: the tests. Context: a test program only. Shares no code with the scanner: it does not even ask the heap map,
// but is told the blocks. Knows neither overlapping objects nor shared memory between ranges.
#pragma once

#include "scanner/image.h"

#include <cstring>
#include <iterator>
#include <map>
#include <set>
#include <vector>

namespace castaway::testing {

class Reference {
public:
  using Set = std::set<uintptr_t>; // of objects, by their beginning

  // `sizes`: the size of each block by its beginning.
  Reference(const Image &image, const std::map<uintptr_t, size_t> &sizes) : image_(image), live_(image.threads.size()) {
    for (auto [begin, size] : sizes) objects_[begin] = {begin, begin + size, begin + (size + 15) / 16 * 16, true};
    for (const ThreadImage &thread : image.threads) {
      if (!candidate(thread)) continue;
      for (Range range : {thread.stack, thread.tls}) objects_[range.begin] = {range.begin, range.end, range.end, false};
    }
    find_live();
    find_retained();
    find_leaks();
  }

  bool live(size_t thread) const { return live_[thread]; }
  Reason reason(size_t thread) const {
    if (live_[thread]) return Reason::none;
    int next = edge(thread);
    if (next == kGone) return Reason::abandoned;
    if (next == kNone) return Reason::unreachable;
    for (size_t steps = 0; steps <= live_.size() && next >= 0; ++steps, next = edge(static_cast<size_t>(next)))
      if (next == static_cast<int>(thread)) return Reason::deadlock;
    return Reason::behind;
  }
  // Whether it waits for an end that never comes, however long one follows, and not for whoever reaches some memory.
  bool certain(size_t thread) const {
    int at = static_cast<int>(thread);
    for (size_t steps = 0; steps <= live_.size() && at >= 0; ++steps) at = edge(static_cast<size_t>(at));
    return !live_[thread] && at != kNone;
  }

  Set live_objects;                // blocks and waiters' memory
  std::vector<Set> retained;       // blocks, by thread
  std::map<uintptr_t, bool> leaks; // block -> indirect

private:
  static constexpr int kNone = -1, kGone = -2;
  struct Item {
    uintptr_t begin, end, reach;
    bool heap;
  };

  static bool candidate(const ThreadImage &thread) { return thread.is_waiter && !thread.is_main; }

  uintptr_t object_at(uintptr_t address) const {
    auto next = objects_.upper_bound(address);
    if (next == objects_.begin()) return 0;
    const Item &item = std::prev(next)->second;
    return address < item.reach ? item.begin : 0;
  }

  Set targets(Range range) const {
    Set found;
    for (uintptr_t at = (range.begin + 7) / 8 * 8; at + 8 <= range.end; at += 8) {
      uintptr_t word;
      std::memcpy(&word, reinterpret_cast<const void *>(at), 8);
      for (uintptr_t address : {word, word << 16 >> 16})
        if (uintptr_t object = object_at(address)) found.insert(object);
    }
    return found;
  }
  Set targets(uintptr_t object) const { return targets(Range{objects_.at(object).begin, objects_.at(object).end}); }

  // `start` and all that can be reached from it without entering `barrier`.
  Set closure(Set start, const Set &barrier) const {
    Set all;
    while (!start.empty()) {
      uintptr_t object = *start.begin();
      start.erase(start.begin());
      if (barrier.count(object) || !all.insert(object).second) continue;
      start.merge(targets(object));
    }
    return all;
  }

  Set of_thread(const ThreadImage &thread) const {
    Set found;
    for (Range range : {thread.stack, thread.tls, thread.descriptor}) {
      found.merge(targets(range));
      if (objects_.count(range.begin)) found.insert(range.begin);
    }
    found.merge(targets(Range{reinterpret_cast<uintptr_t>(thread.registers.data()),
                              reinterpret_cast<uintptr_t>(thread.registers.data() + thread.registers.size())}));
    return found;
  }

  int thread_of(int32_t tid) const {
    for (size_t i = 0; i < image_.threads.size(); ++i)
      if (image_.threads[i].tid == tid) return static_cast<int>(i);
    return kGone;
  }
  // Whom this thread waits for: kNone where not known, kGone where that one has exited.
  int edge(size_t thread) const {
    const ThreadImage &image = image_.threads[thread];
    if (image.wait == WaitKind::mutex && image.mutex_owner) return thread_of(image.mutex_owner);
    if (image.wait == WaitKind::join && image.joined) return thread_of(image.joined);
    return kNone;
  }

  bool word_can_be_reached(size_t thread, uintptr_t address) const {
    if (uintptr_t object = object_at(address)) return live_objects.count(object) != 0;
    for (size_t i = 0; i < image_.threads.size(); ++i)
      if (image_.threads[i].descriptor.contains(address) && candidate(image_.threads[i]))
        return i == thread || live_[i];
    return true;
  }
  bool can_end(size_t thread) const {
    const ThreadImage &image = image_.threads[thread];
    if (!candidate(image) || image.words.empty()) return true;
    for (const WaitWord &word : image.words)
      if (std::memcmp(reinterpret_cast<const void *>(word.address), &word.expected, 4) != 0) return true;
    int next = edge(thread);
    if (image.wait == WaitKind::join && next != kNone) return next == kGone || live_[static_cast<size_t>(next)];
    for (const WaitWord &word : image.words)
      if (word.shared) return true;
    if (next != kNone) return next != kGone && live_[static_cast<size_t>(next)];
    for (const WaitWord &word : image.words)
      if (word_can_be_reached(thread, word.address)) return true;
    return false;
  }

  void find_live() {
    Set start;
    for (Range root : image_.roots) start.merge(targets(root));
    start.merge(targets(Range{reinterpret_cast<uintptr_t>(image_.root_values.data()),
                              reinterpret_cast<uintptr_t>(image_.root_values.data() + image_.root_values.size())}));
    for (const BlockNote &note : image_.notes)
      if (note.ignored) start.insert(note.begin);
    for (bool changed = true; changed;) {
      live_objects = closure(start, {});
      changed = false;
      for (size_t i = 0; i < live_.size(); ++i)
        if (!live_[i] && can_end(i)) {
          live_[i] = changed = true;
          start.merge(of_thread(image_.threads[i]));
        }
    }
  }

  bool is_loaders(uintptr_t block) const {
    for (const BlockNote &note : image_.notes)
      if (note.begin == block && note.loader) return true;
    return false;
  }

  void find_retained() {
    taken_ = live_objects;
    retained.resize(live_.size());
    for (size_t i = 0; i < live_.size(); ++i) {
      if (live_[i]) continue;
      for (uintptr_t object : closure(of_thread(image_.threads[i]), taken_)) {
        taken_.insert(object);
        if (objects_.at(object).heap && !is_loaders(object)) retained[i].insert(object);
      }
    }
  }

  void find_leaks() {
    for (const BlockNote &note : image_.notes)
      if (note.loader) taken_.insert(note.begin);
    Set lost, referred, done;
    for (auto &[begin, item] : objects_)
      if (!taken_.count(begin)) lost.insert(begin);
    for (uintptr_t from : lost)
      for (uintptr_t to : targets(from))
        if (to != from && lost.count(to)) referred.insert(to);
    auto take = [&](uintptr_t direct) {
      leaks[direct] = false;
      done.insert(direct);
      for (uintptr_t object : closure(targets(direct), taken_))
        if (done.insert(object).second) leaks[object] = true;
    };
    for (uintptr_t block : lost)
      if (!referred.count(block)) take(block);
    for (uintptr_t block : lost)
      if (!done.count(block)) take(block);
  }

  const Image &image_;
  std::map<uintptr_t, Item> objects_;
  std::vector<bool> live_;
  Set taken_;
};

} // namespace castaway::testing
