// Reading /proc; see proc.h.
#include "runtime/proc.h"

namespace castaway {

std::string_view Proc::read(std::string_view path, char *buffer, size_t size) const {
  int fd = open(path);
  if (fd < 0) return {};
  size_t used = 0;
  while (used < size) {
    long got = sys::read(fd, buffer + used, size - used);
    if (got == -EINTR) continue;
    if (got <= 0) break;
    used += static_cast<size_t>(got);
  }
  sys::close(fd);
  return {buffer, used};
}

std::string_view Proc::read_whole(std::string_view path) const {
  // Reserved generously: pages come when touched, and the process ends soon.
  constexpr size_t kMost = size_t{256} << 20;
  auto *buffer = static_cast<char *>(sys::map_memory(kMost));
  return buffer ? read(path, buffer, kMost) : std::string_view{};
}

std::string_view line_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (!take_prefix(line, key)) continue;
    while (!line.empty() && (line[0] == ' ' || line[0] == '\t')) line.remove_prefix(1);
    return line;
  }
  return {};
}

PageCounts page_counts(const Proc &process) {
  char line[256];
  std::string_view rest = process.read("statm", line, sizeof line);
  PageCounts counts{};
  for (uint64_t *each : {&counts.mapped, &counts.resident, &counts.of_files}) {
    take_number(rest, *each);
    if (!rest.empty()) rest.remove_prefix(1);
  }
  return counts;
}

std::string_view stat_field(std::string_view line, int number) {
  constexpr int kState = 3;
  size_t close = line.rfind(')'); // the name may have any letters
  if (close == line.npos || close + 2 > line.size()) return {};
  line.remove_prefix(close + 2);
  for (int i = kState; i < number; ++i) take_until(line, ' ');
  return take_until(line, ' ');
}

} // namespace castaway
