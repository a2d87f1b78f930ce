// From a capture to its two profiles: read, map, unwind, symbolize, confirm, suppress, build. One thread; OFFLINE.
#pragma once

#include "profile/capture_reader.h"
#include "profile/earlier_symbols.h"
#include "profile/leak_profile.h"
#include "profile/result.h"

#include <string>

namespace castaway {

struct Profiles {
  LeakProfile leak;
  std::string threads; // serialized, not compressed
  // One line if something that was asked for was left out, the suppressions for one; empty if all is well.
  std::string trouble;
};

// `earlier`: what earlier profiles know; may be null.
Profiles make_profiles(const Capture &capture, EarlierSymbols *earlier = nullptr);

} // namespace castaway
