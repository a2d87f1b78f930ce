// Tables in the Workspace's memory, and the sort that needs none of its own.
//
// Owner: scanner. Context: SNAPSHOT or a test; one thread. Fails by saying so: a table without memory has no data(),
// a push that finds none returns false; what was in the table stays valid. Elements are plain data, zero at first.
#pragma once

#include "scanner/scanner.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace castaway {

// `count` zeroed elements; data() is null if and only if there is no memory, even where `count` is 0.
// `touched`: see Workspace.
template <typename T> std::span<T> take_table(Workspace &workspace, size_t count, bool touched = false) {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
  size_t bytes = 0;
  // NOLINTNEXTLINE(bugprone-sizeof-expression): elements may be pointers
  if (__builtin_mul_overflow(count ? count : 1, sizeof(T), &bytes)) return {};
  T *data = static_cast<T *>(touched ? workspace.take_touched(bytes) : workspace.take(bytes));
  return {data, data ? count : 0};
}

// Of a table sorted by `begin`, the entry with this one; null where there is none. `at`: where the last call of several
// with ever higher values came to, 0 before the first.
template <typename T> T *entry_at(std::span<T> table, size_t &at, uintptr_t begin) {
  while (at < table.size() && table[at].begin < begin) ++at;
  return at < table.size() && table[at].begin == begin ? &table[at] : nullptr;
}

// A table whose length is not known beforehand. Doubling leaves at most as much behind as it holds.
template <typename T> class GrowingTable {
public:
  bool push(Workspace &workspace, const T &value) {
    if (count_ == table_.size() && !grow(workspace)) return false;
    table_[count_++] = value;
    return true;
  }

  size_t size() const { return count_; }
  T &operator[](size_t i) { return table_[i]; }
  const T &operator[](size_t i) const { return table_[i]; }
  std::span<T> all() { return table_.first(count_); }
  std::span<const T> all() const { return table_.first(count_); }

private:
  static constexpr size_t kFirst = 256;

  bool grow(Workspace &workspace) {
    std::span<T> larger = take_table<T>(workspace, count_ ? count_ * 2 : kFirst);
    if (!larger.data()) return false;
    if (count_) std::memcpy(larger.data(), table_.data(), count_ * sizeof(T));
    table_ = larger;
    return true;
  }

  std::span<T> table_;
  size_t count_ = 0;
};

// Moves the element at `root` down until no child of it comes after it.
template <typename T, typename Less> void sift_down(std::span<T> heap, size_t root, Less less) {
  T value = heap[root];
  for (size_t child = 2 * root + 1; child < heap.size(); child = 2 * root + 1) {
    if (child + 1 < heap.size() && less(heap[child], heap[child + 1])) ++child;
    if (!less(value, heap[child])) break;
    heap[root] = heap[child];
    root = child;
  }
  heap[root] = value;
}

// Heap sort: in place and without recursion, which std::sort is not. Not stable.
template <typename T, typename Less> void sort_table(std::span<T> table, Less less) {
  for (size_t root = table.size() / 2; root-- > 0;) sift_down(table, root, less);
  for (size_t end = table.size(); end-- > 1;) {
    T last = table[end];
    table[end] = table[0];
    table[0] = last;
    sift_down(table.first(end), 0, less);
  }
}

// The number of elements at the front of a sorted table for which `before` holds.
template <typename T, typename Before> size_t count_before(std::span<T> table, Before before) {
  size_t low = 0;
  size_t high = table.size();
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (before(table[middle]))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

} // namespace castaway
