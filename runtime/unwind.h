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

// What a thread's last stack was, for unwind_again(). Zeroed at first.
struct LastStack {
  static constexpr size_t kMostFrames = 128;

  // The registers that steps depend on, and where the frame pointer was found; 0 where it was not restored.
  struct Frame {
    uintptr_t pc, sp, frame_pointer, found_at;
    bool needs_frame_pointer; // a step from here on counts from it: in many functions it is just any register

    // Whether it is the frame of this pc, stack and frame pointer, as far as a step from it depends on them.
    bool is_at(uintptr_t its_pc, uintptr_t its_sp, uintptr_t its_frame_pointer) const {
      return sp == its_sp && pc == its_pc && (!needs_frame_pointer || frame_pointer == its_frame_pointer);
    }
    // Whether memory still has what led to this frame.
    bool is_there() const {
      if (stack_word(sp - sizeof pc) != pc) return false;
      return !needs_frame_pointer || !found_at || stack_word(found_at) == frame_pointer;
    }
  };
  uint64_t generation;
  uintptr_t stack_end;
  size_t count; // 0: none
  Frame frames[kMostFrames];
  Frame fresh[kMostFrames]; // of the call: on the stack it would leave words that look like pointers
};

// unwind() of the calling thread's own stack, with `last` from an earlier call on the same stack. Stacks that follow
// each other have most of their outer frames in common; these are not unwound but compared with memory, word by word,
// which is as exact. Leaves this stack in `last`; `same`: it was there already. `registers` are some caller's
// afterwards.
size_t unwind_again(FrameRegisters &registers, Range stack, LastStack &last, uintptr_t *pcs, size_t most, bool &same);

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

// Whether unwind_again() would now find the last stack from `place` on, a frame of the calling thread's that is no
// innermost one: compared as it does, but without a step.
[[gnu::always_inline]] inline bool is_last_stack(const LastStack &last, const Place &place) {
  if (last.generation != frame_generation.load(std::memory_order_relaxed)) return false;
  size_t at = 1;
  while (at < last.count && last.frames[at].sp < place.sp) ++at;
  if (at >= last.count) return false;
  if (!last.frames[at].is_at(place.pc, place.sp, place.frame_pointer)) return false;
  for (size_t i = at + 1; i < last.count; ++i)
    if (!last.frames[i].is_there()) return false;
  return true;
}

// To be called before and after modules are unloaded (dlclose): the way to step from a program counter may then be
// another. Until the call a stack that leads through a replaced module can be wrong; memory is read within `stack` all
// the same. Costs one store; every frame is then looked up anew once.
void forget_frames();

// The caller's own registers, as they are when this call returns.
// Usage in HOOK: FrameRegisters registers; read_own_registers(registers); unwind(registers, own_stack, ...).
[[gnu::noinline]] void read_own_registers(FrameRegisters &registers);

} // namespace castaway
