// The C API's side of the runtime: include/castaway/castaway.h for programs, and LeakSanitizer's interface.
//
// Threads of the target call in; the agent publishes what safepoints found. Callbacks run on threads of the target that
// libc knows, never on the agent, so that they may use all of libc.
#pragma once

#define CASTAWAY_TYPES_ONLY
#include "include/castaway/castaway.h"
#include "scanner/image.h"

#include <cstddef>
#include <string_view>

namespace castaway::api {

// Context: the agent, after each safepoint. `profile` is empty where there is none.
void publish(const struct castaway_stats &stats, std::string_view profile);

// SNAPSHOT: the memory that was declared to be a root. Writes at most `most`, returns how many.
inline constexpr size_t kMostRoots = 4096;
size_t declared_roots(Range *out, size_t most);
// Some did not fit.
bool roots_lost();

// In the child of a fork: the thread that calls back is not there.
void reset();

} // namespace castaway::api
