// One heap, marked by whoever is asked to: the same graphs for castaway, Boehm's collector and LeakSanitizer.
//
//   mark_target MARKER SHAPE COUNT
//
// MARKER: castaway (libcastaway.so preloaded), lsan (liblsan.so preloaded), boehm; or walk, with a list: the program
// itself follows it, which takes as long as any marker must. SHAPE, all of it live:
//
//   list, tree, graph   COUNT blocks of 64 bytes in random order of memory, as after hours of churn; the graph is the
//                       tree with two pointers to anywhere in each block
//   strings             a hash map of COUNT strings: buckets, nodes and texts
//   buffers             COUNT buffers of 64 KiB without a pointer behind one table
//
// Prints `blocks N`, `bytes N`, `heap_bytes N` (what malloc takes for them), and `mark_ns N` for each of three marks;
// castaway's own time is in its profiles.
#include "castaway/castaway.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <random>
#include <string_view>
#include <vector>

#define GC_THREADS // as the library was built
#include <gc/gc.h>

extern "C" [[gnu::weak]] int __lsan_do_recoverable_leak_check();

namespace {

constexpr size_t kBlock = 64, kBuffer = 65536;
constexpr int kRounds = 3;

using Words = uintptr_t *;

bool boehm;
size_t total_blocks, total_bytes;
Words root; // keeps all of it alive

Words take(size_t bytes) {
  ++total_blocks;
  total_bytes += bytes;
  void *at = boehm ? GC_MALLOC(bytes) : std::calloc(1, bytes);
  if (!at) std::abort();
  return static_cast<Words>(at);
}

uintptr_t pointer(Words block) { return reinterpret_cast<uintptr_t>(block); }

using Blocks = std::vector<Words>;

Blocks take_shuffled(size_t count) {
  Blocks blocks(count);
  for (Words &block : blocks) block = take(kBlock);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(1));
  root = blocks[0];
  return blocks;
}

void build_list(size_t count) {
  Blocks blocks = take_shuffled(count);
  for (size_t i = 0; i + 1 < count; ++i) blocks[i][1] = pointer(blocks[i + 1]);
}

void link_tree(const Blocks &blocks) {
  for (size_t i = 0; i < blocks.size(); ++i)
    for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < blocks.size(); ++child)
      blocks[i][child - 2 * i] = pointer(blocks[child]);
}

void build_tree(size_t count) { link_tree(take_shuffled(count)); }

void build_graph(size_t count) {
  Blocks blocks = take_shuffled(count);
  link_tree(blocks);
  std::mt19937_64 random(2);
  for (Words block : blocks)
    for (size_t word : {4, 6}) block[word] = pointer(blocks[random() % count]);
}

// As in std::unordered_map<std::string, uint64_t>: node with next, hash, text, length, value.
void build_strings(size_t count) {
  root = take(count * sizeof(uintptr_t));
  std::mt19937_64 random(3);
  for (size_t i = 0; i < count; ++i) {
    size_t length = 16 + random() % 48;
    Words text = take(length + 1), node = take(kBlock);
    std::memset(text, 'a' + static_cast<int>(i % 26), length);
    uintptr_t &bucket = root[random() % count];
    node[0] = bucket;
    node[1] = random();
    node[2] = pointer(text);
    node[3] = length;
    bucket = pointer(node);
  }
}

// Small integers, text and floating-point numbers.
void build_buffers(size_t count) {
  static constexpr uintptr_t kData[] = {0, 42, 0x6f77206f6c6c6548, 0x3ff0000000000000};
  std::mt19937_64 random(4);
  root = take(count * sizeof(uintptr_t));
  for (size_t i = 0; i < count; ++i) {
    Words buffer = take(kBuffer);
    for (size_t word = 0; word < kBuffer / sizeof(uintptr_t); ++word) buffer[word] = kData[random() % 4];
    root[i] = pointer(buffer);
  }
}

[[noreturn]] void refuse(const char *why) {
  std::fprintf(stderr, "mark_target: %s\n", why);
  std::exit(2);
}

bool build(std::string_view shape, size_t count) {
  if (shape == "list") return build_list(count), true;
  if (shape == "tree") return build_tree(count), true;
  if (shape == "graph") return build_graph(count), true;
  if (shape == "strings") return build_strings(count), true;
  if (shape == "buffers") return build_buffers(count), true;
  return false;
}

// Roots are the data of the modules and the stack, as for any of its users; marking is by one thread, as with the
// others.
void start_boehm() {
  GC_set_markers_count(1);
  GC_INIT();
  GC_disable();
}

void walk_list() {
  for (auto at = root; at; at = reinterpret_cast<Words>(at[1])) asm volatile("" : : "r"(at));
}

void mark(std::string_view marker) {
  if (marker == "walk") walk_list();
  if (marker == "castaway" && castaway_snap() != 1) refuse("no safepoint could be made");
  if (marker == "lsan") __lsan_do_recoverable_leak_check();
  if (marker == "boehm") GC_gcollect();
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 4) refuse("usage: mark_target MARKER SHAPE COUNT");
  std::string_view marker = argv[1];
  if (marker != "castaway" && marker != "lsan" && marker != "boehm" && marker != "walk")
    refuse("the markers are castaway, lsan, boehm, walk");
  if (marker == "castaway" && !castaway_present()) refuse("castaway is not preloaded");
  if (marker == "lsan" && !__lsan_do_recoverable_leak_check) refuse("LeakSanitizer is not preloaded");
  boehm = marker == "boehm";
  if (boehm) start_boehm();
  if (marker == "walk" && argv[2] != std::string_view("list")) refuse("only a list can be walked");
  size_t count = std::strtoull(argv[3], nullptr, 10);
  if (!count) refuse("COUNT is no number");
  // What builds it holds pointers in a vector that the collector does not see: it is disabled until all is linked.
  if (!build(argv[2], count)) refuse("the shapes are list, tree, graph, strings, buffers");
  if (boehm) GC_enable();
  struct mallinfo2 info = mallinfo2();
  std::printf("blocks %zu\nbytes %zu\nheap_bytes %zu\n", total_blocks, total_bytes, info.uordblks + info.hblkhd);
  for (int round = 0; round < kRounds; ++round) {
    auto begin = std::chrono::steady_clock::now();
    mark(marker);
    std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - begin;
    std::printf("mark_ns %.0f\n", time.count());
  }
  return 0;
}
