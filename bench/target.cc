// A program to be measured under a profiler: a heap of blocks, threads that wait, and the largest gap that one of its
// own threads sees in its loop.
//
//   bench_target [--heap MIB] [--block BYTES] [--threads N] [--seconds S] [--pairs N]
//
// The heap is one linked list in random order of memory, so that everything is live and marking cannot stream.
// Prints `ready`, and at the end `largest_gap_us N`, and with --pairs `pair_ns N`: a malloc and a free of 64 bytes in
// a window of 64 hot blocks.
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  size_t heap_mib = 0, block = 64, threads = 0, pairs = 0;
  double seconds = 3;
};

Options read_options(int argc, char **argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view name = argv[i];
    double value = std::atof(argv[i + 1]);
    if (name == "--heap")
      options.heap_mib = static_cast<size_t>(value);
    else if (name == "--block")
      options.block = static_cast<size_t>(value);
    else if (name == "--threads")
      options.threads = static_cast<size_t>(value);
    else if (name == "--pairs")
      options.pairs = static_cast<size_t>(value);
    else if (name == "--seconds")
      options.seconds = value;
  }
  return options;
}

struct Node {
  Node *next;
};
Node *heap; // keeps all of it alive

void build_heap(const Options &options) {
  size_t count = (options.heap_mib << 20) / options.block;
  for (size_t i = 0; i < count; ++i) {
    auto *node = static_cast<Node *>(std::malloc(options.block));
    std::memset(static_cast<void *>(node), 0, options.block);
    node->next = heap;
    heap = node;
  }
}

std::mutex mutex;
std::condition_variable condition;
bool over;

void wait_for_end() {
  std::unique_lock lock(mutex);
  condition.wait(lock, [] { return over; });
}

double largest_gap_us(double seconds) {
  auto begin = Clock::now(), last = begin;
  Clock::duration largest{};
  while (last - begin < std::chrono::duration<double>(seconds)) {
    auto now = Clock::now();
    largest = std::max(largest, now - last);
    last = now;
  }
  return std::chrono::duration<double, std::micro>(largest).count();
}

double pair_ns(size_t pairs) {
  constexpr size_t kWindow = 64;
  void *blocks[kWindow] = {};
  auto begin = Clock::now();
  for (size_t i = 0; i < pairs; ++i) {
    std::free(blocks[i % kWindow]);
    blocks[i % kWindow] = std::malloc(64);
  }
  auto time = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
  for (void *block : blocks) std::free(block);
  return time / static_cast<double>(pairs);
}

} // namespace

int main(int argc, char **argv) {
  Options options = read_options(argc, argv);
  build_heap(options);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < options.threads; ++i) threads.emplace_back(wait_for_end);
  if (options.pairs) std::printf("pair_ns %.2f\n", pair_ns(options.pairs));
  std::puts("ready");
  std::fflush(stdout);
  if (options.seconds > 0) std::printf("largest_gap_us %.0f\n", largest_gap_us(options.seconds));
  {
    std::lock_guard lock(mutex);
    over = true;
  }
  condition.notify_all();
  for (std::thread &thread : threads) thread.join();
  return 0;
}
