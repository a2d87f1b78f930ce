// Recorded call stacks, each distinct one kept once and known by a number.
//
// HOOK context, thread-safe, lock-free; stacks are never removed. Reserved memory bounds them; when it is full, new
// stacks get the number 0, which means "not recorded". SNAPSHOT reads them without more ado.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway::call_stacks {

inline constexpr size_t kDeepest = 128; // frames kept of one stack

// The number of this stack, from 1; 0 when it cannot be kept.
uint32_t intern(std::span<const uintptr_t> pcs);
// The stack of a number that intern() gave.
std::span<const uintptr_t> frames(uint32_t id);

} // namespace castaway::call_stacks
