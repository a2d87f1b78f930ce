// How fast the scanner marks: nanoseconds per live block, for heaps of four shapes. In each, everything is live and
// hangs from one root, blocks in memory order or, as after hours of churn, in random order.
//
// The inventory is the part that does not depend on the shape, and is there alone as well.
#include "scanner/inventory.h"
#include "scanner/scanner.h"
#include "tests/thread_crew.h"

#include <benchmark/benchmark.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace {

using castaway::HeapMap;
using castaway::Image;
using castaway::Range;
using castaway::Scanner;
using castaway::testing::ThreadCrew;

constexpr size_t kBlock = 64, kHeader = 16; // as glibc lays them out: most of them lie in two lines

void *map_pages(size_t bytes) {
  void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) abort();
  return at;
}

uint8_t *new_leaf() { return static_cast<uint8_t *>(map_pages(HeapMap::kLeafBytes)); }

// Fresh memory for each scan, as in the snapshot: page faults are part of the price.
class Tables final : public castaway::Workspace {
public:
  ~Tables() {
    for (const Range &range : ranges_) munmap(reinterpret_cast<void *>(range.begin), range.size());
  }
  void *take(size_t bytes) override {
    auto begin = reinterpret_cast<uintptr_t>(map_pages(bytes));
    ranges_.push_back({begin, begin + bytes});
    return reinterpret_cast<void *>(begin);
  }

private:
  std::vector<Range> ranges_;
};

class Heap {
public:
  Heap(size_t count, size_t block) : map(std::make_unique<HeapMap>(new_leaf)), bytes_(count * (block + kHeader)) {
    auto begin = reinterpret_cast<uintptr_t>(map_pages(bytes_));
    memory_ = begin;
    blocks.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      blocks.push_back(begin + i * (block + kHeader) + kHeader);
      map->insert(blocks.back(), block);
    }
  }
  Heap(const Heap &) = delete;
  Heap &operator=(const Heap &) = delete;
  ~Heap() {
    munmap(reinterpret_cast<void *>(memory_), bytes_);
    map->visit_leaves([](size_t, const uint8_t *leaf) { munmap(const_cast<uint8_t *>(leaf), HeapMap::kLeafBytes); });
  }

  void shuffle() { std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(1)); }
  uintptr_t *words(size_t i) const { return reinterpret_cast<uintptr_t *>(blocks[i]); }

  std::unique_ptr<HeapMap> map;
  std::vector<uintptr_t> blocks;

private:
  uintptr_t memory_;
  size_t bytes_;
};

void link_list(Heap &heap) {
  for (size_t i = 0; i + 1 < heap.blocks.size(); ++i) heap.words(i)[1] = heap.blocks[i + 1];
}

void link_tree(Heap &heap) {
  for (size_t i = 0; i < heap.blocks.size(); ++i)
    for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < heap.blocks.size(); ++child)
      heap.words(i)[child - 2 * i] = heap.blocks[child];
}

// A tree, so that all is reached, and two pointers to anywhere in each block.
void link_graph(Heap &heap) {
  link_tree(heap);
  std::mt19937_64 random(2);
  for (size_t i = 0; i < heap.blocks.size(); ++i)
    for (size_t word : {4, 6}) heap.words(i)[word] = heap.blocks[random() % heap.blocks.size()];
}

// Small integers, text and floating-point numbers.
void fill_with_data(uintptr_t *words, size_t count, std::mt19937_64 &random) {
  for (size_t i = 0; i < count; ++i) {
    static constexpr uintptr_t kData[] = {0, 42, 0x6f77206f6c6c6548, 0x3ff0000000000000};
    words[i] = kData[random() % 4];
  }
}

void count_blocks(benchmark::State &state, const Heap &heap) {
  auto total = static_cast<double>(heap.blocks.size());
  state.counters["per_block"] =
      benchmark::Counter(total, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void scan(benchmark::State &state, const Heap &heap, size_t markers = 1, bool rooted = true) {
  Range root = {reinterpret_cast<uintptr_t>(heap.blocks.data()), reinterpret_cast<uintptr_t>(heap.blocks.data() + 1)};
  Image image;
  image.heap = heap.map.get();
  if (rooted) image.roots = {&root, 1};
  for (auto _ : state) {
    Tables tables;
    ThreadCrew crew(markers);
    Scanner scanner(image, tables, &crew);
    if (!scanner.run() || (rooted && !scanner.leaked_blocks().empty())) state.SkipWithError("not everything was live");
  }
  count_blocks(state, heap);
}

template <void (*kLink)(Heap &)> void BM_Mark(benchmark::State &state) {
  Heap heap(static_cast<size_t>(state.range(0)), kBlock);
  if (state.range(1)) heap.shuffle();
  kLink(heap);
  scan(state, heap, static_cast<size_t>(state.range(2)));
}

constexpr int64_t kMillion = 1 << 20;
const std::vector<std::string> kArguments = {"blocks", "shuffled", "markers"};
BENCHMARK(BM_Mark<link_list>)
    ->ArgNames(kArguments)
    ->Args({4 * kMillion, 0, 1})
    ->Args({4 * kMillion, 1, 1})
    ->Args({4 * kMillion, 1, 2});
BENCHMARK(BM_Mark<link_tree>)
    ->UseRealTime()
    ->ArgNames(kArguments)
    ->ArgsProduct({{kMillion / 16, 4 * kMillion}, {0, 1}, {1, 2}});
BENCHMARK(BM_Mark<link_graph>)
    ->UseRealTime()
    ->ArgNames(kArguments)
    ->ArgsProduct({{kMillion / 16, 4 * kMillion}, {0, 1}, {1, 2}});

// Buffers without pointers behind one table: what reading a byte costs.
void BM_Mark_buffers(benchmark::State &state) {
  Heap heap(4096, size_t{64} << 10);
  std::mt19937_64 random(3);
  for (size_t i = 0; i < heap.blocks.size(); ++i) fill_with_data(heap.words(i), 8192, random);
  for (size_t i = 1; i < heap.blocks.size(); ++i) heap.words(0)[i] = heap.blocks[i];
  scan(state, heap);
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * 4096 * 65536);
}
BENCHMARK(BM_Mark_buffers);

// What comes before marking: one sweep of the heap map.
void BM_Inventory(benchmark::State &state) {
  Heap heap(4 * kMillion, static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    Tables tables;
    ThreadCrew crew(static_cast<size_t>(state.range(1)));
    castaway::Inventory inventory;
    if (!inventory.take(*heap.map, false, &crew, tables) || inventory.all().blocks != heap.blocks.size())
      state.SkipWithError("blocks are missing");
  }
  count_blocks(state, heap);
}
BENCHMARK(BM_Inventory)->UseRealTime()->ArgNames({"size", "markers"})->ArgsProduct({{16, 64, 496, 4000}, {1, 2}});

// Nothing is live: inventory, list of leaks, direct and indirect.
void BM_Everything_leaked(benchmark::State &state) {
  Heap heap(4 * kMillion, kBlock);
  heap.shuffle();
  link_graph(heap);
  scan(state, heap, 1, false);
}
BENCHMARK(BM_Everything_leaked);

} // namespace

BENCHMARK_MAIN();
