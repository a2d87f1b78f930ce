// A made-up process for tests of the scanner: heap, roots and threads in mmap memory of the test's own.
//
// Owner: the tests. Context: a test program only; nothing of the product includes this. Fails: aborts.
#pragma once

#include "scanner/scanner.h"
#include "tests/thread_crew.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <sys/mman.h>
#include <vector>

namespace castaway::testing {

inline void *map_pages(size_t bytes) {
  void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) abort();
  return at;
}

// A mapping that ends with its owner.
class Pages {
public:
  explicit Pages(size_t bytes) : begin_(reinterpret_cast<uintptr_t>(map_pages(bytes))), size_(bytes) {}
  Pages(const Pages &) = delete;
  Pages &operator=(const Pages &) = delete;
  ~Pages() { munmap(reinterpret_cast<void *>(begin_), size_); }
  Range range() const { return {begin_, begin_ + size_}; }

private:
  uintptr_t begin_;
  size_t size_;
};

// Gives `limit` tables and no more.
class TestWorkspace final : public Workspace {
public:
  explicit TestWorkspace(size_t limit = SIZE_MAX) : limit_(limit) {}
  void *take(size_t bytes) override {
    if (taken_.size() >= limit_) return nullptr;
    taken_.push_back(std::make_unique<Pages>((bytes + 4095) & ~size_t{4095}));
    return reinterpret_cast<void *>(taken_.back()->range().begin);
  }
  size_t tables() const { return taken_.size(); }

private:
  size_t limit_;
  std::vector<std::unique_ptr<Pages>> taken_;
};

inline std::vector<uint8_t *> &leaves_in_use() {
  static std::vector<uint8_t *> leaves;
  return leaves;
}

inline uint8_t *new_test_leaf() {
  leaves_in_use().push_back(static_cast<uint8_t *>(map_pages(HeapMap::kLeafBytes)));
  return leaves_in_use().back();
}

// One at a time: leaves go with the map that asked for them. A map is all zero when it is made, and most of it stays
// untouched: pages of the kernel's are cheaper than 16 MiB written by a constructor.
class TestHeapMap {
public:
  TestHeapMap() : pages_(sizeof(HeapMap)) { get()->set_source(new_test_leaf); }
  TestHeapMap(const TestHeapMap &) = delete;
  TestHeapMap &operator=(const TestHeapMap &) = delete;
  ~TestHeapMap() {
    for (uint8_t *leaf : leaves_in_use()) munmap(leaf, HeapMap::kLeafBytes);
    leaves_in_use().clear();
  }
  HeapMap &operator*() { return *get(); }
  HeapMap *operator->() { return get(); }
  HeapMap *get() { return reinterpret_cast<HeapMap *>(pages_.range().begin); }

private:
  Pages pages_;
};

inline void put(uintptr_t at, uintptr_t value) { std::memcpy(reinterpret_cast<void *>(at), &value, sizeof value); }

struct Thread {
  ThreadImage image;
  std::vector<WaitWord> words;
  std::vector<uintptr_t> registers;
};

class World {
public:
  static constexpr size_t kStack = 256, kTls = 64, kDescriptor = 128, kThreadMemory = 512;

  explicit World(size_t heap_bytes = size_t{16} << 20, size_t max_threads = 64)
      : heap_memory_(heap_bytes), thread_memory_((max_threads + 1) * kThreadMemory), root_memory_(1 << 20),
        next_block_(heap_memory_.range().begin), next_thread_(thread_memory_.range().begin),
        next_root_(root_memory_.range().begin) {
    roots.push_back(root_memory_.range());
  }

  // A block behind the last one, with a free granule between, so that one past its end is nobody's.
  uintptr_t block(size_t size, bool flagged = false) {
    uintptr_t begin = next_block_;
    next_block_ = begin + ((size + 15) & ~size_t{15}) + 16;
    return block_at(begin, size, flagged);
  }
  uintptr_t block_at(uintptr_t begin, size_t size, bool flagged = false) {
    if (begin + size > heap_memory_.range().end || !map->insert(begin, size, flagged)) abort();
    return begin;
  }
  // A block to which the roots point.
  uintptr_t rooted(size_t size) {
    uintptr_t begin = block(size);
    root(begin);
    return begin;
  }
  // A word of the roots that holds `value`; returns its address.
  uintptr_t root(uintptr_t value) {
    uintptr_t at = next_root_;
    next_root_ += 8;
    put(at, value);
    return at;
  }

  Thread &running() {
    Thread &thread = threads.emplace_back();
    uintptr_t at = next_thread_;
    next_thread_ += kThreadMemory;
    if (next_thread_ > unknown_word()) abort();
    thread.image.tid = static_cast<int32_t>(100 + threads.size());
    thread.image.stack = {at, at + kStack};
    thread.image.tls = {at + kStack + 32, at + kStack + 32 + kTls};
    thread.image.descriptor = {at + 384, at + 384 + kDescriptor};
    return thread;
  }
  // A thread that waits on the word at `address`.
  Thread &waiter(uintptr_t address, WaitKind wait = WaitKind::futex) {
    Thread &thread = running();
    thread.image.is_waiter = true;
    thread.image.wait = wait;
    add_word(thread, address);
    return thread;
  }
  static void add_word(Thread &thread, uintptr_t address) {
    uint32_t value;
    std::memcpy(&value, reinterpret_cast<const void *>(address), sizeof value);
    thread.words.push_back({address, value, false});
  }

  // The image as it is now; valid until the world changes.
  const Image &image() {
    images_.clear();
    for (Thread &thread : threads) {
      images_.push_back(thread.image);
      images_.back().words = thread.words;
      images_.back().registers = thread.registers;
    }
    image_ = {map.get(), images_,         roots,      root_values,         notes, past, safepoint,
              code,      pointers_hidden, late_roots, accesses_pages_first};
    return image_;
  }

  Range heap_range() const { return heap_memory_.range(); }
  uintptr_t next_block() const { return next_block_; }
  // Memory that is mapped and that the image does not mention.
  uintptr_t unknown_word() const { return thread_memory_.range().end - kThreadMemory; }

  TestHeapMap map;
  std::deque<Thread> threads;
  std::vector<Range> roots;
  std::vector<uintptr_t> root_values;
  bool pointers_hidden = false;
  std::vector<Range> code; // parts of `roots`
  std::vector<BlockNote> notes;
  std::vector<PastLeak> past;
  uint64_t safepoint = 7;
  LateRoots *late_roots = nullptr;
  bool accesses_pages_first = false;

private:
  Pages heap_memory_, thread_memory_, root_memory_;
  uintptr_t next_block_, next_thread_, next_root_;
  std::vector<ThreadImage> images_;
  Image image_;
};

// One run of the scanner over a world, by a crew of so many.
struct Scan {
  explicit Scan(World &world, size_t markers = 1)
      : crew(markers), scanner(world.image(), workspace, &crew), complete(scanner.run()) {}

  bool leaked(size_t thread) const { return scanner.verdicts()[thread].leaked; }
  Reason reason(size_t thread) const { return scanner.verdicts()[thread].reason; }
  bool certain(size_t thread) const { return scanner.verdicts()[thread].certain; }
  size_t leaked_threads() const {
    size_t count = 0;
    for (const ThreadVerdict &verdict : scanner.verdicts()) count += verdict.leaked;
    return count;
  }
  // The leak that starts at `begin`, null if that is none.
  const LeakedBlock *leak(uintptr_t begin) const {
    for (const LeakedBlock &block : scanner.leaked_blocks())
      if (block.begin == begin) return &block;
    return nullptr;
  }

  TestWorkspace workspace;
  ThreadCrew crew;
  Scanner scanner;
  bool complete;
};

// Leaked blocks, and whether they are indirect.
using Leaks = std::map<uintptr_t, bool>;
inline Leaks leaks_of(const Scan &scan) {
  Leaks leaks;
  for (const LeakedBlock &leak : scan.scanner.leaked_blocks())
    if (!leaks.emplace(leak.begin, leak.indirect).second) abort(); // each once
  return leaks;
}

// A thread that waits on a word in a block that nobody else knows.
inline Thread &lost_waiter(World &world, WaitKind wait = WaitKind::futex) {
  uintptr_t word = world.block(16);
  Thread &thread = world.waiter(word, wait);
  put(thread.image.stack.begin + 8, word);
  return thread;
}

// A thread that waits for another one, on a word that the roots point to.
inline Thread &waits_for(World &world, WaitKind wait, int32_t tid) {
  Thread &thread = world.waiter(world.rooted(16), wait);
  (wait == WaitKind::join ? thread.image.joined : thread.image.mutex_owner) = tid;
  return thread;
}

} // namespace castaway::testing
