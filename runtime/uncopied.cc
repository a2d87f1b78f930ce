// Memory that a fork does not copy; see uncopied.h. Sources: madvise(2), proc_pid_smaps(5) (VmFlags),
// proc_pid_pagemap(5).
#include "runtime/uncopied.h"

#include "runtime/memory.h"
#include "runtime/range_list.h"
#include "runtime/wiped.h"

#include <cstring>

namespace castaway {

namespace {

constexpr size_t kMostPages = UncopiedMemory::kMostBytes / 4096;

// What a program can store pointers in and the kernel can give again: no devices, no rings of the kernel's.
bool may_hold_pointers(const Vma &vma) {
  if (vma.path.substr(0, 11) == "anon_inode:" || vma.path == "[vvar]" || vma.path == "[vdso]") return false;
  bool device =
      vma.path.substr(0, 5) == "/dev/" && vma.path.substr(0, 9) != "/dev/shm/" && vma.path.substr(0, 9) != "/dev/zero";
  return !device && (vma.writable || !vma.shared);
}

// The lines of a file in /proc, one after the other, however long it is.
class Lines {
public:
  explicit Lines(int fd) : fd_(fd) {}
  ~Lines() { sys::close(fd_); }
  Lines(const Lines &) = delete;
  Lines &operator=(const Lines &) = delete;

  bool next(std::string_view &line) {
    for (;;) {
      std::string_view rest(buffer_ + at_, end_ - at_);
      size_t newline = rest.find('\n');
      if (newline != rest.npos) return line = rest.substr(0, newline), at_ += newline + 1, true;
      std::memmove(buffer_, buffer_ + at_, end_ - at_);
      end_ -= at_, at_ = 0;
      long got = end_ < sizeof buffer_ ? sys::read(fd_, buffer_ + end_, sizeof buffer_ - end_) : 0;
      if (got <= 0) return failed_ = got < 0, false;
      end_ += static_cast<size_t>(got);
    }
  }
  bool failed() const { return fd_ < 0 || failed_; }

private:
  int fd_;
  char buffer_[16384];
  size_t at_ = 0, end_ = 0;
  bool failed_ = false;
};

// Calls visit(vma) for each mapping with the flag, of two letters. False if it cannot be known.
template <typename Visit> bool for_each_flagged(int smaps, const char *flag, Visit visit) {
  Lines lines(smaps);
  Text<8> wanted;
  wanted << " " << flag << " ";
  static char text[4096 + 256]; // a line, kept while the next ones come
  size_t length = 0;
  std::string_view line;
  while (lines.next(line)) {
    if (line.empty()) continue;
    bool is_field = line[0] >= 'A' && line[0] <= 'Z';
    if (!is_field) length = std::min(line.size(), sizeof text), std::memcpy(text, line.data(), length);
    if (!take_prefix(line, "VmFlags:") || line.find(wanted.view()) == line.npos) continue;
    Vma vma;
    Vmas one({text, length}, {&vma, 1});
    if (!one.all().empty()) visit(vma);
  }
  return !lines.failed();
}

} // namespace

bool UncopiedMemory::lend(const Proc &target) {
  lent_count_ = 0;
  return for_each_flagged(target.open("smaps"), "dc", [&](const Vma &vma) {
    if (vma.shared || !vma.is_anonymous() || lent_count_ == kMostRanges) return;
    if (sys::call(SYS_madvise, vma.range.begin, vma.range.size(), MADV_DOFORK) == 0) lent_[lent_count_++] = vma.range;
  });
}

void UncopiedMemory::take_back() const {
  for (size_t i = 0; i < lent_count_; ++i) sys::call(SYS_madvise, lent_[i].begin, lent_[i].size(), MADV_DONTFORK);
}

bool UncopiedMemory::collect(const Proc &target, int list) {
  range_count_ = page_count_ = 0;
  long got = sys::call(SYS_pread64, list, ranges_, sizeof ranges_, 0);
  lent_count_ = 0;
  if (got <= 0) return true;
  lend(target);
  static char *memory;
  if (!memory) memory = static_cast<char *>(own_memory(kMostBytes + kMostPages * sizeof(uintptr_t)));
  if (!memory) return false;
  clear_own_memory(memory, kMostBytes);
  pages_ = memory;
  addresses_ = reinterpret_cast<uintptr_t *>(memory + kMostBytes);
  range_count_ = static_cast<size_t>(got) / sizeof(UncopiedRange);
  int bytes = target.open("mem"), pagemap = target.open("pagemap");
  bool fits = bytes >= 0 && pagemap >= 0;
  auto is_lent = [&](const Range &range) {
    for (size_t i = 0; i < lent_count_; ++i)
      if (lent_[i].contains(range.begin)) return true;
    return false;
  };
  for (size_t i = 0; i < range_count_ && fits; ++i)
    fits = is_lent(ranges_[i].range) || collect_range(ranges_[i], bytes, pagemap);
  sys::close(bytes);
  sys::close(pagemap);
  return fits;
}

// Pages that exist: of private memory those that the process has, of shared memory those that anybody has.
bool UncopiedMemory::collect_range(const UncopiedRange &range, int memory, int pagemap) {
  uint64_t entries[256];
  unsigned char residency[256];
  for (uintptr_t at = range.range.begin; at < range.range.end;) {
    size_t pages = std::min<size_t>(256, (range.range.end - at) / kPage);
    bool known = range.shared ? sys::call(SYS_mincore, at, pages * kPage, residency) == 0
                              : sys::call(SYS_pread64, pagemap, entries, pages * 8, at / kPage * 8) > 0;
    if (!known) return true; // no longer mapped
    for (size_t i = 0; i < pages;) {
      auto here = [&](size_t k) { return range.shared ? (residency[k] & 1) != 0 : is_page_here(entries[k]); };
      size_t from = i;
      while (i < pages && here(i)) ++i;
      if (i > from && !copy_run({at + from * kPage, at + i * kPage}, memory)) return false;
      while (i < pages && !here(i)) ++i;
    }
    at += pages * kPage;
  }
  return true;
}

bool UncopiedMemory::copy_run(Range run, int memory) {
  while (run.begin < run.end) {
    if (page_count_ + run.size() / kPage > kMostPages) return page_count_ += run.size() / kPage, false;
    // /proc/PID/mem heeds no protection, and fails where reading would be a fault.
    long got = sys::call(SYS_pread64, memory, pages_ + page_count_ * kPage, run.size(), run.begin);
    size_t copied = got > 0 ? static_cast<size_t>(got) / kPage : 0;
    for (size_t i = 0; i < copied; ++i) addresses_[page_count_++] = run.begin + i * kPage;
    run.begin += copied * kPage;
    if (run.begin < run.end) run.begin += kPage; // one that cannot be read
  }
  return true;
}

void UncopiedMemory::copy_back(Range range) const {
  for (size_t i = 0; i < page_count_; ++i)
    if (range.contains(addresses_[i])) std::memcpy(reinterpret_cast<void *>(addresses_[i]), pages_ + i * kPage, kPage);
}

void UncopiedMemory::restore(const Vmas &own) const {
  RangeList mapped;
  for (const Vma &vma : own.all()) mapped.add(vma.range);
  mapped.normalize();
  for (size_t i = 0; i < range_count_; ++i) {
    const UncopiedRange &range = ranges_[i];
    // What has been left out; never over anything that is there, which may be shared with the target by now.
    for_each_outside(range.range, mapped.all(), [&](Range gap) {
      constexpr int kNoReplace = 0x100000; // MAP_FIXED_NOREPLACE
      int flags = MAP_ANONYMOUS | MAP_NORESERVE | kNoReplace | (range.shared ? MAP_SHARED : MAP_PRIVATE);
      long at = sys::call(SYS_mmap, gap.begin, gap.size(), PROT_READ | PROT_WRITE, flags, -1, 0);
      if (at == static_cast<long>(gap.begin)) copy_back(gap);
    });
    if (!range.wiped) continue;
    for (const Vma &vma : own.all()) {
      Range part{std::max(vma.range.begin, range.range.begin), std::min(vma.range.end, range.range.end)};
      if (part.empty() || !vma.is_anonymous()) continue;
      if (sys::call(SYS_mprotect, part.begin, part.size(), PROT_READ | PROT_WRITE) == 0) copy_back(part);
    }
  }
  mapped.release();
}

bool UncopiedMemory::knows(Range range) const {
  for (size_t i = 0; i < lent_count_ && !range.empty(); ++i) // sorted, as smaps has it
    if (lent_[i].contains(range.begin)) range.begin = lent_[i].end;
  for (size_t i = 0; i < range_count_ && !range.empty(); ++i) // sorted, and each as smaps has it
    if (ranges_[i].range.contains(range.begin)) range.begin = ranges_[i].range.end;
  return range.empty();
}

bool UncopiedMemory::complete(const TargetMaps &target, const Proc &self, const Vmas &own, int list, uintptr_t own_page,
                              bool has_all) const {
  static UncopiedRange found[kMostRanges];
  size_t count = 0;
  bool all_known = true;
  auto note = [&](const Vma &vma, bool wiped) {
    all_known = all_known && knows(vma.range);
    if (count < kMostRanges) found[count++] = {vma.range, vma.shared, wiped};
  };
  // Whether the target has mappings that this process has not: only then it is worth to look at all of its own.
  RangeList mapped;
  for (const Vma &vma : own.all()) mapped.add(vma.range);
  mapped.normalize();
  auto missing = [&](const Vma &vma) {
    bool any = false;
    if (may_hold_pointers(vma) && !vma.range.contains(own_page))
      for_each_outside(vma.range, mapped.all(), [&](Range) { any = true; });
    return any;
  };
  bool readable = true, any_missing = range_count_ > 0, any = has_all;
  Lines lines(target.maps);
  std::string_view line;
  while (!has_all && lines.next(line)) {
    Vma vma;
    Vmas one(line, {&vma, 1});
    any = any || !one.all().empty();
    any_missing = any_missing || (!one.all().empty() && missing(vma));
  }
  if (!any_missing)
    sys::close(target.smaps);
  else
    readable = readable && for_each_flagged(target.smaps, "dc", [&](const Vma &vma) {
                 if (may_hold_pointers(vma) && !vma.range.contains(own_page)) note(vma, false);
               });
  // Where pages have been put back, only smaps can tell.
  if (range_count_ > 0 || !for_each_wiped(self, own, [&](const Vma &vma) { note(vma, true); }))
    readable = readable && for_each_flagged(self.open("smaps"), "wf", [&](const Vma &vma) {
                 auto same = [&](const UncopiedRange &one) { return one.range.begin == vma.range.begin; };
                 if (std::none_of(found, found + count, same)) note(vma, true);
               });
  mapped.release();
  if (!readable || !any || count == kMostRanges) return false; // `any`: of an ended process the file is empty
  std::sort(found, found + count, [](const auto &a, const auto &b) { return a.range.begin < b.range.begin; });
  sys::call(SYS_ftruncate, list, 0);
  sys::call(SYS_pwrite64, list, found, count * sizeof *found, 0);
  return all_known;
}

} // namespace castaway
