#include "profile/suppressions.h"

#include "profile/file.h"
#include "profile/text.h"

#include <algorithm>

namespace castaway {
namespace {

constexpr size_t kLargestFile = size_t(16) << 20;

bool matches_any(const std::vector<std::string> &patterns, std::string_view name) {
  if (name.empty()) return false;
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string &pattern) { return matches_pattern(pattern, name); });
}

} // namespace

bool matches_pattern(std::string_view pattern, std::string_view name) {
  const bool at_start = pattern.starts_with('^');
  const bool at_end = pattern.size() > at_start && pattern.ends_with('$');
  pattern.remove_prefix(at_start);
  pattern.remove_suffix(at_end);
  // The pieces between stars one after the other, each where it is first found: no later place would match more. Only
  // the last one of a pattern held at its end must lie there.
  bool first = true;
  for (;;) {
    const auto star = pattern.find('*');
    const auto piece = pattern.substr(0, star);
    const bool held = first && at_start;
    const bool last = star == std::string_view::npos;
    if (last && at_end) return name.ends_with(piece) && (!held || name == piece);
    const auto place = name.find(piece);
    if (place == std::string_view::npos || (held && place != 0)) return false;
    if (last) return true;
    name.remove_prefix(place + piece.size());
    pattern.remove_prefix(star + 1);
    first = false;
  }
}

Result<Suppressions> Suppressions::parse(std::string_view text, const std::string &source) {
  Suppressions suppressions;
  size_t number = 0;
  for (auto line : lines_of(text)) {
    number++;
    line = trimmed(line);
    if (line.empty() || line.starts_with('#')) continue;
    const auto kind = take_until(line, ':');
    const auto where = source + ":" + std::to_string(number) + ": ";
    if (kind != "leak" && kind != "thread") return Error{where + "expected leak:PATTERN, thread:PATTERN or a comment"};
    if (line.empty()) return Error{where + "`" + std::string(kind) + ":` has no pattern"};
    (kind == "leak" ? suppressions.leaks_ : suppressions.threads_).emplace_back(line);
  }
  return suppressions;
}

Result<Suppressions> Suppressions::read(const std::string &path) {
  const auto bytes = read_file(path, kLargestFile);
  if (!bytes) return Error{bytes.error()};
  return parse({reinterpret_cast<const char *>(bytes->data()), bytes->size()}, path);
}

bool Suppressions::matches_leak(std::string_view name) const { return matches_any(leaks_, name); }

bool Suppressions::matches_thread(std::string_view name) const { return matches_any(threads_, name); }

} // namespace castaway
