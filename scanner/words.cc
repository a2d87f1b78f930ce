// The filter's three versions, for processors with and without wide vectors.
//
// Owner: scanner. Context: SNAPSHOT or a test. The wide ones drop what is no candidate by moving the others together:
// which words of a heap are pointers is what no branch predictor knows.
#include "scanner/words.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace castaway {

namespace {

using Gather = PointerFilter::Gather;

// Words looked at together in the plain version: all of them are dropped with one branch, or none.
constexpr size_t kGroup = 4;

// How many there are. (A sum of `at` and more than that would be no pointer.)
[[gnu::always_inline]] inline size_t words_from(const Word *at, const Word *end) {
  return static_cast<size_t>(end - at);
}

size_t gather_plain(const PointerFilter &filter, const Word *&at, const Word *end, uintptr_t *out, size_t room) {
  size_t count = 0;
  auto append = [&](uintptr_t address) { // no branch
    out[count] = address;
    count += filter.passes(address);
  };
  for (; words_from(at, end) >= kGroup && count + PointerFilter::kSlack <= room; at += kGroup) {
    int any = 0;
    for (size_t i = 0; i < kGroup; ++i) any |= filter.passes(address_in(at[i]));
    for (size_t i = 0; any && i < kGroup; ++i) append(address_in(at[i]));
  }
  for (; at < end && words_from(at, end) < kGroup && count + PointerFilter::kSlack <= room; ++at)
    append(address_in(*at));
  return count;
}

#if defined(__x86_64__)

// For each mask of four lanes of 64 bits, as pairs of 32: where each lane's content comes from.
struct Moves {
  alignas(32) int32_t from[16][8];
  constexpr Moves() : from() {
    for (int mask = 0; mask < 16; ++mask)
      for (int lane = 0, to = 0; lane < 4; ++lane)
        if (mask >> lane & 1) from[mask][to] = 2 * lane, from[mask][to + 1] = 2 * lane + 1, to += 2;
  }
};
constexpr Moves kMoves;

[[gnu::target("avx2,popcnt")]] size_t gather_avx2(const PointerFilter &filter, const Word *&at, const Word *end,
                                                  uintptr_t *out, size_t room) {
  // Signed comparison with both sides moved down by half of all numbers is unsigned comparison.
  constexpr auto kHalf = static_cast<int64_t>(uint64_t{1} << 63);
  const __m256i mask = _mm256_set1_epi64x(static_cast<int64_t>(kAddressMask));
  const __m256i bias = _mm256_set1_epi64x(static_cast<int64_t>(static_cast<uint64_t>(kHalf) - filter.begin()));
  const __m256i limit = _mm256_set1_epi64x(static_cast<int64_t>(static_cast<uint64_t>(kHalf) + filter.size()));
  const __m256i hole_bias =
      _mm256_set1_epi64x(static_cast<int64_t>(static_cast<uint64_t>(kHalf) - filter.hole_begin()));
  const __m256i hole_limit =
      _mm256_set1_epi64x(static_cast<int64_t>(static_cast<uint64_t>(kHalf) + filter.hole_size()));
  size_t count = 0;
  for (; words_from(at, end) >= 4 && count + PointerFilter::kSlack <= room; at += 4) {
    __m256i addresses = _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(at)), mask);
    __m256i inside = _mm256_cmpgt_epi64(limit, _mm256_add_epi64(addresses, bias));
    __m256i in_hole = _mm256_cmpgt_epi64(hole_limit, _mm256_add_epi64(addresses, hole_bias));
    inside = _mm256_andnot_si256(in_hole, inside);
    int found = _mm256_movemask_pd(_mm256_castsi256_pd(inside));
    if (!found) continue;
    __m256i moves = _mm256_load_si256(reinterpret_cast<const __m256i *>(kMoves.from[found]));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + count), _mm256_permutevar8x32_epi32(addresses, moves));
    count += static_cast<size_t>(__builtin_popcount(static_cast<unsigned>(found)));
  }
  for (; at < end && words_from(at, end) < 4 && count + PointerFilter::kSlack <= room; ++at) {
    out[count] = address_in(*at);
    count += filter.passes(out[count]);
  }
  return count;
}

constexpr size_t kVector = 8; // words of one for AVX-512

// What that version compares with.
struct Bounds512 {
  __m512i begin, size, hole_begin, hole_size, mask;

  [[gnu::target("avx512f"), gnu::always_inline]] explicit Bounds512(const PointerFilter &filter)
      : begin(_mm512_set1_epi64(static_cast<int64_t>(filter.begin()))),
        size(_mm512_set1_epi64(static_cast<int64_t>(filter.size()))),
        hole_begin(_mm512_set1_epi64(static_cast<int64_t>(filter.hole_begin()))),
        hole_size(_mm512_set1_epi64(static_cast<int64_t>(filter.hole_size()))),
        mask(_mm512_set1_epi64(static_cast<int64_t>(kAddressMask))) {}
};

// Writes those addresses of `words` that pass to `out`; `here` says which words there are. Returns their number. No
// branch: whether there is one is what cannot be predicted either.
[[gnu::target("avx512f,popcnt"), gnu::always_inline]] inline size_t compress(const Bounds512 &bounds, __m512i words,
                                                                             __mmask8 here, uintptr_t *out) {
  __m512i addresses = _mm512_and_si512(words, bounds.mask);
  __mmask8 inside = _mm512_mask_cmplt_epu64_mask(here, _mm512_sub_epi64(addresses, bounds.begin), bounds.size);
  __mmask8 found =
      _mm512_mask_cmpge_epu64_mask(inside, _mm512_sub_epi64(addresses, bounds.hole_begin), bounds.hole_size);
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(found, addresses));
  return static_cast<size_t>(__builtin_popcount(found));
}

// The first words of a vector, of which only `left` are there.
[[gnu::always_inline]] inline __mmask8 first_of(size_t left) {
  return static_cast<__mmask8>(left >= kVector ? 0xff : (1u << left) - 1);
}

// Whether the whole vector at `words` has something within the bounds, be it in the hole.
[[gnu::target("avx512f"), gnu::always_inline]] inline __mmask8 within(const Bounds512 &bounds, const Word *words) {
  __m512i addresses = _mm512_and_si512(_mm512_loadu_si512(words), bounds.mask);
  return _mm512_cmplt_epu64_mask(_mm512_sub_epi64(addresses, bounds.begin), bounds.size);
}

[[gnu::target("avx512f,popcnt")]] size_t gather_avx512(const PointerFilter &filter, const Word *&at, const Word *end,
                                                       uintptr_t *out, size_t room) {
  constexpr size_t kTogether = 4 * kVector; // where there is no pointer for long, memory is the limit
  const Bounds512 bounds(filter);
  const Word *next = at; // a variable that nobody else sees
  size_t count = 0;
  while (next < end && count + PointerFilter::kSlack <= room) {
    auto left = static_cast<size_t>(end - next);
    if (left >= kTogether && !(within(bounds, next) | within(bounds, next + kVector) |
                               within(bounds, next + 2 * kVector) | within(bounds, next + 3 * kVector))) {
      next += kTogether;
      continue;
    }
    for (const Word *last = next + std::min(left, kTogether); next < last && count + PointerFilter::kSlack <= room;
         next += std::min(left, kVector)) {
      left = static_cast<size_t>(last - next);
      __mmask8 here = first_of(left);
      count += compress(bounds, _mm512_maskz_loadu_epi64(here, next), here, out + count);
    }
  }
  at = next;
  return count;
}

[[gnu::target("avx512f,popcnt")]] size_t gather_all_avx512(const PointerFilter &filter, const Word *at, const Word *end,
                                                           uintptr_t *out) {
  const Bounds512 bounds(filter);
  size_t count = 0;
  for (; at < end; at += kVector) {
    __mmask8 here = first_of(static_cast<size_t>(end - at));
    count += compress(bounds, _mm512_maskz_loadu_epi64(here, at), here, out + count);
  }
  return count;
}

#endif

template <Gather kGather>
size_t gather_all(const PointerFilter &filter, const Word *at, const Word *end, uintptr_t *out) {
  return kGather(filter, at, end, out, SIZE_MAX / 2);
}

} // namespace

PointerFilter::Version PointerFilter::version(Vectors vectors) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (vectors == Vectors::avx512 && __builtin_cpu_supports("avx512f")) return {gather_avx512, gather_all_avx512};
  if (vectors == Vectors::avx2 && __builtin_cpu_supports("avx2")) return {gather_avx2, gather_all<gather_avx2>};
#endif
  return vectors == Vectors::none ? Version{gather_plain, gather_all<gather_plain>} : Version{};
}

PointerFilter::Version PointerFilter::fastest() {
  for (Vectors each : {Vectors::avx512, Vectors::avx2})
    if (Version found = version(each); found.some) return found;
  return version(Vectors::none);
}

} // namespace castaway
