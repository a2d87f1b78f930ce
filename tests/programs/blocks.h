// The case tables of the program `blocks`.
#pragma once

#include "support.h"

namespace blocks {

extern const std::span<const support::Case> kShapes;
extern const std::span<const support::Case> kChains;
extern const std::span<const support::Case> kFunctions;
extern const std::span<const support::Case> kPlaces;

} // namespace blocks
