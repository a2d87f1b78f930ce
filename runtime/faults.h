// Surviving reads of memory that is mapped and cannot be read: PROT_NONE holes in the heap, truncated file mappings.
//
// Context: SNAPSHOT, whose memory is a private copy, so that a page may be made readable or be replaced by zeros
// without anybody else noticing.
#pragma once

#include <cstddef>

namespace castaway {

// From here on a fault makes the page readable if that is possible, else zero.
void survive_faults();
// Pages that could not be read and count as zero.
size_t pages_lost();

} // namespace castaway
