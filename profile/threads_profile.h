// The threads profile: every thread's stack, as Go's goroutine profile. Owner: one thread, OFFLINE.
#pragma once

#include "profile/analysis.h"

#include <string>

namespace castaway {

// Serialized, not compressed.
std::string make_threads_profile(Analysis &analysis);

} // namespace castaway
