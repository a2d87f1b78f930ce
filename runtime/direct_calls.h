// Direct calls for the allocator's functions: malloc and free of hooks_x86_64.S are linked before anybody knows where
// these will be, so they call through pointers. Of the two kinds of branches the direct one costs less: it needs no
// prediction of where it leads. (A loop of malloc and free on an Intel Xeon, over glibc alone: 1.30 through pointers,
// 1.23 with direct ones; see docs/design.md.)
#pragma once

namespace castaway {

// Rewrites them, once `hot.malloc` and `hot.free` are known and before there is a second thread. What cannot be
// rewritten stays as it is: both kinds do the same.
void make_calls_direct();

} // namespace castaway
