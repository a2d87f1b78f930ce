// Pointers that wait to be looked at, kept by where they point to: a queue of windows, each 1 MiB of address space,
// with two bytes for each pointer into it.
//
// A marker that follows pointers as it meets them jumps through all of a heap, and waits at each for lines of the cache
// and for a page's translation. If it keeps them until there are many to one place, it reads that place in the order of
// addresses, while all that is asked about it is in the cache. (Bins by destination, as graph engines have them:
// Beamer, Asanovic, Patterson: Reducing Pagerank Communication via Propagation Blocking, IPDPS 2017.)
//
// Each marker writes into a buffer of its own: a chunk for each window, which goes to the queue when it is full, or
// when there is nothing more to take. The queue goes by rounds: what was not in it when a round began waits for the
// next one, so that much can gather. A round may begin at any time, it is only better to wait.
//
// Owner: scanner. Context: SNAPSHOT or a test. Thread-safe: the queue, by a spin lock that is held for some dozen
// instructions; a buffer is one thread's. Fails: build() returns false when the workspace ran out, add() when all
// chunks are in use.
#pragma once

#include "scanner/heap_map.h"
#include "scanner/tables.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

class WindowQueue {
public:
  static constexpr int kWindowBits = 20;
  static constexpr size_t kGranules = size_t{1} << (kWindowBits - HeapMap::kGranuleBits); // of a window
  static constexpr size_t kPerLeaf = size_t{1} << (HeapMap::kLeafBits - kWindowBits);     // windows
  static constexpr size_t kSparse = 64; // pointers to a window: too few for reading all of its bits

  static constexpr size_t kChunkBytes = 1024;
  struct alignas(kChunkBytes) Chunk {
    static constexpr size_t kRoom = (kChunkBytes - 16) / sizeof(uint16_t);
    Chunk *next;
    size_t count;
    uint16_t granules[kRoom]; // of the window, to which something points
  };
  static_assert(sizeof(Chunk) == kChunkBytes);

  struct Window {
    size_t number = 0;
    Chunk *chunks = nullptr;
    bool held = false;

    bool is_sparse() const { return !held && chunks && !chunks->next && chunks->count <= kSparse; }
  };

  // For windows with numbers below `windows`, each marker with a buffer, and `pointers` more in the queue, roughly.
  bool build(size_t windows, size_t pointers, size_t markers, Workspace &workspace);

  // Lets all windows that wait be taken. False: there are none.
  bool start_round();
  // Windows that can be taken in this round. Others may take them first.
  size_t ready() const { return ready_.load(std::memory_order_relaxed); }
  // The one that waits longest; false if there is none. Its chunks are the caller's until release().
  bool take(Window &window);
  void release(Chunk *chunks);
  // Puts the window into the queue although nothing points to it.
  void hold(size_t window);
  // Adds a chunk, not empty, to what waits for the window.
  void give(size_t window, Chunk *chunk);
  // An empty chunk, or null.
  Chunk *fresh();

private:
  friend class WindowBuffer;
  enum class State : uint8_t { out, waits, held };
  void enqueue(size_t window, State state);

  std::span<Chunk *> waiting_; // for each window
  std::span<State> states_;
  std::span<uint32_t> order_; // a ring of those that wait
  size_t first_ = 0;          // from here on ready_ of them,
  size_t later_ = 0;          // and then those for the next round
  std::span<Chunk> chunks_;
  size_t used_ = 0; // chunks that have been in use
  Chunk *free_ = nullptr;
  size_t own_ = 0; // chunks that a buffer may have
  std::atomic<bool> locked_ = false;
  std::atomic<size_t> ready_ = 0;
};

// What one marker has not given to the queue yet: a chunk for each window at most.
class WindowBuffer {
public:
  bool build(WindowQueue &queue, Workspace &workspace);

  // A pointer to this granule of the window. False: nothing is done, and some window has to be taken first.
  [[gnu::always_inline]] bool add(size_t window, size_t granule) {
    uint16_t *&at = ends_[window];
    if (__builtin_expect(reinterpret_cast<uintptr_t>(at) % WindowQueue::kChunkBytes == 0, 0) && !extend(window))
      return false;
    *at++ = static_cast<uint16_t>(granule);
    return true;
  }
  // Gives all of it to the queue.
  void give_all();
  // Adds what it has to a window that was taken from the queue.
  void give_to(WindowQueue::Window &window);

private:
  bool extend(size_t window);
  WindowQueue::Chunk *close(size_t window);

  WindowQueue *queue_ = nullptr;
  std::span<uint16_t *> ends_; // in the chunk of each window, where the next one goes; null for no chunk
  std::span<uint32_t> listed_; // all windows with a chunk, and some without
  size_t listed_count_ = 0;
  std::span<bool> is_listed_;
};

} // namespace castaway
