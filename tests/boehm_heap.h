// Boehm's collector as another opinion: a heap whose only roots are one range of words, and which of its blocks a
// collection reaches.
//
// Owner: the tests. Context: a test program's main thread only. There is one such heap in a process.
#pragma once

#include "scanner/image.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>

namespace castaway::testing {

namespace boehm {

// The words that the collector starts from. Nothing else is a root: no module, no stack, no register.
Range roots();
// A zeroed block. No collection happens but in collect().
uintptr_t allocate(size_t size);
void release(uintptr_t block);
// What the collector takes the block's length to be.
size_t slot_size(uintptr_t block);

// Marks from the roots, and returns which of these blocks it has reached. The others are gone afterwards.
std::set<uintptr_t> collect(std::span<const uintptr_t> blocks);

} // namespace boehm
} // namespace castaway::testing
