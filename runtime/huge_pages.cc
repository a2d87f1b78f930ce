// The target's huge pages; see huge_pages.h. Sources: Documentation/admin-guide/mm/pagemap.rst (PAGEMAP_SCAN),
// madvise(2) (MADV_COLLAPSE), mm/huge_memory.c (do_huge_pmd_wp_page, since Linux 5.8).
#include "runtime/huge_pages.h"

#include "runtime/memory.h"
#include "runtime/range_list.h"
#include "runtime/sys.h"

#include <algorithm>
#include <iterator>

namespace castaway {

namespace {

constexpr uintptr_t kHuge = 2 << 20; // bytes
constexpr uintptr_t kPage = 4096;
constexpr uintptr_t kAddresses = (uintptr_t{1} << HeapMap::kAddressBits) - kPage;

// What <linux/fs.h> has since Linux 6.7.
enum Category : uint64_t { kFile = 1 << 2, kPresent = 1 << 3, kZeroPage = 1 << 5, kHugePage = 1 << 6 };
struct PageRegion { // struct page_region
  uint64_t begin, end, categories;
};
struct PageScan { // struct pm_scan_arg
  uint64_t size, flags, begin, end, walk_end, regions, region_count, most_pages, inverted, all_of, any_of, told;
};
constexpr unsigned long kPagemapScan = 0xc0606610; // _IOWR('f', 16, struct pm_scan_arg)
static_assert(sizeof(PageScan) == 0x60);

// Calls visit(Range, categories) for each run of pages in `range` that has all these categories, once `inverted` ones
// are taken for their opposites. It ends where that returns false.
template <typename Visit> void for_each_run(int pagemap, Range range, uint64_t all_of, uint64_t inverted, Visit visit) {
  constexpr size_t kAtOnce = 256;
  PageRegion regions[kAtOnce];
  PageScan scan{.size = sizeof scan,
                .flags = 0,
                .begin = range.begin,
                .end = range.end,
                .walk_end = 0,
                .regions = reinterpret_cast<uintptr_t>(regions),
                .region_count = kAtOnce,
                .most_pages = 0,
                .inverted = inverted,
                .all_of = all_of,
                .any_of = 0,
                .told = kHugePage};
  while (scan.begin < scan.end) {
    long count = sys::call(SYS_ioctl, pagemap, kPagemapScan, &scan);
    if (count < 0 || scan.walk_end <= scan.begin) return;
    for (long i = 0; i < count; ++i)
      if (!visit(Range{regions[i].begin, regions[i].end}, regions[i].categories)) return;
    scan.begin = scan.walk_end;
  }
}

// Of pages, by Documentation/admin-guide/mm/pagemap.rst: there, of no file, and mapped by nobody else. `at`: of a huge
// one.
bool is_whole(int pagemap, uintptr_t at) {
  constexpr uint64_t kThere = uint64_t{1} << 63, kOfFile = uint64_t{1} << 61, kExclusive = uint64_t{1} << 56;
  uint64_t entries[kHuge / kPage];
  if (sys::call(SYS_pread64, pagemap, entries, sizeof entries, at / kPage * sizeof *entries) != sizeof entries)
    return false;
  return std::all_of(std::begin(entries), std::end(entries),
                     [](uint64_t entry) { return (entry & (kThere | kOfFile | kExclusive)) == (kThere | kExclusive); });
}

constexpr int kCollapse = 25; // MADV_COLLAPSE

// One at a time: of several in one call, the next is begun before those who have waited for the last get to their
// memory (a thread that writes was held up for 48 ms). Once more where a page was in use for a moment. False where it
// is no use to go on: there is no memory for it, or it takes far longer than it should.
bool collapse(int pagemap, uintptr_t at) {
  constexpr uint64_t kTooLong = 50'000'000;
  if (!is_whole(pagemap, at)) return true;
  uint64_t begin = sys::now_ns();
  long result = -EAGAIN;
  for (int i = 0; i < 2 && result == -EAGAIN; ++i) result = sys::call(SYS_madvise, at, kHuge, kCollapse);
  bool no_memory = (result == -ENOMEM || result == -EBUSY) && is_whole(pagemap, at); // else it was unmapped meanwhile
  return !no_memory && sys::now_ns() - begin < kTooLong;
}

// Calls visit(Range) for each part of the library's own memory.
template <typename Visit> void for_each_own_range(Visit visit) {
  static Range own[kOwnRegions + 1];
  size_t count = join_ranges(own, own_ranges(own, kOwnRegions + 1));
  std::for_each(own, own + count, visit);
}

} // namespace

bool Served::is_there() const {
  Text<32> agent;
  int task = Proc(proc, pid).open((agent << "task/" << agent_tid).view(), O_PATH);
  sys::close(task);
  return task >= 0 && sys::call(SYS_getppid) == pid;
}

// What is of a file or the page of zeros is asked only of runs that are huge: of small pages the kernel would look up
// each.
void HugePages::note(const Proc &copy) {
  constexpr uint64_t kNot = kFile | kZeroPage;
  int pagemap = copy.open("pagemap");
  uint64_t entry;
  // A process without memory any more: before Linux 6.16 the kernel did not bear to be asked.
  if (sys::call(SYS_pread64, pagemap, &entry, sizeof entry, 0) != sizeof entry) return sys::close(pagemap);
  for_each_run(pagemap, {0, kAddresses}, kHugePage, 0, [&](Range huge, uint64_t) {
    for_each_run(pagemap, huge, kHugePage | kNot, kNot, [&](Range run, uint64_t) {
      if (count_ == kMost) count_ = join_ranges(ranges_, count_);
      if (count_ < kMost) ranges_[count_++] = run;
      return true;
    });
    return true;
  });
  count_ = join_ranges(ranges_, count_);
  sys::close(pagemap);
}

bool HugePages::can_call() {
  constexpr int kNone = -1;
  return sys::call(SYS_ioctl, kNone, kPagemapScan, 0) == -EBADF && sys::call(SYS_madvise, 0, 0, kCollapse) == 0;
}

void HugePages::make_whole(const Served &served, const MemoryLimits &limits, uint64_t began_ns) const {
  constexpr uintptr_t kPiece = 32 * kHuge; // for a look, during which the target cannot map memory
  constexpr int64_t kLeast = 64 << 20;     // bytes that are left
  constexpr uint64_t kAtLeast = 100'000'000, kAtMost = 10'000'000'000;
  uint64_t now_ns = sys::now_ns(), until_ns = now_ns + std::min(now_ns - began_ns + kAtLeast, kAtMost);
  // Of this task, which has the target's memory.
  int pagemap = count_ > 0 ? Proc(served.proc, sys::process_id()).open("pagemap") : -1;
  bool goes_on = pagemap >= 0;
  auto mend_run = [&](Range run, uint64_t categories) {
    Range whole{(run.begin + kHuge - 1) & ~(kHuge - 1), run.end & ~(kHuge - 1)};
    if ((categories & kHugePage) != 0 || whole.empty()) return true;
    for (uintptr_t at = whole.begin; at < whole.end && goes_on; at += kHuge)
      goes_on = sys::now_ns() < until_ns && served.is_there() && limits.margin() >= kLeast && collapse(pagemap, at);
    return goes_on;
  };
  auto mend = [&](Range range) {
    for (uintptr_t at = range.begin, next; at < range.end && goes_on; at = next) {
      next = std::min((at & ~(kHuge - 1)) + kPiece, range.end);
      for_each_run(pagemap, {at, next}, kPresent, 0, mend_run);
    }
  };
  for (size_t i = 0; i < count_; ++i) mend(ranges_[i]);
  if (goes_on) for_each_own_range(mend);
  sys::close(pagemap);
}

} // namespace castaway
