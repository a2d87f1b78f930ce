// The forms in which show() prints a profile, one file each. Pure; any thread; OFFLINE.
#pragma once

#include "profile/show.h"

#include <string>
#include <vector>

namespace castaway {

std::string show_summary(const ProfileData &profile, const ShowOptions &options);
std::string show_stacks(const ProfileData &profile);  // debug=1
std::string show_threads(const ProfileData &profile); // debug=2

// Samples with the greatest impact first: threads, then bytes (retained and leaked), then objects.
std::vector<const ProfileSample *> by_impact(const ProfileData &profile);

} // namespace castaway
