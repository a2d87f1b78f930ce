// Words of the roots that are known to be numbers. A heap that lies low (that of brk(2), in an executable that is not
// position-independent) is hit by numbers of 32 bits, which would hide what is leaked there:
//   - a word of a module's data that is what the module's file has there: the linker knew no address of the heap;
//   - the loader's hashes of symbols and versions, each beside the name that it is the hash of.
// Where the heap lies above that there is nothing to be done. Context: SNAPSHOT.
#pragma once

#include "runtime/range_list.h"
#include "runtime/vmas.h"

#include <link.h>

namespace castaway {

class KnownWords {
public:
  // What is found is added to `found`, word by word. Both outlive this.
  KnownWords(const Vmas &vmas, RangeList &found);

  // `segment`, a writable one, of the module whose file `first` maps and whose addresses count from `base`.
  void find_constants(const Vma &first, uintptr_t base, const ElfW(Phdr) & segment);
  // In memory of the loader's.
  void find_hashes(Range memory);

private:
  bool may_hit(uintptr_t word) const { return word >= first_block_ && word <= UINT32_MAX; }
  bool is_hash(uintptr_t word, uintptr_t name) const;

  const Vmas &vmas_;
  RangeList &found_;
  uintptr_t first_block_ = UINTPTR_MAX;
};

} // namespace castaway
