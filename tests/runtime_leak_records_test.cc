// From leaked blocks to leak records: totals are exact whatever was sampled, shares are proportional, and what is
// direct, indirect, confirmed or not stays apart.
#include "runtime/leak_records.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace castaway {
namespace {

constexpr uint64_t kNow = 1'000'000;

class Leaks {
public:
  // `stack` 0: no entry in the side table at all.
  void add(uint64_t size, uint32_t stack = 0, bool indirect = false, uint64_t first_safepoint = 1, uint64_t time_ns = 0,
           uint32_t weight = 1) {
    const BlockNote *note = nullptr;
    if (stack) {
      notes_.push_back({.begin = next_, .size = size, .stack = stack, .time_ns = time_ns, .weight = weight});
      note = &notes_.back();
    }
    add_block(size, indirect, first_safepoint, note);
  }
  // A block that was flagged for another reason than its stack.
  void add_noted_without_stack(uint64_t size, uint64_t time_ns = 0) {
    notes_.push_back({.begin = next_, .size = size, .time_ns = time_ns});
    add_block(size, false, 1, &notes_.back());
  }
  std::vector<LeakRecord> records(LeakContext context) const {
    bool failed = true;
    auto records = make_leak_records(blocks_, context, failed);
    EXPECT_FALSE(failed);
    return {records.begin(), records.end()};
  }
  std::vector<LeakRecord> records() const { return records({10, 2, kNow, false}); }
  const std::vector<LeakedBlock> &blocks() const { return blocks_; }

private:
  void add_block(uint64_t size, bool indirect, uint64_t first_safepoint, const BlockNote *note) {
    blocks_.push_back({next_, size, indirect, first_safepoint, note});
    next_ += 16 + size;
  }

  std::deque<BlockNote> notes_; // addresses stay
  std::vector<LeakedBlock> blocks_;
  uintptr_t next_ = 0x10000;
};

struct Totals {
  uint64_t objects = 0;
  uint64_t bytes = 0;
  bool operator==(const Totals &) const = default;
  void add(uint64_t more_objects, uint64_t more_bytes) { objects += more_objects, bytes += more_bytes; }
};
void PrintTo(const Totals &totals, std::ostream *out) { *out << totals.objects << " with " << totals.bytes; }

std::map<uint32_t, Totals> by_stack(const std::vector<LeakRecord> &records) {
  std::map<uint32_t, Totals> totals;
  for (const LeakRecord &record : records) totals[record.stack].add(record.objects, record.bytes);
  return totals;
}
using ByStack = std::map<uint32_t, Totals>;

TEST(LeakRecords, OfNothingAreNone) { EXPECT_TRUE(Leaks().records().empty()); }

// One recorded where few were stands for more than one where all were.
TEST(LeakRecords, WeighWhatWasRecordedMoreDensely) {
  Leaks leaks;
  for (int i = 0; i < 100; ++i) leaks.add(64);
  leaks.add(64, 1, false, 1, 0, 75);
  for (int i = 0; i < 25; ++i) leaks.add(64, 2);
  EXPECT_EQ(by_stack(leaks.records()), (ByStack{{1, {76, 76 * 64}}, {2, {50, 50 * 64}}}));
}

TEST(LeakRecords, TellWhatSizesAreNotRecorded) {
  Leaks leaks;
  leaks.add(64);
  leaks.add(50, 1);
  leaks.add(65);
  leaks.add(16);
  leaks.add(1760);
  leaks.add(1761);
  leaks.add(2048);
  leaks.add(3000, 1);
  leaks.add(3072);
  leaks.add(8192);
  leaks.add(size_t{64} << 20);
  leaks.add((size_t{64} << 20) + 1);
  leaks.add_noted_without_stack(200);
  sampling::Classes classes = unrecorded_sizes(leaks.blocks());
  std::vector<size_t> found;
  for (size_t i = 0; i < sampling::kClasses; ++i)
    if (classes.has(i)) found.push_back(i);
  EXPECT_EQ(found, (std::vector<size_t>{0, 4, 12, 109, 112, 113, 121, 173}));
}

TEST(LeakRecords, OfAClassWithoutAnyStackGoToStackZero) {
  Leaks leaks;
  leaks.add(100);
  leaks.add(104);
  leaks.add_noted_without_stack(110);
  EXPECT_EQ(by_stack(leaks.records()), (ByStack{{0, {3, 314}}}));
  ASSERT_EQ(leaks.records().size(), 1u);
  EXPECT_EQ(leaks.records()[0].age_ns, 0u);
}

TEST(LeakRecords, ShareTheUnsampledInProportion) {
  Leaks leaks;
  for (int i = 0; i < 3; ++i) leaks.add(32, 1);
  leaks.add(32, 2);
  for (int i = 0; i < 8; ++i) leaks.add(32);
  EXPECT_EQ(by_stack(leaks.records()), (ByStack{{1, {9, 9 * 32}}, {2, {3, 3 * 32}}}));
}

TEST(LeakRecords, GiveAllOfAClassToItsOnlyStack) {
  Leaks leaks;
  leaks.add(1000, 5);
  for (int i = 0; i < 99; ++i) leaks.add(900 + static_cast<uint64_t>(i));
  uint64_t bytes = 0;
  for (const LeakedBlock &block : leaks.blocks()) bytes += block.size;
  EXPECT_EQ(by_stack(leaks.records()), (ByStack{{5, {100, bytes}}}));
}

TEST(LeakRecords, LoseNothingToRounding) {
  for (uint64_t unsampled = 1; unsampled <= 20; ++unsampled) {
    Leaks leaks;
    for (uint32_t stack = 1; stack <= 7; ++stack) leaks.add(48, stack);
    for (uint64_t i = 0; i < unsampled; ++i) leaks.add(41);
    Totals sum;
    for (const auto &[stack, totals] : by_stack(leaks.records())) {
      sum.add(totals.objects, totals.bytes);
      EXPECT_GE(totals.objects, 1 + unsampled / 7) << stack;
      EXPECT_LE(totals.objects, 2 + unsampled / 7) << stack;
    }
    EXPECT_EQ(sum, (Totals{7 + unsampled, 7 * 48 + unsampled * 41}));
  }
}

TEST(LeakRecords, ShareTotalsWhoseProductsNeedMoreThan64Bits) {
  constexpr uint64_t kHuge = uint64_t{1} << 60;
  Leaks leaks;
  for (uint32_t i = 0; i < 100; ++i) leaks.add(kHuge / 64 * 63, 1 + i % 2); // one class: up to 2^60
  for (int i = 0; i < 15; ++i) leaks.add(kHuge);
  auto shares = by_stack(leaks.records());
  ASSERT_EQ(shares.size(), 2u);
  uint64_t sampled = kHuge / 64 * 63 * 50;
  EXPECT_EQ(shares[1].bytes - sampled, kHuge * 15 / 2);
  EXPECT_EQ(shares[2].bytes - sampled, kHuge * 15 / 2);
}

TEST(LeakRecords, DoNotShareBetweenClasses) {
  Leaks leaks;
  leaks.add(16, 1);
  for (int i = 0; i < 5; ++i) leaks.add(17);
  leaks.add(128, 2);
  for (int i = 0; i < 5; ++i) leaks.add(129);
  leaks.add(1 << 20, 3);
  for (int i = 0; i < 5; ++i) leaks.add((1 << 20) + 1);
  EXPECT_EQ(
      by_stack(leaks.records()),
      (ByStack{{0, {15, 5 * 17 + 5 * 129 + 5 * ((1 << 20) + 1)}}, {1, {1, 16}}, {2, {1, 128}}, {3, {1, 1 << 20}}}));
}

TEST(LeakRecords, ShareNothingWhereEveryAllocationWasRecorded) {
  Leaks leaks;
  for (int i = 0; i < 3; ++i) leaks.add(32, 1);
  leaks.add(32, 2);
  for (int i = 0; i < 8; ++i) leaks.add(32);
  EXPECT_EQ(by_stack(leaks.records({10, 2, kNow, true})), (ByStack{{0, {8, 256}}, {1, {3, 96}}, {2, {1, 32}}}));
}

TEST(LeakRecords, KeepDirectAndIndirectApart) {
  Leaks leaks;
  leaks.add(32, 1, false);
  leaks.add(32, 0, false);
  leaks.add(32, 2, true);
  leaks.add(32, 0, true);
  leaks.add(32, 0, true);
  leaks.add(64, 0, true);
  std::map<std::pair<bool, uint32_t>, Totals> totals;
  for (const LeakRecord &record : leaks.records())
    totals[{record.indirect, record.stack}].add(record.objects, record.bytes);
  EXPECT_EQ(totals, (decltype(totals){{{false, 1}, {2, 64}}, {{true, 2}, {3, 96}}, {{true, 0}, {1, 64}}}));
}

// At safepoint 10, three in a row confirm: those of 8 are, those of 9 are not yet.
TEST(LeakRecords, KeepConfirmedAndOthersApart) {
  Leaks leaks;
  leaks.add(32, 1, false, 8);
  leaks.add(32, 0, false, 3);
  leaks.add(32, 1, false, 9);
  leaks.add(32, 0, false, 10);
  leaks.add(32, 0, false, 10);
  std::map<uint64_t, Totals> totals;
  for (const LeakRecord &record : leaks.records({10, 3, kNow, false})) {
    EXPECT_EQ(record.stack, 1u);
    totals[record.first_safepoint].add(record.objects, record.bytes);
  }
  EXPECT_EQ(totals, (decltype(totals){{3, {2, 64}}, {9, {3, 96}}}));
}

TEST(LeakRecords, ConfirmAtOnceWhereOneSafepointIsEnough) {
  Leaks leaks;
  leaks.add(32, 1, false, 10);
  leaks.add(32, 0, false, 9);
  ASSERT_EQ(leaks.records({10, 1, kNow, false}).size(), 1u);
  EXPECT_EQ(leaks.records({10, 1, kNow, false})[0].first_safepoint, 9u);
  EXPECT_EQ(leaks.records({10, 2, kNow, false}).size(), 2u);
}

TEST(LeakRecords, AreAsOldAsTheirOldestRecordedBlock) {
  Leaks leaks;
  leaks.add(32, 1, false, 1, kNow - 500);
  leaks.add(32, 1, false, 1, kNow - 700);
  leaks.add(32, 1, false, 1, 0); // not recorded
  leaks.add(32, 2, false, 1, kNow + 5);
  leaks.add_noted_without_stack(64, kNow - 900);
  std::map<uint32_t, uint64_t> ages;
  for (const LeakRecord &record : leaks.records()) ages[record.stack] = record.age_ns;
  EXPECT_EQ(ages, (std::map<uint32_t, uint64_t>{{0, 0}, {1, 700}, {2, 0}}));
}

TEST(LeakRecords, AreRefusedWhereThereIsNoMemory) {
  LeakedBlock block{0x1000, 16, false, 1, nullptr};
  bool failed = false;
  std::span<const LeakedBlock> absurd(&block, size_t{1} << 50); // more than the address space; never read
  EXPECT_TRUE(make_leak_records(absurd, {10, 2, kNow, false}, failed).empty());
  EXPECT_TRUE(failed);
}

// The upper bound of a size's class, found by walking: steps of 16 up to 128, then quarters of each doubling.
uint64_t class_of(uint64_t size) {
  uint64_t bound = 0, step = 16;
  while (bound < size) {
    if (bound >= 128 && (bound & (bound - 1)) == 0) step = bound / 4;
    bound += step;
  }
  return bound;
}

void fill(Leaks &leaks, std::mt19937 &random) {
  uint64_t stacks = 1 + random() % 6, safepoints = 1 + random() % 10, sampled_of_8 = random() % 9;
  for (size_t count = random() % 300; count > 0; --count) {
    uint64_t size = 1 + random() % (uint64_t{1} << (1 + random() % 14));
    uint32_t stack = random() % 8 < sampled_of_8 ? static_cast<uint32_t>(1 + random() % stacks) : 0;
    leaks.add(size, stack, random() % 2, 1 + random() % safepoints, random() % kNow);
  }
}

// For random blocks: sums are exact in all, and per state; what is known of a stack is never less than was sampled of
// it; stack 0 has exactly the classes in which nothing was sampled.
TEST(LeakRecords, AddUpForAnyBlocks) {
  for (unsigned seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Leaks leaks;
    fill(leaks, random);
    LeakContext context{10, 1 + random() % 10, kNow, random() % 4 == 0};
    auto confirmed = [&](uint64_t first) { return 10 - first + 1 >= context.confirm; };
    struct Group {
      Totals unsampled;
      bool has_sampled = false;
    };
    std::map<std::tuple<uint64_t, bool, bool>, Group> groups;
    std::map<std::pair<bool, bool>, Totals> expected, got;
    ByStack sampled;
    for (const LeakedBlock &block : leaks.blocks()) {
      bool is_confirmed = confirmed(block.first_safepoint);
      expected[{block.indirect, is_confirmed}].add(1, block.size);
      Group &group = groups[{class_of(block.size), block.indirect, is_confirmed}];
      if (block.note) {
        group.has_sampled = true;
        sampled[block.note->stack].add(1, block.size);
      } else {
        group.unsampled.add(1, block.size);
      }
    }
    auto records = leaks.records(context);
    EXPECT_LE(records.size(), leaks.blocks().size());
    for (const LeakRecord &record : records) {
      EXPECT_GT(record.objects, 0u);
      got[{record.indirect != 0, confirmed(record.first_safepoint)}].add(record.objects, record.bytes);
    }
    EXPECT_EQ(got, expected);
    Totals not_sampled;
    for (const auto &[key, group] : groups)
      if (context.all_recorded || !group.has_sampled) not_sampled.add(group.unsampled.objects, group.unsampled.bytes);
    ByStack shares = by_stack(records);
    EXPECT_EQ(shares[0], not_sampled);
    for (const auto &[stack, totals] : sampled) {
      EXPECT_GE(shares[stack].objects, totals.objects);
      EXPECT_GE(shares[stack].bytes, totals.bytes);
      if (context.all_recorded) {
        EXPECT_EQ(shares[stack], totals);
      }
    }
  }
}

} // namespace
} // namespace castaway
