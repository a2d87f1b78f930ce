// What a stop costs a program that writes to its memory: the gap itself, and the time that goes into page faults after
// it, because what was shared or protected at the stop has to be copied or noted when it is written next.
//
//   writer_target MIB none|fork|snap|written [HOLD_MS]
//
// One thread adds to words of random 64-byte blocks, MIB of them, for six seconds. One second in, another thread
//
//   fork     forks a child that lives for HOLD_MS: a bare copy
//   snap     has castaway, preloaded, make a safepoint
//   written  does what a safepoint without a copy would do: write-protects the heap while the program runs
//   (userfaultfd,
//            asynchronous), lets HOLD_MS pass, in which a marker would run, and lists the pages that were written
//            since, which is all that would have to be done in the pause (PAGEMAP_SCAN, Linux 6.7)
//
// Prints `writes_per_ms N`, the median before the stop; `largest_gap_us N`; `lost_ms N`, the time that the writes
// missing in the two seconds from the stop on would have taken before it; `in_the_end N`, the median of the last half
// second, by that before the stop; and for `written` also `protect_us`,
// `list_us` and `written_pages`. Exit status 1 and a line where the kernel cannot do it.
#include "castaway/castaway.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <random>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kBlock = 64, kPage = 4096;
constexpr int kStopAt = 1000, kLostUntil = 3000, kEnd = 6000; // ms

[[noreturn]] void refuse(const char *what, const char *detail) {
  std::fprintf(stderr, "writer_target: %s: %s\n", what, detail);
  std::exit(1);
}

double microseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

std::vector<uint64_t *> blocks; // keeps the heap alive

void build_heap(size_t mib) {
  blocks.resize((mib << 20) / kBlock);
  for (uint64_t *&block : blocks) block = static_cast<uint64_t *>(std::calloc(1, kBlock));
}

// ---- writing

struct Progress {
  std::vector<double> writes = std::vector<double>(kEnd); // by milliseconds
  double largest_gap_us = 0;
};

Progress write_all_the_time(Clock::time_point begin) {
  constexpr size_t kBatch = 16;
  Progress progress;
  std::minstd_rand random;
  for (auto last = begin;;) {
    for (size_t i = 0; i < kBatch; ++i) ++blocks[random() % blocks.size()][1];
    auto now = Clock::now();
    auto at = static_cast<size_t>((now - begin) / milliseconds(1));
    if (at >= progress.writes.size()) return progress;
    progress.writes[at] += kBatch;
    progress.largest_gap_us =
        std::max(progress.largest_gap_us, std::chrono::duration<double, std::micro>(now - last).count());
    last = now;
  }
}

// The median of the half second before `end`.
double usual_before(const Progress &progress, int end) {
  constexpr int kSpan = 500;
  auto last = progress.writes.begin() + end;
  std::vector<double> span(last - kSpan, last);
  std::nth_element(span.begin(), span.begin() + kSpan / 2, span.end());
  return span[kSpan / 2];
}

void print(const Progress &progress) {
  double usual = usual_before(progress, kStopAt), lost = 0;
  for (size_t at = kStopAt; at < kLostUntil; ++at) lost += 1 - progress.writes[at] / usual;
  std::printf("writes_per_ms %.0f\nlargest_gap_us %.0f\nlost_ms %.2f\nin_the_end %.3f\n", usual,
              progress.largest_gap_us, lost, usual_before(progress, kEnd) / usual);
}

// ---- stops

void fork_for(milliseconds hold) {
  pid_t child = fork();
  if (child < 0) refuse("fork", std::strerror(errno));
  if (child == 0) {
    std::this_thread::sleep_for(hold);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}

void make_safepoint() {
  if (castaway_snap() != 1) refuse("castaway", "no safepoint could be made");
}

// What Debian 12's headers do not have: linux/userfaultfd.h and linux/fs.h of Linux 6.7.
constexpr uint64_t kUnpopulated = 1 << 13, kAsynchronous = 1 << 15; // UFFD_FEATURE_WP_UNPOPULATED, _WP_ASYNC
constexpr uint64_t kIsWritten = 1 << 1;                             // PAGE_IS_WRITTEN
struct PageRegion {
  uint64_t begin, end, categories;
};
struct ScanArguments { // pm_scan_arg
  uint64_t size, flags, begin, end, walk_end, regions, region_count, most_pages, inverted, mask, any_of, returned;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);

void control(int file, unsigned long request, void *argument, const char *name) {
  if (ioctl(file, request, argument) < 0) refuse(name, std::strerror(errno));
}

uffdio_range heap_range() {
  auto [least, most] = std::minmax_element(blocks.begin(), blocks.end());
  uint64_t begin = reinterpret_cast<uint64_t>(*least) & ~(kPage - 1);
  return {begin, ((reinterpret_cast<uint64_t>(*most) + kBlock + kPage - 1) & ~(kPage - 1)) - begin};
}

size_t list_written(uffdio_range range) {
  int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  std::vector<PageRegion> regions(1 << 16);
  ScanArguments scan{};
  scan.size = sizeof scan;
  scan.begin = range.start;
  scan.end = range.start + range.len;
  scan.mask = scan.returned = kIsWritten;
  scan.regions = reinterpret_cast<uint64_t>(regions.data());
  scan.region_count = regions.size();
  size_t pages = 0;
  while (scan.begin < scan.end) {
    int count = ioctl(pagemap, kPagemapScan, &scan);
    if (count < 0) refuse("PAGEMAP_SCAN", std::strerror(errno));
    for (int i = 0; i < count; ++i)
      pages += (regions[static_cast<size_t>(i)].end - regions[static_cast<size_t>(i)].begin) / kPage;
    scan.begin = scan.walk_end;
  }
  close(pagemap);
  return pages;
}

void track_writes(milliseconds hold) {
  auto faults = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
  if (faults < 0) refuse("userfaultfd", std::strerror(errno));
  uffdio_api api{.api = UFFD_API, .features = kUnpopulated | kAsynchronous, .ioctls = 0};
  control(faults, UFFDIO_API, &api, "UFFDIO_API");
  uffdio_range heap = heap_range();
  auto begin = Clock::now();
  uffdio_register registration{.range = heap, .mode = UFFDIO_REGISTER_MODE_WP, .ioctls = 0};
  control(faults, UFFDIO_REGISTER, &registration, "UFFDIO_REGISTER");
  uffdio_writeprotect protection{.range = heap, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  control(faults, UFFDIO_WRITEPROTECT, &protection, "UFFDIO_WRITEPROTECT");
  double protect_us = microseconds_since(begin);
  std::this_thread::sleep_for(hold);
  begin = Clock::now();
  size_t pages = list_written(heap);
  std::printf("protect_us %.0f\nlist_us %.0f\nwritten_pages %zu\n", protect_us, microseconds_since(begin), pages);
  close(faults); // takes the protection off, and the program's writes cost nothing more
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 3) refuse("arguments", "MIB none|fork|snap|written [HOLD_MS]");
  std::string_view stop = argv[2];
  milliseconds hold(argc > 3 ? std::atoi(argv[3]) : 0);
  build_heap(static_cast<size_t>(std::atoi(argv[1])));
  auto begin = Clock::now();
  std::thread stopper([&] {
    std::this_thread::sleep_until(begin + milliseconds(kStopAt));
    if (stop == "fork") fork_for(hold);
    if (stop == "snap") make_safepoint();
    if (stop == "written") track_writes(hold);
  });
  Progress progress = write_all_the_time(begin);
  stopper.join();
  print(progress);
  return 0;
}
