// Which words may be pointers into the heap: the filter that nearly all that are none do not pass.
//
// Owner: scanner. Context: SNAPSHOT or a test; no state, cannot fail. A filter errs on one side only: a word that it
// drops cannot point to an object.
#pragma once

#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

// A word of the target's memory, whatever type it has there.
typedef uintptr_t __attribute__((may_alias)) Word;

// User addresses have 48 bits at most, so that a word without its top 16 bits is the only address it can mean: itself,
// or itself without a high tag.
inline constexpr uintptr_t kAddressMask = (uintptr_t{1} << 48) - 1;
inline uintptr_t address_in(uintptr_t word) { return word & kAddressMask; }

// The aligned words that lie wholly within `range`.
struct Words {
  const Word *begin;
  const Word *end;

  explicit Words(Range range)
      : begin(reinterpret_cast<const Word *>((range.begin + 7) & ~uintptr_t{7})),
        end(reinterpret_cast<const Word *>(range.end & ~uintptr_t{7})) {
    if (begin > end) end = begin;
  }
  size_t size() const { return static_cast<size_t>(end - begin); }
};

class PointerFilter {
public:
  // How many entries behind those that are found may be overwritten.
  static constexpr size_t kSlack = 8;

  // Writes the addresses of those words from `at` up to `end` that may be pointers to `out`, in their order, until less
  // than kSlack of its `room` is left. Moves `at`, returns the number written.
  using Gather = size_t (*)(const PointerFilter &, const Word *&at, const Word *end, uintptr_t *out, size_t room);

  // The same for all words up to `end`. `out` has room for them all, and for kSlack more.
  using GatherAll = size_t (*)(const PointerFilter &, const Word *at, const Word *end, uintptr_t *out);

  PointerFilter() = default;
  // All that is within the bounds, but not in the hole, may be a pointer.
  PointerFilter(Range bounds, Range hole)
      : begin_(bounds.begin), size_(bounds.size()), hole_begin_(hole.begin), hole_size_(hole.size()) {}

  uintptr_t begin() const { return begin_; }
  size_t size() const { return size_; }
  uintptr_t hole_begin() const { return hole_begin_; }
  size_t hole_size() const { return hole_size_; }
  bool passes(uintptr_t address) const {
    return (address - begin_ < size_) & (address - hole_begin_ >= hole_size_); // no branch
  }

  // The version for these vectors, nulls where this processor has none such. They differ in nothing else.
  struct Version {
    Gather some = nullptr;
    GatherAll all = nullptr;
  };
  enum class Vectors { none, avx2, avx512 };
  static Version version(Vectors vectors);
  static Version fastest();

private:
  uintptr_t begin_ = 0;
  size_t size_ = 0;
  uintptr_t hole_begin_ = 0;
  size_t hole_size_ = 0;
};

} // namespace castaway
