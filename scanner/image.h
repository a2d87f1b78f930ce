// The memory image: everything that the scanner is told about a stopped process.
//
// The image is read in place: an address in it is dereferenced as it stands. In the snapshot process that is the
// target's own address; a unit test builds the image in memory of its own. Every range named here must be readable;
// whoever makes the image leaves out what is not. All spans stay owned by the maker and outlive the scan.
#pragma once

#include "scanner/heap_map.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace castaway {

// Memory from `begin` up to, not including, `end`.
struct Range {
  uintptr_t begin = 0;
  uintptr_t end = 0;

  size_t size() const { return end - begin; }
  bool empty() const { return begin >= end; }
  bool contains(uintptr_t address) const { return address >= begin && address < end; }
};

// What a thread waits on, as profiles name it (INTERFACE: label `wait`). `none`: it runs, sleeps, waits with a
// timeout, for input or output, or for a signal.
enum class WaitKind : uint8_t { none, mutex, cond, rwlock, sem, barrier, join, once, futex };

// Why a leaked thread can never run again (label `reason`). `none`: it is live.
enum class Reason : uint8_t { none, unreachable, deadlock, abandoned, behind };

// A futex word that a thread waits on without timeout.
struct WaitWord {
  uintptr_t address = 0;
  uint32_t expected = 0; // the thread sleeps only while the word holds this
  bool shared = false;   // not FUTEX_PRIVATE_FLAG: another process may wake it
};

// Tids are those of the target's pid namespace; 0 where not known.
struct ThreadImage {
  int32_t tid = 0;
  bool is_main = false;   // never leaked
  bool is_waiter = false; // blocked on its words without timeout; otherwise it is live
  WaitKind wait = WaitKind::none;
  int32_t mutex_owner = 0; // with WaitKind::mutex: the owner's tid where it is known for sure
  int32_t joined = 0;      // with WaitKind::join: the tid of the thread whose end is awaited
  // Several with futex_waitv, else one.
  std::span<const WaitWord> words;
  // The used part of its stack, its static TLS block, and its thread descriptor (TCB), each possibly empty. Memory
  // that points into `stack` or `tls` of a waiter reaches it; a pointer to the descriptor (a pthread_t, the loader's
  // lists) does not.
  Range stack;
  Range tls;
  Range descriptor;
  // All register words, general and vector.
  std::span<const uintptr_t> registers;
};

// A leaked block of the previous safepoint: where, and the number of the first of the uninterrupted row of safepoints
// that found it leaked; what is known to be another block by now is left out. Sorted by address.
struct PastLeak {
  uintptr_t begin;
  uint64_t first_safepoint;
  uint64_t first_in_doubt = 0; // the same, if this safepoint turns out to be in doubt (Scanner::in_doubt)
};

// What the side table knows of a flagged block. Sorted by address.
struct BlockNote {
  uintptr_t begin = 0;
  uint64_t size = 0;
  uint32_t stack = 0;   // id of the recorded allocation stack, 0 = none recorded
  bool loader = false;  // allocated by the dynamic loader for its own use: never reported
  bool ignored = false; // declared to be no leak: a root
  bool watched = false; // it was found leaked, and this note is gone when it is
  // Nothing pointed to it at a safepoint since it is watched, late roots included; of this process, or of the one of
  // which it is a fork. So nothing can now, as far as pointers can be seen.
  bool settled = false;
  uint64_t time_ns = 0; // when it was allocated, CLOCK_MONOTONIC
  uint32_t weight = 1;  // how many blocks of its size one with a recorded stack stands for
};

enum class LateAnswer : uint8_t {
  brought,
  hidden, // more pointers are there, which cannot be read (Image::pointers_hidden)
  later,  // not now: whatever these roots could still reach is in doubt
};

// Roots that are dear to look at, and are only asked for where it matters what they hold.
class LateRoots {
public:
  // Called once at most. Ranges as in Image::roots, with LateAnswer::brought only.
  virtual LateAnswer bring(std::span<const Range> &found) = 0;

protected:
  ~LateRoots() = default;
};

struct Image {
  const HeapMap *heap = nullptr;
  std::span<const ThreadImage> threads;
  // Memory that is always live: modules' writable segments, the application's own mappings. Any order, disjoint from
  // the stacks, TLS blocks and descriptors of `threads`.
  std::span<const Range> roots;
  // Pointers that live outside of memory: epoll data, POSIX timer values, words of memory that is shared.
  std::span<const uintptr_t> root_values;
  std::span<const BlockNote> notes;
  std::span<const PastLeak> past;
  uint64_t safepoint = 1; // this one's number, counted from 1
  // Parts of the roots that hold instructions which the program made itself: there a pointer may begin at any byte.
  std::span<const Range> code;
  // Somebody out of sight holds pointers, to which objects is not known: all count as reached. What is left to find are
  // mutexes whose owners never unlock.
  bool pointers_hidden = false;
  // Null: there are none. No explanation (Scanner::explain) knows of them.
  LateRoots *late_roots = nullptr;
  // That is faster where this is a copy's memory, on some processors; others may not have what it takes:
  // first_access.h.
  bool accesses_pages_first = false;
};

} // namespace castaway
