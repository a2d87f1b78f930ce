// A chain as text: what keeps a block or a thread alive, one line for each link. OFFLINE; one thread.
#pragma once

#include "profile/analysis.h"

#include <string>
#include <vector>

namespace castaway {

// Empty where nobody asked. Chains are hostile as all of a capture: what refers to nothing is said so.
std::vector<std::string> chain_text(Analysis &analysis);

} // namespace castaway
