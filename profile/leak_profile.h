// The leak profile: INTERFACE's "Profile `leak`", made from an analysis. Owner: one thread, OFFLINE.
#pragma once

#include "profile/analysis.h"
#include "profile/profile_data.h"
#include "profile/suppressions.h"

#include <string>

namespace castaway {

struct LeakProfile {
  std::string bytes; // serialized, not compressed
  // Whether or not they are in the profile: of a periodic safepoint it holds the confirmed ones only.
  LeakTotals confirmed;
  LeakTotals unconfirmed;
  LeakTotals suppressed;
};

LeakProfile make_leak_profile(Analysis &analysis, const Suppressions &suppressions);

} // namespace castaway
