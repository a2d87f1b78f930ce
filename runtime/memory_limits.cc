// Limits on memory, and how near they are; see memory_limits.h.
#include "runtime/memory_limits.h"

#include <algorithm>

namespace castaway {

namespace {

std::string_view read_again(int fd, char *buffer, size_t size) {
  long got = sys::call(SYS_pread64, fd, buffer, size, 0);
  return {buffer, got > 0 ? static_cast<size_t>(got) : 0};
}

// `fallback` where there is none: version 2 says "max".
uint64_t number_at(std::string_view text, uint64_t fallback) {
  uint64_t value;
  return take_number(text, value) ? value : fallback;
}

uint64_t read_number(int fd, uint64_t fallback) {
  char text[32];
  return number_at(read_again(fd, text, sizeof text), fallback);
}

// Version 1 counts a group's own pages, and all below it with the prefix; version 2 only those, without.
uint64_t file_pages(std::string_view statistics) {
  uint64_t sum = 0;
  for (std::string_view key : {"total_inactive_file", "total_active_file"})
    sum += number_at(line_value(statistics, key), 0);
  if (sum > 0) return sum;
  for (std::string_view key : {"inactive_file", "active_file"}) sum += number_at(line_value(statistics, key), 0);
  return sum;
}

int64_t distance(uint64_t from, uint64_t to) { return static_cast<int64_t>(to) - static_cast<int64_t>(from); }

// The path of the group in the hierarchy of the memory controller; `lines` are those of /proc/PID/cgroup.
std::string_view group_path(std::string_view lines, std::string_view controllers) {
  while (!lines.empty()) {
    std::string_view line = take_until(lines, '\n');
    take_until(line, ':'); // the hierarchy's number
    if (take_until(line, ':') == controllers) return line;
  }
  return {};
}

} // namespace

uint64_t MemoryLimits::reserve_of(uint64_t limit) { return std::max(limit / 64, uint64_t{8} << 20); }

void MemoryLimits::open(const Proc &target, int groups) {
  meminfo_ = target.open("../meminfo");
  char lines[4096];
  std::string_view text = target.read("cgroup", lines, sizeof lines);
  if (std::string_view path = group_path(text, "memory"); !path.empty())
    open_groups(sys::open_at(groups, "memory", O_RDONLY | O_DIRECTORY), path, "memory.limit_in_bytes",
                "memory.usage_in_bytes");
  else if (path = group_path(text, ""); !path.empty())
    open_groups(sys::open_at(groups, ".", O_RDONLY | O_DIRECTORY), path, "memory.max", "memory.current");
}

// Of the group and of all above it. A container may see itself as the top, under another name than it has outside.
void MemoryLimits::open_groups(int mount, std::string_view path, const char *limit_file, const char *usage_file) {
  if (mount < 0) return;
  while (path.size() > 1) {
    Text<4096> below;
    int directory = sys::open_at(mount, (below << path.substr(1)).c_str(), O_RDONLY | O_DIRECTORY);
    if (directory >= 0) open_group(directory, limit_file, usage_file);
    path = path.substr(0, path.rfind('/'));
  }
  open_group(mount, limit_file, usage_file);
}

void MemoryLimits::open_group(int directory, const char *limit_file, const char *usage_file) {
  constexpr uint64_t kNone = uint64_t{1} << 60; // version 1 says so by a number near the largest there is
  int limit_fd = sys::open_at(directory, limit_file, O_RDONLY);
  Limit limit{read_number(limit_fd, kNone), -1, -1};
  sys::close(limit_fd);
  if (limit.bytes < kNone && count_ < kMost) {
    limit.usage = sys::open_at(directory, usage_file, O_RDONLY);
    limit.statistics = sys::open_at(directory, "memory.stat", O_RDONLY);
    limits_[count_++] = limit;
  }
  sys::close(directory);
}

int64_t MemoryLimits::margin_of(const Limit &limit) {
  uint64_t most = limit.bytes - std::min(limit.bytes, reserve_of(limit.bytes));
  uint64_t used = read_number(limit.usage, 0);
  // The statistics cost more, and are needed only where it is about to matter.
  if (used < limit.bytes / 2) return distance(used, most);
  char text[8192];
  uint64_t files = file_pages(read_again(limit.statistics, text, sizeof text));
  return distance(used - std::min(used, files), most);
}

int64_t MemoryLimits::margin_of_machine() const {
  char buffer[4096];
  std::string_view text = read_again(meminfo_, buffer, sizeof buffer);
  uint64_t total = number_at(line_value(text, "MemTotal:"), 0) * 1024;
  uint64_t available = number_at(line_value(text, "MemAvailable:"), UINT64_MAX >> 11) * 1024;
  return total > 0 ? distance(reserve_of(total), available) : INT64_MAX;
}

int64_t MemoryLimits::margin() const {
  int64_t least = margin_of_machine();
  for (size_t i = 0; i < count_; ++i) least = std::min(least, margin_of(limits_[i]));
  return least;
}

} // namespace castaway
