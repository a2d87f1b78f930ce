// The heap map: which heap blocks exist, and how long they are, asking no allocator.
//
// One code byte per 16-byte granule of heap, in leaves of 64 MiB of address space under a root table. At a
// block's first granule:
//
//   0x00         no block starts here
//   0x01..0x10   a block of one granule, of exactly that many bytes (an empty request counts as one byte)
//   0x11         a block of one granule with an entry in the side table, which knows its size
//   0x12..0x7e   a block of (code - 0x10) granules; the next byte is 0x80 | flag << 4 | size % 16
//   0x7f         a large block; the next seven bytes are 0x80 | seven bits each, lowest first: 48 bits of
//                size, then the flag
//   0x80..0xff   continuation, never the start of a block
//
// The flag says that the side table (runtime/side_table.h) knows more of this block: a recorded allocation stack,
// a report to watch, an owner that is never reported.
//
// Contexts: `insert`, `erase` and `set_flag` run in HOOK, inside malloc and free, and take no lock: a byte is
// written only by the thread that owns the block at that moment, and one block's codes are one store where the
// block is not large. `find`, `decode` and `sweep` run in SNAPSHOT or on an image that nobody writes. Most of a leaf
// was never written, and sweeps may be told which pages were: the first read of any other costs a page fault.
// Nothing here makes a system call; a missing leaf is asked of the function given to the constructor.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace castaway {

// A block as the map knows it. `size` is the number of bytes that the program asked for.
struct Block {
  uintptr_t begin = 0;
  size_t size = 0;
  bool flagged = false;

  explicit operator bool() const { return begin != 0; }
  // The end of the last granule: addresses up to here count as pointers into the block.
  uintptr_t granule_end() const { return begin + ((size + 15) & ~size_t{15}); }
};

class HeapMap {
public:
  static constexpr int kGranuleBits = 4;
  static constexpr size_t kGranule = size_t{1} << kGranuleBits;
  static constexpr int kLeafBits = 26; // 64 MiB of address space per leaf
#if defined(__x86_64__)
  static constexpr int kAddressBits = 47; // of user space
#else
  static constexpr int kAddressBits = 48;
#endif
  static constexpr size_t kLeaves = size_t{1} << (kAddressBits - kLeafBits);
  static constexpr size_t kLeafGranules = size_t{1} << (kLeafBits - kGranuleBits);
  // A block that starts in a leaf's last granules keeps its continuation in this pad.
  static constexpr size_t kLeafPad = 16;
  static constexpr size_t kLeafBytes = kLeafGranules + kLeafPad;
  // Longest block, in granules, whose code holds its length; longer ones are large.
  static constexpr size_t kSmallGranules = 0x7e - 0x10;
  static constexpr size_t kSmallBytes = kSmallGranules * kGranule;

  // Returns kLeafBytes zeroed bytes, or null when there is no memory. Called in HOOK.
  using LeafSource = uint8_t *(*)();

  // Without a source a map is all zero, and so in a program's .bss: 16 MiB of root table.
  constexpr HeapMap() = default;
  explicit constexpr HeapMap(LeafSource source) : source_(source) {}
  void set_source(LeafSource source) { source_ = source; }
  HeapMap(const HeapMap &) = delete;
  HeapMap &operator=(const HeapMap &) = delete;

  // Notes a block of `size` bytes at `begin`, a multiple of 16. False when that is not so, or the leaf could not be
  // had: the map is then incomplete and no verdict may be based on it.
  [[gnu::always_inline]] bool insert(uintptr_t begin, size_t size, bool flagged = false) {
    if (insert_present(begin, size, flagged)) return true;
    return has_leaf(begin >> kLeafBits) && insert_present(begin, size, flagged);
  }

  // The same where the leaf is there already: false, and nothing done, where it is not, or `begin` is no multiple
  // of 16.
  [[gnu::always_inline]] bool insert_present(uintptr_t begin, size_t size, bool flagged = false) {
    uint8_t *code = code_of(begin);
    if (__builtin_expect(!code, 0)) return false;
    write_code(code, size, flagged);
    return true;
  }

  // The usual case of that, made short. `size`: 1 to kSmallBytes.
  [[gnu::always_inline]] bool insert_small(uintptr_t begin, size_t size) {
    uint8_t *code = code_of(begin);
    if (__builtin_expect(!code, 0)) return false;
    if (size <= kGranule)
      store8(code, static_cast<uint8_t>(size));
    else
      store16(code, small_code(size));
    return true;
  }

  // Lengths whose code is of two bytes. Who has asked this first has nothing left to ask of the length: the compiler
  // knows it in insert_small().
  static constexpr bool is_medium(size_t size) { return size > kGranule && size <= kSmallBytes; }
  // Both bytes of such a block.
  static constexpr uint16_t small_code(size_t size, bool flagged = false) {
    constexpr size_t kBase = (kSmallBase + 1) | (kContinuation << 8);
    size_t code = kBase + ((size - 1) >> kGranuleBits) + ((size & (kGranule - 1)) << 8);
    return static_cast<uint16_t>(code | (flagged ? kSmallFlag << 8 : 0));
  }

  // Forgets the block at `begin` and returns what was known of it; an empty Block where none starts there.
  [[gnu::hot]] Block erase(uintptr_t begin) {
    uint8_t *code = code_of(begin);
    if (!code) return {};
    Block block = decode_code(begin, code);
    if (!block) return block;
    if (code[0] == kLarge) {
      uint64_t zero = 0;
      std::memcpy(code, &zero, sizeof zero);
    } else if (code[0] <= kFlaggedGranule) {
      store8(code, 0);
    } else {
      store16(code, 0);
    }
    return block;
  }

  // The usual case of erase, made short: true where a small block without a flag started there and is forgotten now;
  // false where nothing was changed. What continued its code stays, which says nothing without a start before it.
  [[gnu::always_inline]] bool erase_plain(uintptr_t begin) {
    uint8_t *code = code_of(begin);
    if (!code) return false;
    // One test for both bytes: the first is that of a small block, the second has no flag.
    uint32_t both = load16(code);
    constexpr uint32_t kFirst = (kSmallBase + 2) | (kContinuation << 8); // of two granules
    constexpr uint32_t kTested = 0xff | (0xff & ~(kGranule - 1)) << 8;
    if (__builtin_expect(((both - kFirst) & kTested) < kSmallGranules - 1, 1)) {
      store8(code, 0);
      return true;
    }
    if (static_cast<uint8_t>(both - 1) >= kFlaggedGranule - 1) return false;
    store8(code, 0);
    return true;
  }

  // The same for a large block without a flag.
  [[gnu::always_inline]] bool erase_large_plain(uintptr_t begin) {
    uint8_t *code = code_of(begin);
    if (!code) return false;
    if (code[0] != kLarge || (code[kLargeFlagByte] & kLargeFlag) != 0) return false;
    store8(code, 0);
    return true;
  }

  // Makes a small block without a flag longer, where `size`, which is_medium(), needs more granules than it has: in one
  // store. True where nothing is left to do, false where the block may be another one, and was left as it is.
  [[gnu::always_inline]] bool grow_plain(uintptr_t begin, size_t size) {
    uint8_t *code = code_of(begin);
    if (!code) return false;
    const uint16_t known = load16(code), wanted = small_code(size);
    if (known == wanted) return true;
    const auto first = static_cast<uint8_t>(known);
    const bool of_more = first > kFlaggedGranule && first < kLarge;
    if (of_more ? (known >> 8 & kSmallFlag) != 0 : first - 1u >= kGranule) return false;
    if (first < static_cast<uint8_t>(wanted)) store16(code, wanted);
    return true;
  }

  // The block that starts exactly at `begin`, or an empty one. A flagged block of one granule says 16 bytes: ask the
  // side table.
  Block decode(uintptr_t begin) const {
    const uint8_t *leaf = leaf_at(begin);
    if (!leaf || (begin & (kGranule - 1))) return {};
    return decode_code(begin, leaf + granule_in_leaf(begin));
  }

  // Sets the flag of the block at `begin` if it still is the `size` bytes long block that the caller saw: other
  // threads may free it meanwhile, and their plain stores win. Returns whether the flag is set now.
  bool set_flag(uintptr_t begin, size_t size);

  // The small block whose granules contain `address`, or an empty one. Large blocks are found only through their
  // first kSmallGranules granules; the scanner's index of large objects finds the rest.
  Block find(uintptr_t address) const {
    uintptr_t granule = address & ~(kGranule - 1);
    const uint8_t *leaf = leaf_at(granule);
    if (!leaf) return {};
    size_t at = granule_in_leaf(granule);
    if (is_start(leaf[at])) return decode_code(granule, leaf + at);
    size_t back = distance_to_start(granule, leaf, at);
    if (back == 0) return {};
    uintptr_t begin = granule - (back << kGranuleBits);
    Block block = decode(begin);
    return address < block.granule_end() ? block : Block{};
  }

  // The last block of any length that begins at `address` or up to `reach` bytes before it, whether it contains the
  // address or not; an empty one where there is none. HOOK context too.
  Block last_begun(uintptr_t address, size_t reach) const;

  // Calls visit(Block) for every block, in address order.
  template <typename Visit> void sweep(Visit visit) const {
    visit_leaves([&](size_t index, const uint8_t *) {
      sweep_leaf_where(
          index, [](size_t) { return ~uint64_t{0}; }, visit);
    });
  }
  // The same in the leaf of this index, for blocks whose bit is set in wanted(line), which is asked of lines in which
  // something starts.
  template <typename Wanted, typename Visit> void sweep_leaf_where(size_t index, Wanted wanted, Visit visit) const {
    const uint8_t *codes = leaf(index);
    uintptr_t base = static_cast<uintptr_t>(index) << kLeafBits;
    visit_written(index, 0, kLeafGranules, [&](size_t begin, size_t end) {
      for (size_t at = begin; at < end; at += kLine) {
        uint64_t starts = starts_in_line(codes + at);
        if (!starts) continue;
        for (starts &= wanted(at / kLine); starts; starts &= starts - 1) {
          size_t granule = at + static_cast<size_t>(__builtin_ctzll(starts));
          visit(decode_code(base + (granule << kGranuleBits), codes + granule));
        }
      }
    });
  }

  static constexpr size_t kPageGranules = 4096; // whose codes are a page
  // A bit for each page of a leaf's codes that may be other than zero.
  struct WrittenPages {
    uint64_t bits[kLeafGranules / kPageGranules / 64];

    bool contains(size_t page) const { return (bits[page / 64] >> (page % 64) & 1) != 0; }
  };
  // `pages`: of each leaf, null where it is not known. Null: of none. Outlives the map's use.
  void set_written(const WrittenPages *const *pages) { written_ = pages; }
  // Calls visit(from, to) for the parts of these granules of a leaf, from `begin` up to `end`, that may have codes: in
  // their order, and none ends within a page but at `end`.
  template <typename Visit> void visit_written(size_t index, size_t begin, size_t end, Visit visit) const {
    const WrittenPages *pages = written_pages(index);
    if (!pages) return visit(begin, end);
    auto is_written = [&](size_t at) { return pages->contains(at / kPageGranules); };
    auto page_end = [&](size_t at) { return std::min((at / kPageGranules + 1) * kPageGranules, end); };
    for (size_t at = begin; at < end;) {
      size_t from = at;
      while (at < end && is_written(at)) at = page_end(at);
      if (from < at) visit(from, at);
      while (at < end && !is_written(at)) at = page_end(at);
    }
  }

  // Calls visit(index, codes) for every leaf, in address order, and reads no part of the root table that is unused.
  template <typename Visit> void visit_leaves(Visit visit) const {
    for (size_t word = 0; word < kSummaryWords; ++word)
      for (uint64_t used = summary_[word].load(std::memory_order_relaxed); used; used &= used - 1) {
        size_t page = word * 64 + static_cast<size_t>(__builtin_ctzll(used));
        for (size_t i = page * kSummaryLeaves; i < (page + 1) * kSummaryLeaves; ++i)
          if (const uint8_t *codes = leaf(i)) visit(i, codes);
      }
  }

  const uint8_t *leaf_at(uintptr_t address) const {
    size_t index = address >> kLeafBits;
    return index < kLeaves ? leaf(index) : nullptr;
  }
  const uint8_t *leaf(size_t index) const {
    uintptr_t origin = this->origin(index);
    return origin ? reinterpret_cast<uint8_t *>(origin + index * kLeafGranules) : nullptr;
  }

  static size_t granule_in_leaf(uintptr_t address) { return (address >> kGranuleBits) & (kLeafGranules - 1); }
  static bool is_start(uint8_t code) { return static_cast<int8_t>(code) > 0; }

  // In a sweep codes are looked at by the line: nobody can predict how many blocks begin in a few bytes.
  static constexpr size_t kLine = 64;
  // A bit for each of the kLine bytes at `codes` that is the start of a block.
  static uint64_t starts_in_line(const uint8_t *codes) { return starts_in_line_from<1>(codes); }
  // The same for those whose block has this length, which is_medium(). Reads one byte behind them.
  static uint64_t starts_in_line_of(const uint8_t *codes, size_t size) {
    const uint16_t wanted = small_code(size);
    uint64_t starts = 0;
    for (size_t i = 0; i < kLine; i += kSpan) starts |= uint64_t{starts_in_span_of(codes + i, wanted)} << i;
    return starts;
  }
  // The same for those whose block is large.
  static uint64_t large_in_line(const uint8_t *codes) { return starts_in_line_from<kLarge>(codes); }
  static constexpr size_t kSpan = 16; // code bytes looked at together

#if defined(__SSE2__)
  // What kSpan codes say, byte by byte.
  struct SpanSizes {
    __m128i starts; // all bits set: a block starts here,
    __m128i large;  // and is a large one; else
    __m128i whole;  // its granules but for the last one; 0 where none starts
    __m128i rest;   // its bytes in that one; 0 where none starts
  };
  // Reads one byte behind them.
  static SpanSizes sizes_in_span(const uint8_t *codes) {
    const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i *>(codes));
    const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i *>(codes + 1));
    const __m128i last_bytes = _mm_set1_epi8(kGranule - 1);
    SpanSizes sizes;
    sizes.starts = _mm_cmpgt_epi8(first, _mm_setzero_si128());
    sizes.large = _mm_cmpgt_epi8(first, _mm_set1_epi8(kLarge - 1));
    const __m128i plain = _mm_and_si128(first, sizes.starts); // or large
    sizes.whole = _mm_subs_epu8(plain, _mm_set1_epi8(kFlaggedGranule));
    // Of one granule, the code says how many bytes, 16 where it has a flag; of more, the next byte.
    const __m128i of_more = _mm_cmpgt_epi8(sizes.whole, _mm_setzero_si128());
    const __m128i missing =
        _mm_and_si128(_mm_sub_epi8(_mm_setzero_si128(), second), _mm_and_si128(of_more, last_bytes));
    sizes.rest = _mm_sub_epi8(_mm_min_epu8(plain, _mm_set1_epi8(kGranule)), missing);
    return sizes;
  }

  // The same for a line, of whose `starts` the caller knows. (SSE2 is a part of x86-64, AVX-512 is not.)
  struct LineSizes {
    uint64_t large;
    __m512i whole, rest;
  };
  [[gnu::target("avx512f,avx512bw")]] static LineSizes sizes_in_line(const uint8_t *codes, uint64_t starts) {
    const __m512i first = _mm512_loadu_si512(codes), second = _mm512_loadu_si512(codes + 1);
    const __m512i zero = _mm512_setzero_si512();
    LineSizes sizes;
    sizes.large = _mm512_cmpgt_epi8_mask(first, _mm512_set1_epi8(kLarge - 1));
    sizes.whole = _mm512_maskz_subs_epu8(starts, first, _mm512_set1_epi8(kFlaggedGranule));
    const __mmask64 of_more = _mm512_test_epi8_mask(sizes.whole, sizes.whole);
    const __m512i missing =
        _mm512_and_si512(_mm512_maskz_sub_epi8(of_more, zero, second), _mm512_set1_epi8(kGranule - 1));
    sizes.rest = _mm512_sub_epi8(_mm512_maskz_min_epu8(starts, first, _mm512_set1_epi8(kGranule)), missing);
    return sizes;
  }
#endif

  // Of the block with this first code, which is no large one.
  static size_t small_granules(uint8_t code) { return static_cast<size_t>(std::max(code - kSmallBase, 1)); }

  // The block whose code stands at `code`, with its continuation behind; an empty one where none starts there.
  static Block decode_code(uintptr_t begin, const uint8_t *code) {
    uint8_t first = code[0];
    if (!is_start(first)) return {};
    if (first <= kFlaggedGranule) return {begin, std::min<size_t>(first, kGranule), first == kFlaggedGranule};
    if (first < kLarge) {
      size_t granules = first - kSmallBase;
      return {begin, (granules << kGranuleBits) - (-code[1] & 0x0f), (code[1] & kSmallFlag) != 0};
    }
    uint64_t bytes;
    std::memcpy(&bytes, code, sizeof bytes);
    uint64_t value = join_sevens(bytes >> 8);
    uint64_t size = value & ((uint64_t{1} << kLargeSizeBits) - 1);
    return {begin, static_cast<size_t>(size), (value >> kLargeSizeBits) != 0};
  }

private:
  static constexpr uint8_t kFlaggedGranule = 0x11;
  static constexpr uint16_t kSmallBase = 0x10;
  static constexpr uint8_t kLarge = 0x7f;
  static constexpr uint8_t kContinuation = 0x80;
  static constexpr uint16_t kSmallFlag = 0x10;
  static constexpr int kLargeSizeBits = 48;
  // Where seven bits to a byte put the one behind them.
  static constexpr size_t kLargeFlagByte = 1 + kLargeSizeBits / 7;
  static constexpr uint8_t kLargeFlag = 1 << kLargeSizeBits % 7;
  // One bit of summary stands for a page of the root table, so that a sweep of a small heap reads little.
  static constexpr size_t kSummaryLeaves = 512;
  static constexpr size_t kSummaryWords = kLeaves / kSummaryLeaves / 64;

  // Null where they are not known.
  const WrittenPages *written_pages(size_t index) const { return written_ ? written_[index] : nullptr; }

  // The last granule from `begin` up to `end` of a leaf at which a block starts; `end` if there is none.
  size_t last_start(size_t index, size_t begin, size_t end) const;

  static void store8(uint8_t *at, uint8_t value) { __atomic_store_n(at, value, __ATOMIC_RELAXED); }
  static void store16(uint8_t *at, uint16_t value) { std::memcpy(at, &value, sizeof value); }
  static uint16_t load16(const uint8_t *at) {
    uint16_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }

  static void write_code(uint8_t *code, size_t size, bool flagged) {
    if (size <= kGranule) {
      store8(code, flagged ? kFlaggedGranule : static_cast<uint8_t>(size ? size : 1));
    } else if (size <= kSmallBytes) {
      store16(code, small_code(size, flagged));
    } else {
      insert_large(code, size, flagged);
    }
  }

  static void insert_large(uint8_t *code, size_t size, bool flagged) {
    uint64_t value = size | (static_cast<uint64_t>(flagged) << kLargeSizeBits);
    constexpr uint64_t kContinuations = 0x8080808080808000;
    uint64_t sevens = value >> 28 ? split_sevens(value) : split_four_sevens(static_cast<uint32_t>(value));
    uint64_t bytes = sevens << 8 | kContinuations | kLarge;
    std::memcpy(code, &bytes, sizeof bytes);
  }

  // 56 bits, seven to a byte, the lowest first; and back.
  static uint64_t split_sevens(uint64_t v) {
    v = (v & 0x00fffffff0000000) << 4 | (v & 0x000000000fffffff);
    v = (v & 0x0fffc0000fffc000) << 2 | (v & 0x00003fff00003fff);
    return (v & 0x3f803f803f803f80) << 1 | (v & 0x007f007f007f007f);
  }
  // The usual 28 of them, in fewer instructions.
  static uint32_t split_four_sevens(uint32_t v) {
    v = (v & 0x0fffc000) << 2 | (v & 0x00003fff);
    return (v & 0x3f803f80) << 1 | (v & 0x007f007f);
  }
  static uint64_t join_sevens(uint64_t v) {
    v = (v & 0x7f007f007f007f00) >> 1 | (v & 0x007f007f007f007f);
    v = (v & 0x3fff00003fff0000) >> 2 | (v & 0x00003fff00003fff);
    return (v & 0x0fffffff00000000) >> 4 | (v & 0x000000000fffffff);
  }

  // A bit for each of the kSpan bytes at `codes` that is the start of a block, with this code or a higher one.
  template <int8_t kLeast> static uint32_t starts_in_span_from(const uint8_t *codes) {
#if defined(__SSE2__)
    __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(codes));
    return static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpgt_epi8(bytes, _mm_set1_epi8(kLeast - 1))));
#else
    uint32_t starts = 0;
    for (size_t i = 0; i < kSpan; ++i) starts |= uint32_t{static_cast<int8_t>(codes[i]) >= kLeast} << i;
    return starts;
#endif
  }

  template <int8_t kLeast> static uint64_t starts_in_line_from(const uint8_t *codes) {
    uint64_t starts = 0;
    for (size_t i = 0; i < kLine; i += kSpan) starts |= uint64_t{starts_in_span_from<kLeast>(codes + i)} << i;
    return starts;
  }

  // The same for this code of a small block, with the flag or without. Reads one byte behind them.
  static uint32_t starts_in_span_of(const uint8_t *codes, uint16_t wanted) {
    const auto first = static_cast<uint8_t>(wanted), second = static_cast<uint8_t>(wanted >> 8);
#if defined(__SSE2__)
    const __m128i here = _mm_loadu_si128(reinterpret_cast<const __m128i *>(codes));
    const __m128i behind = _mm_loadu_si128(reinterpret_cast<const __m128i *>(codes + 1));
    const __m128i unflagged = _mm_andnot_si128(_mm_set1_epi8(kSmallFlag), behind);
    const __m128i same = _mm_and_si128(_mm_cmpeq_epi8(here, _mm_set1_epi8(static_cast<char>(first))),
                                       _mm_cmpeq_epi8(unflagged, _mm_set1_epi8(static_cast<char>(second))));
    return static_cast<uint32_t>(_mm_movemask_epi8(same));
#else
    uint32_t starts = 0;
    for (size_t i = 0; i < kSpan; ++i)
      starts |= uint32_t{codes[i] == first && (codes[i + 1] & ~kSmallFlag) == second} << i;
    return starts;
#endif
  }

  // Granules from `granule`, which is no start, back to the nearest start at most kSmallGranules before it; 0 if
  // there is none.
  size_t distance_to_start(uintptr_t granule, const uint8_t *leaf, size_t at) const {
    size_t done = 0;
    while (done < kSmallGranules && at >= kSpan) {
      if (uint32_t starts = starts_in_span_from<1>(leaf + at - kSpan))
        return done + 1 + static_cast<size_t>(__builtin_clz(starts << 16));
      at -= kSpan;
      done += kSpan;
    }
    // The rest, or the way over the edge of a leaf, byte by byte.
    for (; done < kSmallGranules; ++done) {
      uintptr_t before = granule - ((done + 1) << kGranuleBits);
      const uint8_t *its_leaf = leaf_at(before);
      if (!its_leaf) return 0;
      if (is_start(its_leaf[granule_in_leaf(before)])) return done + 1;
    }
    return 0;
  }

  // Where the code of a block at `begin` is; null where there is no leaf, or `begin` is no multiple of a granule. One
  // test is for both: turned to the right, what makes it none is far above all addresses.
  [[gnu::always_inline]] uint8_t *code_of(uintptr_t begin) {
    uintptr_t granule = std::rotr(begin, kGranuleBits);
    size_t index = granule >> (kLeafBits - kGranuleBits);
    if (index >= kLeaves) return nullptr;
    uintptr_t origin = this->origin(index);
    if (!origin) return nullptr;
    uint8_t *code = reinterpret_cast<uint8_t *>(origin + granule);
    if (!code) __builtin_unreachable(); // so that nobody tests it again
    return code;
  }

  uintptr_t origin(size_t index) const { return __atomic_load_n(&origins_[index], __ATOMIC_RELAXED); }
  // False where there is none and none could be had.
  bool has_leaf(size_t index) { return index < kLeaves && (origin(index) || new_leaf(index)); }
  bool new_leaf(size_t index);

  // Of each leaf, where its codes would begin if it were a part of one array for all addresses: so a granule's number
  // is all that has to be added. 0: there is no leaf. Accessed with __atomic builtins: a constexpr array of 2^21
  // std::atomic is too much for clang.
  uintptr_t origins_[kLeaves] = {};
  LeafSource source_ = nullptr;
  std::atomic<uint64_t> summary_[kSummaryWords] = {};
  const WrittenPages *const *written_ = nullptr;
};

} // namespace castaway
