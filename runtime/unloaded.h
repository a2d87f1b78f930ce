// Modules that were unloaded: a recorded stack may lead through them long after.
//
// dlclose is hooked; what it unmaps is remembered as a line of /proc/PID/maps would say it, for the reporter to find
// names in the file. HOOK context (rare), thread-safe; the last kMost code segments are kept.
#pragma once

#include "runtime/text.h"
#include "scanner/image.h"

#include <cstddef>
#include <cstdint>

namespace castaway {

struct UnloadedCode {
  Range range;
  uint64_t offset; // in the file
  Text<256> path;
};

namespace unloaded {

inline constexpr size_t kMost = 256;

// Around the real dlclose: `before` notes what is loaded, `after` keeps what has gone since.
class Watch {
public:
  void before();
  void after();

private:
  uint64_t unloads_ = 0;
};

// SNAPSHOT: how many are kept, and each of them, oldest first.
size_t count();
const UnloadedCode &at(size_t i);
// In the child of a fork.
void reset_lock();

} // namespace unloaded
} // namespace castaway
