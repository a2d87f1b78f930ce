// The target's mappings, from the text of /proc/PID/maps.
//
// Context: SNAPSHOT; also before main, for what is mapped then. The text is taken as it comes: lines that cannot be
// read are left out.
#pragma once

#include "scanner/image.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace castaway {

struct Vma {
  Range range;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  uint64_t offset = 0;
  uint64_t inode = 0;
  std::string_view path; // "", "[heap]", "[stack]", "/usr/lib/...", "anon_inode:..."

  bool is_anonymous() const {
    return !shared && inode == 0 && (path.empty() || path == "[heap]" || path.substr(0, 6) == "[anon:");
  }
};

class Vmas {
public:
  // Parses `text` into `room`; what does not fit is dropped (see complete()).
  Vmas(std::string_view text, std::span<Vma> room);

  std::span<const Vma> all() const { return vmas_; }
  bool complete() const { return complete_; }
  // The mapping around `address`, or null.
  const Vma *find(uintptr_t address) const;
  // Whether anything is mapped in `range`.
  bool overlaps(Range range) const;
  // Whether all of `range` may be read.
  bool readable(Range range) const;

private:
  std::span<Vma> vmas_;
  bool complete_ = true;
};

} // namespace castaway
