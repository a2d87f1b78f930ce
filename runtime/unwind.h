// Call stacks in the target, without locks and without other libraries.
//
// Why not libunwind or libgcc: both may take the loader's lock (dl_iterate_phdr), so a thread that allocates while
// another one sits in dlopen could be held up by us; and loading a library into the target changes it. This unwinder
// reads the call frame information (.eh_frame) of the modules as they are mapped, finds it through _dl_find_object
// (glibc >= 2.35: no lock, async-signal-safe), and remembers per program counter how to step, so that a repeated
// stack costs some ten nanoseconds a frame.
//
// Contexts: HOOK (own thread, own stack) and SNAPSHOT (another thread's registers and stack, at the same addresses).
// Thread-safe; allocates nothing but a fixed cache in static memory; keeps errno.
#pragma once

#include "scanner/image.h"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace castaway {

// The registers that call frame information speaks of. x86-64: DWARF numbers 0..16 (rax rdx rcx rbx rsi rdi rbp rsp
// r8..r15 rip). aarch64: x0..x30, sp, pc.
#if defined(__x86_64__)
inline constexpr size_t kFrameRegisters = 17;
inline constexpr size_t kStackRegister = 7;
inline constexpr size_t kFrameRegister = 6;
inline constexpr size_t kPcRegister = 16;
#else
inline constexpr size_t kFrameRegisters = 33;
inline constexpr size_t kStackRegister = 31;
inline constexpr size_t kFrameRegister = 29;
inline constexpr size_t kPcRegister = 32;
#endif

// Without initial values: they are read at each allocation whose stack is recorded.
struct FrameRegisters {
  uintptr_t value[kFrameRegisters];

  uintptr_t pc() const { return value[kPcRegister]; }
  uintptr_t sp() const { return value[kStackRegister]; }
};

// Writes the program counters of the stack that starts in `registers` to `pcs`, innermost first: registers.pc()
// itself, then return addresses. Reads memory only within `stack`, which must be readable; stops at its end, at a frame
// that no call frame information describes, after `most`, or where the stack no longer grows. Returns how many.
size_t unwind(FrameRegisters registers, Range stack, uintptr_t *pcs, size_t most);

inline uintptr_t stack_word(uintptr_t address) {
  uintptr_t value;
  __builtin_memcpy(&value, reinterpret_cast<const void *>(address), sizeof value);
  return value;
}

// One frame of a stack that may come again: the registers that a step from it depends on.
struct KnownFrame {
  uintptr_t pc, sp, frame_pointer;
  // Where the frame pointer was found, a word's address, or 0 where it was not restored; in the lowest bit, whether a
  // step from here on counts from it: in many functions it is just any register.
  uintptr_t link;

  uintptr_t found_at() const { return link & ~uintptr_t{1}; }
  bool needs_frame_pointer() const { return (link & 1) != 0; }

  // Whether it is the frame of this pc, stack and frame pointer, as far as a step from it depends on them.
  bool is_at(uintptr_t its_pc, uintptr_t its_sp, uintptr_t its_frame_pointer) const {
    return sp == its_sp && pc == its_pc && (!needs_frame_pointer() || frame_pointer == its_frame_pointer);
  }
  // Whether memory still has what led to this frame.
  bool is_there() const {
    if (stack_word(sp - sizeof pc) != pc) return false;
    return !needs_frame_pointer() || link == 1 || stack_word(link - 1) == frame_pointer;
  }
};

// Room for the frames of eight stacks, by rows of sixteen frames of each: those of usual depth share a page or two.
struct FrameRoom {
  static constexpr size_t kColumns = 8, kRow = 16, kMostFrames = 128;
  KnownFrame rows[kMostFrames / kRow][kColumns][kRow];

  class Column {
  public:
    KnownFrame &operator[](size_t i) const { return first_[i / kRow * (kColumns * kRow) + i % kRow]; }
    // Whether memory has all frames behind `at` up to `end`.
    [[gnu::always_inline]] bool are_there(size_t at, size_t end) const {
      const KnownFrame *frame = &(*this)[at];
      for (size_t left = end - at, in_row = kRow - at % kRow;; in_row = kRow) {
        const KnownFrame *stop = frame + (left < in_row ? left : in_row);
        while (++frame != stop)
          if (!frame->is_there()) return false;
        if (left <= in_row) return true;
        left -= in_row;
        frame += (kColumns - 1) * kRow;
        if (!frame->is_there()) return false; // the first of its row
      }
    }

  private:
    friend FrameRoom;
    KnownFrame *first_;
  };
  Column column(size_t i) {
    Column column;
    column.first_ = rows[0][i];
    return column;
  }
};

// A stack that unwind_again() has left. Zeroed at first, but for `frames`.
struct LastStack {
  static constexpr size_t kMostFrames = FrameRoom::kMostFrames;

  uint64_t generation;
  uintptr_t stack_end;
  size_t count; // 0: none
  FrameRoom::Column frames;
};

// unwind() of the calling thread's own stack, with `like` from an earlier call on the same stack. Stacks that follow
// each other have most of their outer frames in common; these are not unwound but compared with memory, word by word,
// which is as exact. `same`: it is like that one altogether; otherwise this stack is left in `to`, which may be the
// same object. `fresh`: room for the call. (On the stack, frames would leave words that look like pointers.)
// `registers` are some caller's afterwards.
size_t unwind_again(FrameRegisters &registers, Range stack, const LastStack &like, LastStack &to,
                    FrameRoom::Column fresh, uintptr_t *pcs, size_t most, bool &same);

// A frame by what its callee leaves as it was: where the callee returns to, and the stack and frame pointer then.
struct Place {
  uintptr_t pc, sp, frame_pointer;
};

// The frame that called the function in which this stands, on x86-64. (Elsewhere there is no last stack to compare.)
[[gnu::always_inline]] inline Place place_of_caller() {
  auto *frame = static_cast<const uintptr_t *>(__builtin_frame_address(0)); // the caller's frame pointer, then its pc
  return {frame[1], reinterpret_cast<uintptr_t>(frame + 2), frame[0]};
}

// Of all that is remembered of frames; see forget_frames().
extern std::atomic<uint64_t> frame_generation;

// Where in the stack the frame with this stack pointer would be, if it is no innermost one; last.count: nowhere.
inline size_t index_of_frame(const LastStack &last, uintptr_t sp) {
  size_t at = 1;
  while (at < last.count && last.frames[at].sp < sp) ++at;
  return at < last.count ? at : last.count;
}

// Whether unwind_again() would now find the last stack from `place` on, a frame of the calling thread's, which is its
// frame `at`: compared as it does, but without a step.
[[gnu::always_inline]] inline bool is_last_stack(const LastStack &last, size_t at, const Place &place) {
  return last.generation == frame_generation.load(std::memory_order_relaxed) && at < last.count &&
         last.frames[at].is_at(place.pc, place.sp, place.frame_pointer) && last.frames.are_there(at, last.count);
}

// To be called before and after modules are unloaded (dlclose): the way to step from a program counter may then be
// another. Until the call a stack that leads through a replaced module can be wrong; memory is read within `stack` all
// the same. Costs one store; every frame is then looked up anew once.
void forget_frames();

// The caller's own registers, as they are when this call returns.
// Usage in HOOK: FrameRegisters registers; read_own_registers(registers); unwind(registers, own_stack, ...).
[[gnu::noinline]] void read_own_registers(FrameRegisters &registers);

} // namespace castaway
