// Suppressions: leaks that somebody knows about and does not want to hear of.
//
// LeakSanitizer's file format, so that its files work unchanged:
//   # a comment
//   leak:PATTERN      any function, source file or module on the stack where leaked memory was allocated
//   thread:PATTERN    the same on a leaked thread's stack, or the function that created it
// A pattern matches anywhere in a name; * stands for anything, ^ at its start and $ at its end hold it there.
//
// Owner: the caller; immutable; matching is linear in pattern and name, without recursion. OFFLINE.
#pragma once

#include "profile/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace castaway {

class Suppressions {
public:
  // The error names `source` (the file's name) and the line.
  static Result<Suppressions> parse(std::string_view text, const std::string &source);
  static Result<Suppressions> read(const std::string &path);

  bool empty() const { return leaks_.empty() && threads_.empty(); }
  // `name`: of a function, a source file or a module.
  bool matches_leak(std::string_view name) const;
  bool matches_thread(std::string_view name) const;

private:
  std::vector<std::string> leaks_;
  std::vector<std::string> threads_;
};

// Whether `pattern`, as above, matches `name`.
bool matches_pattern(std::string_view pattern, std::string_view name);

} // namespace castaway
