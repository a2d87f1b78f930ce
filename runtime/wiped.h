// Which mappings of this process MADV_WIPEONFORK has emptied, for uncopied.h.
//
// /proc/PID/smaps tells, and walks all page tables for it: 45 ms per GiB, more than anything else that a small process'
// snapshot does. So the kernel is asked by what it does: it splits a mapping where one part of it is given a flag,
// unless all of it has that flag. Context: SNAPSHOT; alters the mappings for a moment.
#pragma once

#include "runtime/proc.h"
#include "runtime/vmas.h"

namespace castaway {

enum class Wiped : uint8_t { no, yes, unknown };

// `vma`: a private mapping of this process without a file, as the fork left it, nothing of it touched since; `pagemap`:
// a descriptor of this process' pagemap. Where the answer is yes, only its content is as it was.
Wiped find_wiped(const Vma &vma, int pagemap);

// Calls visit(vma) for each of `own`, the mappings of the process `self`, that has been wiped. False if not all is
// known.
template <typename Visit> bool for_each_wiped(const Proc &self, const Vmas &own, Visit visit) {
  int pagemap = self.open("pagemap");
  bool known = pagemap >= 0;
  for (const Vma &vma : own.all()) {
    if (!known || !(vma.is_anonymous() || vma.path == "[stack]")) continue; // the kernel wipes no others
    Wiped wiped = find_wiped(vma, pagemap);
    known = wiped != Wiped::unknown;
    if (wiped == Wiped::yes) visit(vma);
  }
  sys::close(pagemap);
  return known;
}

} // namespace castaway
