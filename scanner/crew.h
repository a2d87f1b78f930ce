// Several at the same work: what the scanner asks of those who can start threads.
//
// Owner: scanner. The runtime has one for the snapshot, tests have one of std::thread; without one, nothing is shared.
#pragma once

#include <cstddef>
#include <cstdint>

namespace castaway {

class Crew {
public:
  // How many should work on a heap of so many bytes: 1 at least, and no fewer for more bytes.
  virtual size_t size_for(uint64_t heap_bytes) const = 0;
  // Calls work(context, i) for each i below `count`, all at the same time, and returns when all have returned. Number 0
  // is the caller's own thread. Where a thread cannot be had, the others do its work: work() must not need all.
  virtual void run(size_t count, void (*work)(void *context, size_t number), void *context) = 0;
  // A pause of some microseconds, for one that has nothing to do.
  virtual void rest() = 0;

protected:
  ~Crew() = default;
};

} // namespace castaway
