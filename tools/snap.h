// Asking a running process for a safepoint, as `snap` and `why` do.
#pragma once

#include "tools/status_client.h"

#include <cstdint>
#include <string>

namespace castaway {

inline constexpr char kSnapTimeout[] = "60s";

// For the command line: empty, or why the value is refused.
std::string refuse_timeout(const std::string &value);
std::string refuse_pid(const std::string &value);

// Asks for a safepoint and does not wait for it.
void ask_for_snap(const std::string &pid);
// Asks, waits for the profile and gives its path back. `question`: see StatusPage, 0 for none. Throws a Failure where
// there is no profile.
std::string snap(const std::string &pid, const std::string &timeout, uint64_t question);

} // namespace castaway
