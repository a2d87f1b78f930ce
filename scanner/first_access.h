// The first access to a page of a copy, ahead of need.
//
// fork(2) leaves the copy page tables in which nothing was accessed yet, and the processor notes each page's first
// access there. Intel's do that for an instruction whose turn has come, all others before it done (by microcode, SDM
// volume 3, "Accessed and Dirty Flags"; 0.4 us), and until then drop what is to be fetched from the page: all blocks in
// it are waited for. So there the access is made before the first of them is fetched. By CLWB, which counts as a read
// (SDM volume 2), but waits for no memory. AMD's note it for a prefetch as well, beside other work.
//
// Owner: scanner. Context: SNAPSHOT or a test. Thread-safe, no state, cannot fail; but the page has to be readable.
#pragma once

namespace castaway {

struct FirstAccess {
  // Whether the processor is one of those. Of Intel's with AVX-512, all but those without AVX-512VL have CLWB.
  static bool is_slow() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_is("intel") && __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
  }

  // REQUIRES: is_slow(), and that this can be read.
  static void make([[maybe_unused]] const void *at) {
#if defined(__x86_64__)
    asm volatile("clwb %0" : : "m"(*static_cast<const char *>(at)));
#endif
  }
};

} // namespace castaway
