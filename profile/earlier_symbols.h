// What a process's earlier profiles, or its siblings', say of its code, so that a safepoint looks up only what is new.
//
// Most stacks of a process are the same at each safepoint, and reading debug information is most of a reporter's work.
// Taken over is what came from debug information, for code of files with a build id: in another file, or in the same
// one built anew, the same address means something else. The rest is looked up again; ELF symbols cost little.
//
// Owner: one thread while it is filled, then immutable. OFFLINE. A profile that says nothing adds nothing.
#pragma once

#include "profile/profile_data.h"
#include "profile/symbolizer.h"

#include <cstdint>
#include <string>
#include <unordered_map>

namespace castaway {

class EarlierSymbols {
public:
  void add(const ProfileData &profile);
  // Of the instruction at `offset` in the file; nullptr if not known.
  const Symbolized *find(const std::string &build_id, uint64_t offset) const;

private:
  std::unordered_map<std::string, std::unordered_map<uint64_t, Symbolized>> by_build_id_; // and offset
};

} // namespace castaway
