// Which words may be pointers into the heap: the filter that nearly all that are none do not pass.
//
// Owner: scanner. Context: SNAPSHOT or a test; no state, cannot fail. A filter errs on one side only: a word that it
// drops cannot point to an object.
#pragma once

#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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
  static constexpr size_t kGroup = 4; // words looked at together

  PointerFilter() = default;
  explicit PointerFilter(Range bounds)
      : begin_(bounds.begin), size_(bounds.size()), low_(static_cast<int32_t>(bounds.begin >> 32)),
        high_(static_cast<int32_t>((bounds.end - 1) >> 32)) {}

  bool passes(uintptr_t address) const { return address - begin_ < size_; }

  // A bit for each of the kGroup words at `words` that has to be looked at alone.
  uint32_t candidates(const Word *words) const {
#if defined(__SSE2__)
    // Bits 32 to 47 of four words in four lanes, compared with those of the bounds.
    __m128 first = _mm_castsi128_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(words)));
    __m128 second = _mm_castsi128_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(words + 2)));
    __m128i halves = _mm_castps_si128(_mm_shuffle_ps(first, second, _MM_SHUFFLE(3, 1, 3, 1)));
    halves = _mm_and_si128(halves, _mm_set1_epi32(0xffff));
    __m128i out =
        _mm_or_si128(_mm_cmplt_epi32(halves, _mm_set1_epi32(low_)), _mm_cmpgt_epi32(halves, _mm_set1_epi32(high_)));
    return static_cast<uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(out))) ^ 0xf;
#else
    uint32_t found = 0;
    for (size_t i = 0; i < kGroup; ++i) found |= static_cast<uint32_t>(passes(address_in(words[i]))) << i;
    return found;
#endif
  }

private:
  uintptr_t begin_ = 0;
  size_t size_ = 0;
  int32_t low_ = 0;
  int32_t high_ = -1;
};

} // namespace castaway
