// The case tables of the program `roots`.
#pragma once

#include "support.h"

namespace roots {

extern const std::span<const support::Case> kMemory;
extern const std::span<const support::Case> kThreads;
extern const std::span<const support::Case> kRegisters;
extern const std::span<const support::Case> kMappings;
extern const std::span<const support::Case> kKernel;
extern const std::span<const support::Case> kPointers;
extern const std::span<const support::Case> kStacks;

// What a case hides: a block that points to a second one. Null with Mode::leak, so that the same place, in use but
// without the pointer, is seen to leak both.
void *secret(support::Mode mode);
inline constexpr size_t kSecretSize = 1237;

// Hands a secret to a thread through this word alone, which the thread clears.
extern void *volatile handed;
// Starts a live thread that takes what is `handed` and parks.
void park_with(support::ThreadBody body, void *pointer);
void wait_until_taken();

} // namespace roots
