// From leaked blocks to leak records; see leak_records.h.
#include "runtime/leak_records.h"

#include "runtime/sys.h"

#include <algorithm>
#include <iterator>

namespace castaway {

namespace {

struct Item {
  uint64_t group; // size class, direct or not, confirmed or not
  uint32_t stack;
  uint64_t size;
  uint64_t first_safepoint;
  uint64_t time_ns;
  uint64_t weight; // of one with a stack
};

// Exact up to 128 bytes in steps of 16, then four classes per doubling.
uint64_t size_class(uint64_t size) { return size <= 128 ? (size + 15) / 16 : sampling::quarter_of(size); }

Item make_item(const LeakedBlock &block, const LeakContext &context) {
  bool confirmed = is_confirmed(block.first_safepoint, context.safepoint, context.confirm);
  uint32_t stack = block.note ? block.note->stack : 0;
  return {size_class(block.size) << 2 | uint64_t{block.indirect} << 1 | uint64_t{confirmed},
          stack,
          block.size,
          block.first_safepoint,
          stack ? block.note->time_ns : 0,
          stack ? block.note->weight : 0};
}

// Hands out a total over several takers in proportion to their weights; the shares add up to the total.
class Shares {
public:
  Shares(uint64_t total, uint64_t weights) : total_(total), weights_(weights) {}
  uint64_t next(uint64_t weight) {
    seen_ += weight;
    auto upto = static_cast<uint64_t>(static_cast<unsigned __int128>(total_) * seen_ / weights_);
    uint64_t share = upto - given_;
    given_ = upto;
    return share;
  }

private:
  uint64_t total_, weights_, seen_ = 0, given_ = 0;
};

struct Sum {
  uint64_t objects = 0, bytes = 0, weight = 0, first_safepoint = UINT64_MAX, oldest_ns = UINT64_MAX;

  void add(const Item &item) {
    ++objects;
    bytes += item.size;
    weight += item.weight;
    first_safepoint = std::min(first_safepoint, item.first_safepoint);
    if (item.time_ns) oldest_ns = std::min(oldest_ns, item.time_ns);
  }
};

class Builder {
public:
  Builder(std::span<Item> items, LeakRecord *out, const LeakContext &context)
      : items_(items), out_(out), context_(context) {}

  // Items are sorted by group and stack, so that the blocks without a stack come first in their group.
  size_t build() {
    for (size_t from = 0; from < items_.size();) {
      size_t to = end_of(from, [](const Item &item) { return item.group; });
      build_group(items_.subspan(from, to - from));
      from = to;
    }
    return count_;
  }

private:
  template <typename Key> size_t end_of(size_t from, Key key) const {
    size_t to = from;
    while (to < items_.size() && key(items_[to]) == key(items_[from])) ++to;
    return to;
  }

  void build_group(std::span<Item> group) {
    Sum unsampled, sampled;
    for (const Item &item : group) (item.stack ? sampled : unsampled).add(item);
    if (unsampled.objects > 0 && (sampled.objects == 0 || context_.all_recorded)) {
      emit(0, group[0], unsampled);
      unsampled = {};
    }
    if (sampled.objects == 0) return;
    size_t first_sampled = 0;
    while (group[first_sampled].stack == 0) ++first_sampled;
    Shares objects(unsampled.objects, sampled.weight), bytes(unsampled.bytes, sampled.weight);
    for (size_t from = first_sampled; from < group.size();) {
      Sum sum;
      uint32_t stack = group[from].stack;
      for (; from < group.size() && group[from].stack == stack; ++from) sum.add(group[from]);
      sum.objects += objects.next(sum.weight);
      sum.bytes += bytes.next(sum.weight);
      sum.first_safepoint = std::min(sum.first_safepoint, unsampled.first_safepoint);
      emit(stack, group[0], sum);
    }
  }

  void emit(uint32_t stack, const Item &like, const Sum &sum) {
    LeakRecord record{};
    record.stack = stack;
    record.indirect = (like.group >> 1) & 1;
    record.first_safepoint = sum.first_safepoint;
    record.objects = sum.objects;
    record.bytes = sum.bytes;
    record.age_ns = sum.oldest_ns < context_.now_ns ? context_.now_ns - sum.oldest_ns : 0;
    out_[count_++] = record;
  }

  std::span<Item> items_;
  LeakRecord *out_;
  const LeakContext &context_;
  size_t count_ = 0;
};

} // namespace

sampling::Classes unrecorded_sizes(std::span<const LeakedBlock> blocks) {
  sampling::Classes leaked, recorded;
  for (const LeakedBlock &block : blocks) {
    size_t index = sampling::class_of(block.size);
    if (index >= sampling::kClasses) continue;
    leaked.add(index);
    if (block.note && block.note->stack) recorded.add(index);
  }
  for (size_t i = 0; i < std::size(leaked.words); ++i) leaked.words[i] &= ~recorded.words[i];
  return leaked;
}

std::span<LeakRecord> make_leak_records(std::span<const LeakedBlock> blocks, const LeakContext &context, bool &failed) {
  failed = false;
  if (blocks.empty()) return {};
  auto *items = static_cast<Item *>(sys::map_memory(blocks.size() * sizeof(Item)));
  auto *records = static_cast<LeakRecord *>(sys::map_memory(blocks.size() * sizeof(LeakRecord)));
  if (!items || !records) return failed = true, std::span<LeakRecord>{};
  for (size_t i = 0; i < blocks.size(); ++i) items[i] = make_item(blocks[i], context);
  std::sort(items, items + blocks.size(),
            [](const Item &a, const Item &b) { return a.group != b.group ? a.group < b.group : a.stack < b.stack; });
  return {records, Builder({items, blocks.size()}, records, context).build()};
}

} // namespace castaway
