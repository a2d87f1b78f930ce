// What a process's earlier profiles, or its siblings', say of its code, so that a safepoint looks up only what is new.
//
// Most stacks of a process are the same at each safepoint, and reading symbols and debug information is most of a
// reporter's work. Taken over is what was found of code of files with a build id: in another file, or in the same one
// built anew, the same address means something else. That nothing better was found counts too, or one instruction that
// no source line belongs to would have all debug information read again at each safepoint; but only where it is sure
// that there was debug information to look at, or that there still is none.
//
// Owner: one thread while it is filled, then immutable. OFFLINE. A profile that says nothing adds nothing.
#pragma once

#include "profile/profile_data.h"
#include "profile/symbolizer.h"

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>

namespace castaway {

class EarlierSymbols {
public:
  struct Found {
    const Symbolized *symbols = nullptr; // null if not known
    bool final = false;                  // false: debug information that came since may tell more
  };

  // Adds something that is known elsewhere; false when there is no more.
  using Source = std::function<bool(EarlierSymbols &)>;

  void add(const ProfileData &profile);
  // Where add() has added too little; outlives this.
  void set_source(Source source) { source_ = std::move(source); }
  bool learn_more() { return source_ && source_(*this); }
  // Of the instruction at `offset` in the file. What is not `known` has a name that was only a fallback.
  Found find(const std::string &build_id, uint64_t offset) const;

private:
  struct File {
    bool has_sources = false; // of any instruction: its debug information has been read
    std::unordered_map<uint64_t, Symbolized> by_offset;
  };
  std::unordered_map<std::string, File> by_build_id_;
  Source source_;
};

} // namespace castaway
