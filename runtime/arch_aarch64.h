// aarch64: see arch.h. Everything here may run in any context.
//
// Sources: AAPCS64, 6.1.1 (registers) and 6.1.2 (vector registers); Linux arch/arm64/kernel/signal.c (do_signal: what
// becomes of an interrupted call), asm/ptrace.h; System V ABI for AArch64, 10.6 (TLS variant I).
#pragma once

#include "runtime/unwind.h"

#include <cstddef>
#include <cstdint>
#include <elf.h>

namespace castaway::arch {

// struct user_pt_regs, and what is to be asked for or told separately. The kernel has forgotten the call by the time
// that anybody sees an interrupted thread: `call` and `first_argument` are told by the code (seen_calls.h).
struct ThreadRegisters {
  uint64_t x[31];
  uint64_t sp, pc, pstate;
  uint64_t thread_pointer;
  uint64_t first_argument; // of the call: its result is in the same register
  int64_t call;            // its number; negative: none
};

// What ptrace reads ThreadRegisters by, the first of which it also writes; and the vector registers, the first that
// there is.
struct RegisterSet {
  int note;
  size_t offset, size;
};
inline constexpr RegisterSet kRegisterSets[] = {
    {NT_PRSTATUS, 0, offsetof(ThreadRegisters, thread_pointer)},
    {NT_ARM_TLS, offsetof(ThreadRegisters, thread_pointer), sizeof(uint64_t)},
};
inline constexpr int kVectorSets[] = {NT_ARM_SVE, NT_PRFPREG};
// Functions keep the lower halves of v8..v15 for their callers, and compilers put pointers there.
inline constexpr bool kVectorsKeptOverCalls = true;

// An interrupted call that is to be made again looks like one that has not been made yet, and one that came back has
// lost its first argument.
inline constexpr bool kShowsCalls = false;

inline long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}

// Protection keys are permission overlays here (FEAT_S1POE, Linux 6.12), which no processor had when this was written.
inline void lift_protection_keys() {}

// Whether pages of a copy are to be accessed ahead of need: scanner/first_access.h. Not measured here.
inline bool accesses_pages_first() { return false; }

// Starts a task that runs function(argument) on a stack of its own and ends, this task only, with what it returns.
// Flags as for clone(2); returns its tid or a negative errno.
long start_task(unsigned long flags, void *stack_top, int (*function)(void *), void *argument, int *child_tid,
                void *thread_pointer) asm("castaway_start_task");

// The system call that a thread stopped in its kernel entry or exit path has made, and what it returned so far.
inline long call_number(const ThreadRegisters &r) { return static_cast<long>(r.call); }
inline long call_result(const ThreadRegisters &r) { return static_cast<long>(r.x[0]); }
inline uint64_t call_argument(const ThreadRegisters &r, int i) { return i == 0 ? r.first_argument : r.x[i]; }
inline void set_call_argument(ThreadRegisters &r, int i, uint64_t value) {
  (i == 0 ? r.first_argument : r.x[i]) = value;
}

// Lets a thread make the call `number` again when it goes on, as the kernel does for calls that restart.
inline void call_again(ThreadRegisters &r, long number) {
  r.x[8] = static_cast<uint64_t>(number);
  r.x[0] = r.first_argument;
  r.pc -= 4; // the length of `svc 0`
}

// It goes by what the result was before the thread stopped (do_signal(), Linux' arch/arm64/kernel/signal.c).
inline constexpr bool kGoesByResult = false;

// The reverse, but for the result.
inline void step_over_call(ThreadRegisters &r) { r.pc += 4; }

inline void set_call_result(ThreadRegisters &r, long result) { r.x[0] = static_cast<uint64_t>(result); }

inline uintptr_t thread_pointer(const ThreadRegisters &r) { return r.thread_pointer; }
inline void set_thread_pointer(ThreadRegisters &r, uintptr_t pointer) { r.thread_pointer = pointer; }
inline uintptr_t stack_pointer(const ThreadRegisters &r) { return r.sp; }
inline uintptr_t program_counter(const ThreadRegisters &r) { return r.pc; }

// Static TLS begins at the thread pointer, behind two words; libc's descriptor, of so many bytes, lies before it.
inline constexpr bool kTlsAbovePointer = true;
inline uintptr_t descriptor_at(uintptr_t thread_pointer, size_t size) {
  return thread_pointer > size ? thread_pointer - size : 0;
}

inline FrameRegisters frame_registers(const ThreadRegisters &r) {
  FrameRegisters registers;
  for (size_t i = 0; i < 31; ++i) registers.value[i] = r.x[i];
  registers.value[kStackRegister] = r.sp;
  registers.value[kPcRegister] = r.pc;
  return registers;
}

// The registers that a function must keep for its caller, and the arguments of the system call: all that a thread
// blocked inside a libc function can still use, but for vectors (AAPCS64, 6.1.1). Writes to `out`, returns how many.
inline size_t registers_kept_over_calls(const ThreadRegisters &r, uintptr_t *out) {
  size_t count = 0;
  for (int i = 19; i <= 29; ++i) out[count++] = r.x[i];
  out[count++] = r.sp;
  for (int i = 0; i < 6; ++i) out[count++] = call_argument(r, i);
  return count;
}

// What a direct jump in machine code at `code` leads to, or 0: `b`.
inline uintptr_t jump_target(const uint8_t *code) {
  auto at = reinterpret_cast<uintptr_t>(code);
  if (at % 4 != 0) return 0;
  uint32_t instruction;
  __builtin_memcpy(&instruction, code, sizeof instruction);
  if (instruction >> 26 != 5) return 0;
  int32_t distance = static_cast<int32_t>(instruction << 6) >> 4; // 26 bits, signed, in instructions
  return at + static_cast<uintptr_t>(static_cast<intptr_t>(distance));
}
inline constexpr size_t kJumpSize = 4;

inline void relax() { asm volatile("yield"); }

} // namespace castaway::arch
