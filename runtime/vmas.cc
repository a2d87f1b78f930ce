// The target's mappings; see vmas.h. Source of the format: proc_pid_maps(5).
#include "runtime/vmas.h"

#include "runtime/text.h"

namespace castaway {

namespace {

// BEGIN-END rwxp OFFSET MAJOR:MINOR INODE   PATH
bool parse(std::string_view line, Vma &vma) {
  uint64_t begin, end, major, minor;
  if (!take_number(line, begin, 16) || !take_prefix(line, "-") || !take_number(line, end, 16)) return false;
  if (!take_prefix(line, " ") || line.size() < 5 || end <= begin) return false;
  vma.range = {begin, end};
  vma.readable = line[0] == 'r';
  vma.writable = line[1] == 'w';
  vma.executable = line[2] == 'x';
  vma.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!take_number(line, vma.offset, 16) || !take_prefix(line, " ")) return false;
  if (!take_number(line, major, 16) || !take_prefix(line, ":") || !take_number(line, minor, 16)) return false;
  if (!take_prefix(line, " ") || !take_number(line, vma.inode)) return false;
  while (!line.empty() && line[0] == ' ') line.remove_prefix(1);
  vma.path = line;
  return true;
}

} // namespace

Vmas::Vmas(std::string_view text, std::span<Vma> room) {
  size_t count = 0;
  while (!text.empty()) {
    Vma vma;
    if (!parse(take_until(text, '\n'), vma)) continue;
    if (count == room.size()) {
      complete_ = false;
      break;
    }
    room[count++] = vma;
  }
  vmas_ = room.subspan(0, count);
}

const Vma *Vmas::find(uintptr_t address) const {
  size_t low = 0, high = vmas_.size();
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (vmas_[middle].range.end > address)
      high = middle;
    else
      low = middle + 1;
  }
  return low < vmas_.size() && vmas_[low].range.contains(address) ? &vmas_[low] : nullptr;
}

bool Vmas::overlaps(Range range) const {
  for (const Vma &vma : vmas_)
    if (vma.range.begin < range.end && range.begin < vma.range.end) return true;
  return false;
}

bool Vmas::readable(Range range) const {
  if (range.empty()) return false;
  for (uintptr_t at = range.begin; at < range.end;) {
    const Vma *vma = find(at);
    if (!vma || !vma->readable) return false;
    at = vma->range.end;
  }
  return true;
}

} // namespace castaway
