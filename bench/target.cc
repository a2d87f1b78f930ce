// A program to be measured under a profiler: a heap of blocks, threads that wait, and the largest gap that one of its
// own threads sees in its loop.
//
//   bench_target [--heap MIB] [--block BYTES] [--shuffled 0|1] [--threads N] [--stack KIB] [--seconds S]
//                [--stop none|fork|lsan|snap] [--pairs N] [--pair-threads N] [--traffic S] [--leak N] [--sync N]
//                [--bandwidth MIB] [--compute N]
//
// The heap is one linked list, so that everything is live: in the order of allocation, which is kind to whoever marks
// it, or --shuffled, as after hours of churn. Prints `resident_kib N` when all that is set up, then `ready`,
// and at the end `largest_gap_us N`. With
//
//   --stop       once a second its own thread forks a child that ends at once, which is the least that any copy of the
//                process can cost; or it has LeakSanitizer, which must be preloaded, check for leaks; or another
//                thread has castaway, preloaded, make a safepoint, and the loop lasts until there were two
//   --stack      of the threads that wait, in place of glibc's 8 MiB
//   --pairs      `pair_ns N`: a malloc and a free of 64 bytes in a window of 64 hot blocks, in each of --pair-threads
//   --traffic    `early_ns`, `late_ns`: the same pairs, 1.6 million in a second, for S seconds: what one takes in the
//                first and in the last two fifths of that time; `ratio`: their ratio, by that of as many pairs of
//                80 bytes between them
//   --leak       meanwhile another thread loses so many blocks of 64 bytes per second
//   --sync       `mutex_ns`, `condition_ns`, `semaphore_ns`: lock and unlock, notify, post and wait, uncontended
//   --bandwidth  `read_gbs`, `copy_gbs`: streaming over that much memory, in huge pages where the kernel has them;
//                `forked_gbs`: the first read of as much in 4 KiB pages by the child of a fork
//   --compute    `slower`: how many times as long as alone a thread takes that computes in registers, where N do that
//                at once: more than 1 where processors are not whole ones
#include "castaway/castaway.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <pthread.h>
#include <random>
#include <semaphore.h>
#include <span>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

extern "C" [[gnu::weak]] int __lsan_do_recoverable_leak_check();

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  size_t heap_mib = 0, block = 64, threads = 0, pairs = 0, pair_threads = 1, traffic = 0, leak = 0, sync = 0,
         shuffled = 0, bandwidth_mib = 0, stack_kib = 0, compute = 0;
  double seconds = 3;
  std::string_view stop = "none";
};

[[noreturn]] void refuse(const char *what, std::string_view value) {
  std::fprintf(stderr, "bench_target: %s '%.*s'\n", what, static_cast<int>(value.size()), value.data());
  std::exit(2);
}

double read_number(const char *text) {
  char *end = nullptr;
  double value = std::strtod(text, &end);
  if (end == text || *end || !(value >= 0)) refuse("not a number:", text);
  return value;
}

size_t *find_size(Options &options, std::string_view name) {
  if (name == "--heap") return &options.heap_mib;
  if (name == "--block") return &options.block;
  if (name == "--threads") return &options.threads;
  if (name == "--stack") return &options.stack_kib;
  if (name == "--pairs") return &options.pairs;
  if (name == "--shuffled") return &options.shuffled;
  if (name == "--pair-threads") return &options.pair_threads;
  if (name == "--traffic") return &options.traffic;
  if (name == "--leak") return &options.leak;
  if (name == "--sync") return &options.sync;
  if (name == "--bandwidth") return &options.bandwidth_mib;
  if (name == "--compute") return &options.compute;
  return nullptr;
}

Options read_options(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    std::string_view name = argv[i];
    if (i + 1 == argc) refuse("a value is missing after", name);
    if (size_t *size = find_size(options, name))
      *size = static_cast<size_t>(read_number(argv[i + 1]));
    else if (name == "--seconds")
      options.seconds = read_number(argv[i + 1]);
    else if (name == "--stop")
      options.stop = argv[i + 1];
    else
      refuse("unknown option", name);
  }
  constexpr std::string_view kStops[] = {"none", "fork", "lsan", "snap"};
  if (std::ranges::find(kStops, options.stop) == std::end(kStops)) refuse("no such stop:", options.stop);
  if (options.stop == "lsan" && !__lsan_do_recoverable_leak_check)
    refuse("LeakSanitizer is not there for --stop", "lsan");
  if (options.stop == "snap" && !castaway_present()) refuse("castaway is not there for --stop", "snap");
  if (options.block < 16) refuse("too small for a block:", std::to_string(options.block));
  return options;
}

// The time that `body` takes, in ns per operation.
template <class Body> double ns_per(size_t operations, const Body &body) {
  auto begin = Clock::now();
  body();
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / static_cast<double>(operations);
}

double quantile(std::vector<double> values, double share) {
  auto at = values.begin() + static_cast<ptrdiff_t>(static_cast<double>(values.size()) * share);
  std::ranges::nth_element(values, at);
  return *at;
}

// Of times of the same thing: what else runs on the machine, or beside a virtual one, only adds to them.
double undisturbed(const std::vector<double> &times) { return quantile(times, 0.1); }

struct Node {
  Node *next;
};
Node *heap; // keeps all of it alive

Node *new_node(size_t bytes) {
  auto *node = static_cast<Node *>(std::malloc(bytes));
  std::memset(static_cast<void *>(node), 0, bytes);
  return node;
}

void push(Node *node) {
  node->next = heap;
  heap = node;
}

void build_heap(const Options &options) {
  size_t count = (options.heap_mib << 20) / options.block;
  if (!options.shuffled) {
    for (size_t i = 0; i < count; ++i) push(new_node(options.block));
    return;
  }
  std::vector<Node *> nodes(count);
  for (Node *&node : nodes) node = new_node(options.block);
  std::shuffle(nodes.begin(), nodes.end(), std::mt19937_64(1));
  for (Node *node : nodes) push(node);
}

void print_resident() {
  long pages = 0;
  if (FILE *file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  std::printf("resident_kib %ld\n", pages * sysconf(_SC_PAGESIZE) / 1024);
}

std::mutex mutex;
std::condition_variable condition;
bool over;

void wait_for_end() {
  std::vector<char> own(100); // so that there are glibc's arenas between the stacks
  std::unique_lock lock(mutex);
  condition.wait(lock, [] { return over; });
}

void fork_once() {
  pid_t child = fork();
  if (child == 0) _exit(0);
  if (child < 0) refuse("fork failed:", std::strerror(errno));
}

constexpr int kSafepoints = 2;
std::atomic<int> safepoints;

void make_safepoints() {
  for (int i = 0; i < kSafepoints; ++i) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    if (castaway_snap() != 1) refuse("no safepoint could be made", "");
    ++safepoints;
  }
}

double largest_gap_us(const Options &options) {
  std::thread snapper;
  if (options.stop == "snap") snapper = std::thread(make_safepoints);
  auto begin = Clock::now(), last = begin, next_stop = begin + std::chrono::seconds(1);
  Clock::duration largest{};
  auto awaits_safepoints = [&] { return snapper.joinable() && safepoints < kSafepoints; };
  while (last - begin < std::chrono::duration<double>(options.seconds) || awaits_safepoints()) {
    bool stops = (options.stop == "fork" || options.stop == "lsan") && last >= next_stop;
    if (stops && options.stop == "fork") fork_once();
    if (stops && options.stop == "lsan") __lsan_do_recoverable_leak_check();
    auto now = Clock::now();
    largest = std::max(largest, now - last);
    last = now;
    if (!stops) continue;
    while (waitpid(-1, nullptr, 0) > 0) continue; // teardown of the copy is not part of any stop
    last = Clock::now();
    next_stop = last + std::chrono::seconds(1);
  }
  if (snapper.joinable()) snapper.join();
  return std::chrono::duration<double, std::micro>(largest).count();
}

// Some thousand jumps. Programs run other code between their allocations; a loop that does not keeps what the start of
// its process has left in the branch predictor, which is up to a seventh of its time, and differs with each start.
void run_other_code() {
#if defined(__x86_64__)
  asm volatile(".rept 16384\n\t"
               "jmp 1f\n\t"
               ".skip 17, 0x90\n"
               "1:\n\t"
               ".endr");
#endif
}

constexpr size_t kWindow = 64, kSlice = 16384;

// What one of so many pairs takes.
double pairs_ns(size_t count, void *(&blocks)[kWindow], size_t size) {
  return ns_per(count, [&] {
    for (size_t i = 0; i < count; ++i) {
      std::free(blocks[i % kWindow]);
      blocks[i % kWindow] = std::malloc(size);
    }
  });
}

// What a pair takes in a slice of them.
double slice_ns(void *(&blocks)[kWindow]) {
  run_other_code();
  return pairs_ns(kSlice, blocks, 64);
}

// What a call of `once` takes, in slices like that.
template <class Once> double sliced_ns(size_t count, const Once &once) {
  std::vector<double> slices(count / kSlice + 1);
  for (double &slice : slices) {
    run_other_code();
    slice = ns_per(kSlice, [&] {
      for (size_t i = 0; i < kSlice; ++i) once();
    });
  }
  return undisturbed(slices);
}

double pair_ns(size_t pairs) {
  void *blocks[kWindow] = {};
  std::vector<double> slices(pairs / kSlice + 1);
  for (double &slice : slices) slice = slice_ns(blocks);
  for (void *block : blocks) std::free(block);
  return undisturbed(slices);
}

// Loses blocks until it is told to stop.
std::thread start_leak(size_t per_second, const std::atomic<bool> &ends) {
  return std::thread([per_second, &ends] {
    while (per_second > 0 && !ends) {
      asm volatile("" : : "r"(std::malloc(64)));
      std::this_thread::sleep_for(std::chrono::nanoseconds(1'000'000'000 / per_second));
    }
  });
}

void print_pairs(const Options &options) {
  std::vector<double> times(options.pair_threads);
  std::vector<std::thread> threads;
  std::atomic<bool> ends = false;
  std::thread leak = start_leak(options.leak, ends);
  for (size_t i = 1; i < times.size(); ++i) threads.emplace_back([&, i] { times[i] = pair_ns(options.pairs); });
  times[0] = pair_ns(options.pairs);
  for (std::thread &thread : threads) thread.join();
  ends = true;
  leak.join();
  double sum = 0;
  for (double time : times) sum += time;
  std::printf("pair_ns %.3f\n", sum / static_cast<double>(times.size()));
}

// A thread that allocates 100 MB in a second of 64-byte blocks, of which some are lost elsewhere, and has other things
// to do most of the time. Beside them as many larger ones, of which none is lost: they take turns every few
// microseconds, so that what the machine does meanwhile is the same for both.
class Traffic {
public:
  void add() {
    constexpr size_t kTurns = 64;
    double times[2] = {};
    run_other_code();
    for (size_t i = 0; i < 2 * kTurns; ++i) {
      size_t which = (i + slices_.size()) % 2;
      times[which] += pairs_ns(kSlice / kTurns, blocks_[which], which == 0 ? 64 : 80) / kTurns;
    }
    slices_.push_back({times[0], times[0] / times[1]});
  }

  // What a pair takes, and by that of the larger ones, in the first two fifths and in the last. Of the middle half of
  // the slices: others have something of the machine's in them.
  struct Means {
    double ns, ratio;
  };
  Means early() const { return means(std::span(slices_).first(slices_.size() * 2 / 5)); }
  Means late() const { return means(std::span(slices_).last(slices_.size() * 2 / 5)); }

private:
  static Means means(std::span<const Means> slices) {
    return {middle(slices, &Means::ns), middle(slices, &Means::ratio)};
  }
  static double middle(std::span<const Means> slices, double Means::*value) {
    std::vector<double> values;
    for (const Means &each : slices) values.push_back(each.*value);
    std::ranges::sort(values);
    auto half = std::span(values).subspan(values.size() / 4, values.size() / 2);
    return std::accumulate(half.begin(), half.end(), 0.0) / static_cast<double>(half.size());
  }

  void *blocks_[2][kWindow] = {};
  std::vector<Means> slices_;
};

void print_traffic(const Options &options) {
  std::atomic<bool> ends = false;
  std::thread leak = start_leak(options.leak, ends);
  Traffic traffic;
  auto next = Clock::now();
  for (size_t i = 0; i < options.traffic * 100; ++i) {
    std::this_thread::sleep_until(next += std::chrono::milliseconds(10));
    traffic.add();
  }
  ends = true;
  leak.join();
  std::printf("early_ns %.3f\nlate_ns %.3f\n", traffic.early().ns, traffic.late().ns);
  std::printf("ratio %.4f\n", traffic.late().ratio / traffic.early().ratio);
}

void print_sync(size_t count) {
  std::mutex own;
  std::condition_variable nobody;
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  double locking = sliced_ns(count, [&] {
    own.lock();
    own.unlock();
  });
  double notifying = sliced_ns(count, [&] { nobody.notify_one(); });
  double posting = sliced_ns(count, [&] {
    sem_post(&semaphore);
    sem_wait(&semaphore);
  });
  sem_destroy(&semaphore);
  std::printf("mutex_ns %.3f\ncondition_ns %.3f\nsemaphore_ns %.3f\n", locking, notifying, posting);
}

// Reading needs sums that do not wait for each other.
uint64_t sum_words(std::span<const uint64_t> words) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= words.size(); i += 8)
    for (size_t k = 0; k < 8; ++k) sums[k] += words[i + k];
  uint64_t sum = 0;
  for (uint64_t each : sums) sum += each;
  return sum;
}

// What a snapshot's marker cannot exceed: the processor notes the first access to each page of a copy.
double forked_gbs(size_t mib) {
  size_t bytes = mib << 20;
  void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto *speed = static_cast<double *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (at == MAP_FAILED || speed == MAP_FAILED) refuse("no memory for", "--bandwidth");
  madvise(at, bytes, MADV_NOHUGEPAGE);
  std::memset(at, 1, bytes);
  for (int i = 0; i < 5; ++i) {
    pid_t child = fork();
    if (child == 0) {
      volatile uint64_t sum = 0;
      double time = ns_per(1, [&] { sum = sum_words({static_cast<uint64_t *>(at), bytes / 8}); });
      *speed = std::max(*speed, static_cast<double>(bytes) / time);
      _exit(0);
    }
    waitpid(child, nullptr, 0);
  }
  return *speed;
}

void print_bandwidth(size_t mib) {
  std::vector<uint64_t> from((mib << 20) / 8, 1), to(from.size(), 2);
  double bytes = static_cast<double>(from.size()) * 8, read = 1e300, copy = 1e300;
  for (int i = 0; i < 5; ++i) { // the best: a limit is wanted
    volatile uint64_t sum = 0;
    read = std::min(read, ns_per(1, [&] { sum = sum_words(from); }));
    copy = std::min(copy, ns_per(1, [&] { std::memcpy(to.data(), from.data(), from.size() * 8); }));
    asm volatile("" : : "r"(to.data()) : "memory");
  }
  std::printf("read_gbs %.2f\ncopy_gbs %.2f\nforked_gbs %.2f\n", bytes / read, bytes / copy, forked_gbs(mib));
}

double computing_ns() {
  constexpr size_t kSteps = 50'000'000;
  return ns_per(1, [] {
    uint64_t a = 1, b = 2, c = 3;
    for (size_t i = 0; i < kSteps; ++i) {
      a += i, b ^= a, c += b;
      asm volatile("" : "+r"(a), "+r"(b), "+r"(c));
    }
  });
}

void print_computing(size_t count) {
  double alone = std::min(computing_ns(), computing_ns());
  std::vector<double> times(count);
  std::vector<std::thread> threads;
  for (double &time : times) threads.emplace_back([&time] { time = computing_ns(); });
  for (std::thread &thread : threads) thread.join();
  std::printf("slower %.2f\n", *std::max_element(times.begin(), times.end()) / alone);
}

// For threads that begin from now on.
void use_stacks_of(size_t bytes) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (pthread_attr_setstacksize(&attributes, bytes) != 0 || pthread_setattr_default_np(&attributes) != 0)
    refuse("no stack of these bytes:", std::to_string(bytes));
  pthread_attr_destroy(&attributes);
}

} // namespace

int main(int argc, char **argv) {
  Options options = read_options(argc, argv);
  build_heap(options);
  if (options.stack_kib) use_stacks_of(options.stack_kib << 10);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < options.threads; ++i) threads.emplace_back(wait_for_end);
  print_resident();
  if (options.pairs) print_pairs(options);
  if (options.traffic) print_traffic(options);
  if (options.sync) print_sync(options.sync);
  if (options.bandwidth_mib) print_bandwidth(options.bandwidth_mib);
  if (options.compute) print_computing(options.compute);
  std::puts("ready");
  std::fflush(stdout);
  if (options.seconds > 0) std::printf("largest_gap_us %.0f\n", largest_gap_us(options));
  {
    std::lock_guard lock(mutex);
    over = true;
  }
  condition.notify_all();
  for (std::thread &thread : threads) thread.join();
  return 0;
}
