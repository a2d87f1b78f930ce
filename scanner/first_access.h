// The first access to a page of a copy, ahead of need.
//
// fork(2) leaves the copy page tables in which nothing was accessed yet, and the processor notes each page's first
// access there. By measurement, AMD's processors do so for a prefetch as well, beside other work. Intel's do it only
// for an instruction whose turn has come, which takes 0.4 us, and until then drop prefetches to that page, so that all
// blocks in it are waited for. There the access is made before the first of them is fetched; Image says whether.
//
// Owner: scanner. Context: SNAPSHOT or a test. Thread-safe, no state, cannot fail.
#pragma once

namespace castaway {

// By CLWB, which counts as a read (Intel SDM volume 2), but waits for no memory.
// REQUIRES: the processor has CLWB, and a byte at `at` can be read.
inline void access_page([[maybe_unused]] const void *at) {
#if defined(__x86_64__)
  asm volatile("clwb %0" : : "m"(*static_cast<const char *>(at)));
#endif
}

} // namespace castaway
