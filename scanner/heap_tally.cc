// Blocks are many and short, and nobody can predict where they start: one after the other they cost more by the guesses
// that go wrong than by all that is done. So a line of codes is summed up as a whole, where it has several blocks whose
// first two codes say all; by AVX-512 any line that has no large ones.
//
// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/heap_tally.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace castaway {

namespace {

constexpr size_t kLine = HeapMap::kLine;
constexpr size_t kPage = 4096, kPagesAhead = 4;

// The blocks that start in one line.
struct Line {
  uintptr_t base;
  const uint8_t *codes;
  uint64_t starts; // not zero

  Block block_at(size_t granule) const { return HeapMap::decode_code(address(granule), codes + granule); }
  Block first() const { return block_at(first_granule()); }
  Block last() const { return block_at(last_granule()); }
  size_t first_granule() const { return static_cast<size_t>(__builtin_ctzll(starts)); }
  size_t last_granule() const { return kLine - 1 - static_cast<size_t>(__builtin_clzll(starts)); }
  uintptr_t address(size_t granule) const { return base + (granule << HeapMap::kGranuleBits); }
};

void add_each(HeapTally &sum, Line line) {
  for (; line.starts; line.starts &= line.starts - 1) {
    Block block = line.first();
    ++sum.blocks;
    sum.bytes += block.size;
    sum.large += block.size > HeapMap::kSmallBytes;
    sum.overlaps |= block.begin < sum.reach;
    sum.reach = std::max(sum.reach, block.granule_end());
  }
}

#if defined(__SSE2__)

constexpr size_t kSpan = HeapMap::kSpan;

// All bytes are what the last one was.
__m128i last_everywhere(__m128i bytes) {
  bytes = _mm_unpackhi_epi8(bytes, bytes);
  return _mm_shuffle_epi32(_mm_shufflehi_epi16(bytes, 0xff), 0xff);
}

uint64_t sum_of_bytes(__m128i bytes) {
  __m128i halves = _mm_sad_epu8(bytes, _mm_setzero_si128());
  return static_cast<uint64_t>(_mm_cvtsi128_si64(halves)) +
         static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(halves, halves)));
}

bool any(__m128i bytes) { return _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())) != 0xffff; }

// Finds blocks that begin before the end of another one, in spans one after the other.
class OverlapFinder {
public:
  // Not zero where one begins.
  __m128i overlaps(const HeapMap::SpanSizes &sizes) {
    const __m128i numbers = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // In the byte of each start, the number of the granule behind the block; then in each byte, the furthest so far.
    __m128i ends = _mm_and_si128(_mm_add_epi8(_mm_add_epi8(numbers, _mm_set1_epi8(1)), sizes.whole), sizes.starts);
    ends = _mm_max_epu8(ends, _mm_slli_si128(ends, 1));
    ends = _mm_max_epu8(ends, _mm_slli_si128(ends, 2));
    ends = _mm_max_epu8(ends, _mm_slli_si128(ends, 4));
    ends = _mm_max_epu8(ends, _mm_slli_si128(ends, 8));
    const __m128i before = _mm_max_epu8(_mm_slli_si128(ends, 1), reach_);
    reach_ = _mm_subs_epu8(_mm_max_epu8(last_everywhere(ends), reach_), _mm_set1_epi8(kSpan));
    return _mm_and_si128(_mm_subs_epu8(before, numbers), sizes.starts);
  }

private:
  __m128i reach_ = _mm_setzero_si128(); // in each byte: so many granules of what comes belong to earlier blocks
};

// False, and nothing is added: blocks overlap, or some are large.
bool add_together(HeapTally &sum, const Line &line) {
  __m128i counts = _mm_setzero_si128(), whole = counts, rest = counts, unfit = counts;
  OverlapFinder finder;
  for (size_t i = 0; i < kLine; i += kSpan) {
    const HeapMap::SpanSizes sizes = HeapMap::sizes_in_span(line.codes + i);
    unfit = _mm_or_si128(unfit, _mm_or_si128(finder.overlaps(sizes), sizes.large));
    // No byte overflows: of four blocks, each 16 granules behind the one before, only the last is longer than that.
    counts = _mm_sub_epi8(counts, sizes.starts);
    whole = _mm_add_epi8(whole, sizes.whole);
    rest = _mm_add_epi8(rest, sizes.rest);
  }
  if (any(unfit) || line.first().begin < sum.reach) return false;
  sum.blocks += sum_of_bytes(counts);
  sum.bytes += sum_of_bytes(whole) * HeapMap::kGranule + sum_of_bytes(rest);
  sum.reach = line.last().granule_end();
  return true;
}

// Whether adding them together takes less time.
bool are_many(uint64_t starts) {
  for (int i = 0; i < 3; ++i) starts &= starts - 1;
  return starts != 0;
}

#else

bool add_together(HeapTally &, const Line &) { return false; }
bool are_many(uint64_t) { return false; }

#endif

#if defined(__x86_64__)

struct Numbers {
  alignas(kLine) uint8_t of[kLine];
  constexpr Numbers() : of() {
    for (size_t i = 0; i < kLine; ++i) of[i] = static_cast<uint8_t>(i);
  }
};
constexpr Numbers kNumbers;

// (GCC 12 warns of what _mm512_reduce_add_epi64() leaves undefined, its bug 105593.)
[[gnu::target("avx512f,avx512bw")]] uint64_t sum_of_bytes(__m512i bytes) {
  alignas(kLine) uint64_t sums[8];
  _mm512_store_si512(sums, _mm512_sad_epu8(bytes, _mm512_setzero_si512()));
  return std::accumulate(std::begin(sums), std::end(sums), uint64_t{0});
}

// False, and nothing is added: blocks overlap, or some are large. Of blocks that overlap, one overlaps the next one.
[[gnu::target("avx512f,avx512bw,avx512vbmi2,popcnt")]] bool add_at_once(HeapTally &sum, const Line &line) {
  const HeapMap::LineSizes sizes = HeapMap::sizes_in_line(line.codes, line.starts);
  const __m512i numbers = _mm512_load_si512(kNumbers.of);
  const __m512i ends = _mm512_add_epi8(_mm512_add_epi8(numbers, _mm512_set1_epi8(1)), sizes.whole);
  const uint64_t next_starts = line.starts & (line.starts - 1);
  const int with_next = __builtin_popcountll(next_starts);
  const uint64_t overlaps =
      _mm512_mask_cmpgt_epu8_mask((uint64_t{1} << with_next) - 1, _mm512_maskz_compress_epi8(line.starts, ends),
                                  _mm512_maskz_compress_epi8(next_starts, numbers));
  if ((sizes.large | overlaps) != 0 || line.address(line.first_granule()) < sum.reach) return false;
  sum.blocks += static_cast<uint64_t>(with_next) + 1;
  sum.bytes += sum_of_bytes(sizes.whole) * HeapMap::kGranule + sum_of_bytes(sizes.rest);
  const size_t last = line.last_granule();
  sum.reach = line.address(last + HeapMap::small_granules(line.codes[last]));
  return true;
}

#else

bool add_at_once(HeapTally &, const Line &) { return false; }

#endif

// The first read of a page in a copy takes long, unless it is done while others are read: see Marker::fetch_page(). (To
// access these ahead as well saves nothing that can be measured: they are few.)
[[gnu::always_inline]] inline void fetch_page(const uint8_t *codes) {
  for (size_t i = 0; i < 2; ++i) __builtin_prefetch(codes + i * kLine);
}

} // namespace

void HeapTally::append(const HeapTally &next) {
  if (next.blocks == 0) return;
  if (blocks == 0) begin = next.begin;
  blocks += next.blocks;
  bytes += next.bytes;
  large += next.large;
  overlaps |= next.overlaps || next.begin < reach;
  reach = std::max(reach, next.reach);
}

bool can_tally_at_once() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi2");
#else
  return false;
#endif
}

HeapTally tally(uintptr_t base, const uint8_t *codes, size_t count, BegunPages *begun, bool at_once) {
  HeapTally sum;
  for (size_t at = 0; at < count; at += kLine) {
    if (at % kPage == 0) fetch_page(codes + at + kPagesAhead * kPage);
    Line line = {base + (at << HeapMap::kGranuleBits), codes + at, HeapMap::starts_in_line(codes + at)};
    if (!line.starts) continue;
    if (begun) begun[at / HeapMap::kPageGranules] |= bit_of_page(at);
    if (sum.blocks == 0) sum.begin = line.first().begin;
    const bool added = at_once ? add_at_once(sum, line) : are_many(line.starts) && add_together(sum, line);
    if (!added) add_each(sum, line);
  }
  return sum;
}

} // namespace castaway
