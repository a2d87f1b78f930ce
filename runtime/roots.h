// The roots: which memory of the target is always live, and where the threads' own memory lies.
//
// What counts, and why (every doubt widens the roots, but for memory of which it is known what it is):
//   - writable segments of all modules, with their .bss;
//   - private anonymous memory that the application mapped itself, that was there before main, or in which there is no
//     heap block; the rest of what an allocator mapped is free memory and its own tables, and no root;
//   - what the program declared to be a root;
//   - private mappings of files that were written to; what was written and may not be read now;
//   - shared memory, most of which is a late root (bring());
//   - where of all that the program can execute what it has written (a JIT compiler's code): pointers at any byte;
//   - of live threads: stack, static TLS, descriptor, registers (ThreadImage, decided by the scanner).
//   - the descriptor of a thread that has ended and can still be joined: what it returned is there.
// No roots: this library's memory, other stacks of threads that have exited (glibc caches them), the used part of
// waiters' stacks, glibc's main arena, and numbers (known_words.h). Pages that the process never touched are left out:
// they hold nothing and reading would bring them in. Context: SNAPSHOT.
#pragma once

#include "runtime/proc.h"
#include "runtime/range_list.h"
#include "runtime/stop.h"
#include "runtime/vmas.h"
#include "scanner/image.h"

#include <initializer_list>
#include <span>

namespace castaway {

// Anonymous memory that was mapped before main, learnt there; without `temporary`, which is sorted and about to go.
void note_initial_memory(const Vmas &vmas, std::initializer_list<Range> temporary);

// A block of the heap that serves as a living thread's stack is that thread's and no block: it leaves the map, which in
// the snapshot is a private copy.
void take_stacks_from_heap(std::span<const StoppedThread> threads);

// The block around `address`, however long, which begins at most 64 MiB before; empty if there is none. HOOK context
// too.
Block block_around(uintptr_t address);

// Where a stopped thread's own memory lies.
struct ThreadMemory {
  Range stack; // used part
  Range tls;
  Range descriptor;
  Range native_stack; // where it runs on another stack than the one it was made with: that one, used or not

  // Of the one it was made with, known where the descriptor is: what comes first of both.
  uintptr_t end_of_stack() const { return tls.begin < descriptor.begin ? tls.begin : descriptor.begin; }
};
ThreadMemory locate_memory(const StoppedThread &thread, bool is_main, const Vmas &vmas);

class RootFinder {
public:
  // `self`: this process.
  RootFinder(const Vmas &vmas, const Proc &self) : vmas_(vmas), self_(self), pagemap_(self.open("pagemap")) {}

  // `threads` and `memory` belong together. `leader_lives`: the main thread is among them. Leaves out the late roots,
  // which are shared memory that holds neither code nor blocks, and can be many times larger than all else: a fork
  // copies no page tables of it, and each process that shares it has its own snapshots. After this, they are read among
  // the others by read_late(), or later by bring(), or not at all.
  void find(std::span<const StoppedThread> threads, std::span<const ThreadMemory> memory, bool leader_lives);
  void read_late() { list_late(roots_); }
  LateAnswer bring(std::span<const Range> &found); // for LateRoots
  // Whether there are some that have not been read so far.
  bool has_late() const { return !later_.all().empty() && !late_read_; }
  // In bytes: all of them, and what was there of it when they were read.
  uint64_t late_bytes() const { return later_.bytes(); }
  uint64_t late_present() const { return late_present_; }
  // What may be there of it, by a look at some MiB.
  uint64_t estimate_late_present() const;

  std::span<const Range> roots() const { return roots_.all(); }
  // The roots that hold code of the program's own making.
  std::span<const Range> code() const { return code_.all(); }
  // Whether some of the shared memory is swapped out: only reading shows which pages there are, and would bring in, or
  // make, them all.
  bool shared_swapped() const { return shared_swapped_; }
  bool complete() const {
    return roots_.complete() && later_.complete() && late_.complete() && code_.complete() && included_.complete() &&
           excluded_.complete() && shared_.complete() && protected_.complete() && files_.complete();
  }

private:
  void exclude(std::span<const StoppedThread> threads, std::span<const ThreadMemory> memory, bool leader_lives);
  void exclude_stack_of(uintptr_t descriptor, const StoppedThread *thread);
  void include(const Vma &vma);
  void include_anonymous(const Vma &vma);
  void include_modules();
  void exclude_numbers();
  void include_declared();
  template <typename Visit> void for_each_data_segment(Visit visit) const;
  void find_code();
  void add_present(Range range);
  void list_late(RangeList &to);
  void add_resident(Range range, RangeList &to);
  void add_shared(Range present, RangeList &to);
  void add_protected(Range range);
  void add_written(Range range);
  bool is_untouched(Range range);
  bool is_excluded(Range range) const; // all of it
  bool is_late(const Vma &shared) const;
  void learn_sizes();
  template <typename Wanted> void add_pages(Range range, Wanted wanted);

  const Vmas &vmas_;
  const Proc &self_;
  int pagemap_; // descriptor of /proc/self/pagemap, negative: not to be had
  RangeList excluded_, included_, shared_, protected_, files_, roots_, code_;
  RangeList later_, late_; // late roots: mappings, and for bring() their pages
  RangeList untouched_;    // see is_untouched()
  bool sizes_known_ = false;
  bool late_read_ = false;
  uint64_t late_present_ = 0;
  bool shared_swapped_ = false;
};

} // namespace castaway
