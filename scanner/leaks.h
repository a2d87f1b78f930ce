// Leaked memory: the blocks that neither live nor leaked threads reach, told apart into those that were lost
// themselves and those that only these reach.
//
// Owner: scanner. Context: SNAPSHOT or a test. Fails: collect() returns false when the workspace ran out.
#pragma once

#include "scanner/image.h"
#include "scanner/marker.h"
#include "scanner/objects.h"
#include "scanner/scanner.h"

#include <span>

namespace castaway {

// Whether all unreached blocks are the loader's, or leaks that can never be reached again (BlockNote::settled).
bool all_settled(const Image &image, const Objects &objects);

class Leaks {
public:
  // `marker` has been through the phases live and retained.
  bool collect(const Image &image, Objects &objects, Marker &marker, Workspace &workspace);
  // After collect(), where that is in doubt (Scanner::in_doubt): leaves out what nobody knew to be leaked.
  void keep_known();
  std::span<LeakedBlock> blocks() { return blocks_; }

private:
  uint64_t settle_loader_blocks();
  void list_unreached();
  void find_referred();
  void flood_from_unreferred();
  void break_cycles();
  void add_notes();
  void add_past();
  Block block_at(const LeakedBlock &leak) const { return objects_->heap().decode(leak.begin); }

  const Image *image_ = nullptr;
  Objects *objects_ = nullptr;
  Marker *marker_ = nullptr;
  std::span<LeakedBlock> blocks_;
};

} // namespace castaway
