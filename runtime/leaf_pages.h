// Tells the heap map which pages of its leaves have been written.
//
// A leaf's codes are 4 MiB, and a small process' blocks are on some of these pages: to read all the others of a copy,
// page fault after page fault, took longer than to mark what is there. Context: SNAPSHOT, before the map is swept.
#pragma once

#include "runtime/proc.h"

namespace castaway {

// `self`: this process. Where the page tables cannot be asked, all pages count as written.
void note_written_pages(const Proc &self);

} // namespace castaway
