// Which random inputs a test makes: CASTAWAY_SEEDS=FIRST:COUNT asks for others, or for more of them.
#pragma once

#include <cstdlib>

namespace castaway::testing {

struct Seeds {
  unsigned first, count;
  unsigned last() const { return first + count - 1; }
};

// From 1 on, so many, unless asked for otherwise.
inline Seeds seeds(unsigned usual_count) {
  Seeds wanted{1, usual_count};
  if (const char *text = getenv("CASTAWAY_SEEDS")) {
    char *end = nullptr;
    wanted.first = static_cast<unsigned>(strtoul(text, &end, 10));
    if (*end == ':') wanted.count = static_cast<unsigned>(strtoul(end + 1, nullptr, 10));
  }
  return wanted;
}

} // namespace castaway::testing
