// A chain: what keeps a block or a thread alive, link by link, from what was asked for to a root. Plain data, part of
// the capture's format.
//
// Subjects (a block, a thread) and what holds them alternate:
//
//   block, in_block, block, in_thread, thread, lives, block, in_root
//
// reads: the block is pointed to by a block, that one from the stack of a thread, which lives because its futex word
// lies in a block, to which a root points.
#pragma once

#include <cstddef>
#include <cstdint>

namespace castaway {

// Why a thread is live.
enum class Cause : uint32_t {
  none,        // it is leaked
  no_waiter,   // it runs, or waits for something else than a futex, or not for ever, or is the main thread
  woken,       // its futex word has changed: it was woken and has not run yet
  shared,      // other processes may wake it
  unknown,     // its futex word lies in memory of which nothing is known
  in_root,     // its futex word lies in a root
  in_object,   // its futex word lies in a live object
  other_thread // a thread that it depends on lives: a mutex's owner, the joined one, in whose descriptor the word is
};

enum class LinkKind : uint32_t {
  block = 1, // a subject: `begin`, `size`, `stack`
  thread,    // a subject: `tid`
  nowhere,   // what was asked for is neither: no block and no thread's memory is at `word`
  // What holds the subject before.
  in_block,  // a pointer at `word`, in the block that comes next
  in_waiter, // a pointer at `word`, in the memory of the waiting thread `tid`, `begin` + `size`, to which, next,
             // something points
  in_thread, // a pointer in the thread that comes next: at `word`, or where that is 0 in a register
  in_root,   // a pointer at `word`, which is live in any case
  in_kernel, // the kernel holds a pointer: epoll data, a timer's value
  declared,  // the program declared it to be no leak
  hidden,    // somebody out of sight may hold a pointer (Image::pointers_hidden)
  nothing,   // no root and no thread leads to it: it is leaked
  // Why the thread before lives.
  lives, // by `cause`; with in_object and other_thread because of the subject that comes next
  leaked // it does not
};

// Numbers as in the capture's other records.
struct ChainLink {
  LinkKind kind;
  Cause cause; // with `lives`
  int32_t tid;
  uint32_t stack; // id of the call stack that allocated the block, 0 = not known
  uint64_t word;
  uint64_t begin;
  uint64_t size;
};

// Longer chains are cut: the middle of a long list tells nothing.
inline constexpr size_t kMostLinks = 256;

static_assert(sizeof(ChainLink) == 40);

} // namespace castaway
