// x86-64: see arch.h. Everything here may run in any context.
//
// Sources: System V psABI for x86-64, appendix A.2 (system calls); Linux arch/x86/kernel/signal.c (restarting).
#pragma once

#include "runtime/unwind.h"

#include <cstddef>
#include <cstdint>
#include <elf.h>
#include <sys/user.h>

namespace castaway::arch {

using ThreadRegisters = user_regs_struct;

// What ptrace reads ThreadRegisters by, the first of which it also writes; and the vector registers, the first that
// there is.
struct RegisterSet {
  int note;
  size_t offset, size;
};
inline constexpr RegisterSet kRegisterSets[] = {{NT_PRSTATUS, 0, sizeof(ThreadRegisters)}};
inline constexpr int kVectorSets[] = {NT_X86_XSTATE};
inline constexpr bool kVectorsKeptOverCalls = false; // psABI, 3.2.1

// An interrupted thread's registers show its call: number, result and all arguments.
inline constexpr bool kShowsCalls = true;

inline long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

// What the processor says of itself: Intel SDM volume 2, CPUID, leaf 7. Asked once: hypervisors trap the question.
struct Features {
  bool ospke, clwb;
};
inline const Features &features() {
  static const Features answer = [] {
    if (!__builtin_cpu_supports("avx")) return Features{}; // older than these, and may not know leaf 7
    uint32_t leaf = 7, b, part = 0, d;
    asm volatile("cpuid" : "+a"(leaf), "=b"(b), "+c"(part), "=d"(d));
    return Features{(part >> 4 & 1) != 0, (b >> 24 & 1) != 0};
  }();
  return answer;
}

// Whether pages of a copy are to be accessed ahead of need: scanner/first_access.h.
inline bool accesses_pages_first() { return __builtin_cpu_is("intel") && features().clwb; }

// Lets the calling task read memory whatever its protection key (pkeys(7)), and the tasks that it starts.
inline void lift_protection_keys() {
  if (features().ospke) asm volatile("wrpkru" : : "a"(0), "c"(0), "d"(0) : "memory");
}

// Starts a task that runs function(argument) on a stack of its own and ends, this task only, with what it returns.
// Flags as for clone(2); returns its tid or a negative errno.
long start_task(unsigned long flags, void *stack_top, int (*function)(void *), void *argument, int *child_tid,
                void *thread_pointer) asm("castaway_start_task");

// The system call that a thread stopped in its kernel entry or exit path has made, and what it returned so far.
inline long call_number(const ThreadRegisters &r) { return static_cast<long>(r.orig_rax); }
inline long call_result(const ThreadRegisters &r) { return static_cast<long>(r.rax); }
inline uint64_t call_argument(const ThreadRegisters &r, int i) {
  const unsigned long long values[] = {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
  return values[i];
}
inline void set_call_argument(ThreadRegisters &r, int i, uint64_t value) {
  unsigned long long *values[] = {&r.rdi, &r.rsi, &r.rdx, &r.r10, &r.r8, &r.r9};
  *values[i] = value;
}

// Lets a thread make the call `number` again when it goes on, as the kernel does for calls that restart.
inline void call_again(ThreadRegisters &r, long number) {
  r.rax = static_cast<unsigned long long>(number);
  r.rip -= 2; // the length of `syscall`
}

// Whether the kernel, when a thread goes on after ptrace, goes by the result of its call that the registers show: then
// ERESTARTNOHAND makes the call again, unless a handler runs first (arch_do_signal_or_restart(), Linux'
// arch/x86/kernel/signal.c).
inline constexpr bool kGoesByResult = true;

// The reverse, but for the result.
inline void step_over_call(ThreadRegisters &r) { r.rip += 2; }

inline void set_call_result(ThreadRegisters &r, long result) { r.rax = static_cast<unsigned long long>(result); }

inline uintptr_t thread_pointer(const ThreadRegisters &r) { return r.fs_base; }
inline void set_thread_pointer(ThreadRegisters &r, uintptr_t pointer) { r.fs_base = pointer; }
inline uintptr_t stack_pointer(const ThreadRegisters &r) { return r.rsp; }
inline uintptr_t program_counter(const ThreadRegisters &r) { return r.rip; }

// Static TLS ends at the thread pointer; there is libc's descriptor.
inline constexpr bool kTlsAbovePointer = false;
inline uintptr_t descriptor_at(uintptr_t thread_pointer, size_t) { return thread_pointer; }

inline FrameRegisters frame_registers(const ThreadRegisters &r) {
  return {{r.rax, r.rdx, r.rcx, r.rbx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15,
           r.rip}};
}

// The registers that a function must keep for its caller, and the arguments of the system call: all that a thread
// blocked inside a libc function can still use (psABI, figure 3.4). Writes to `out`, returns how many.
inline size_t registers_kept_over_calls(const ThreadRegisters &r, uintptr_t *out) {
  const unsigned long long kept[] = {r.rbx, r.rbp, r.r12, r.r13, r.r14, r.r15, r.rsp,
                                     r.rdi, r.rsi, r.rdx, r.r10, r.r8,  r.r9};
  for (size_t i = 0; i < sizeof kept / sizeof *kept; ++i) out[i] = kept[i];
  return sizeof kept / sizeof *kept;
}

// What a direct jump in machine code at `code` leads to, or 0: `jmp rel32`.
inline uintptr_t jump_target(const uint8_t *code) {
  if (code[0] != 0xe9) return 0;
  int32_t distance;
  __builtin_memcpy(&distance, code + 1, sizeof distance);
  return reinterpret_cast<uintptr_t>(code) + 5 + static_cast<uintptr_t>(static_cast<intptr_t>(distance));
}
inline constexpr size_t kJumpSize = 5;

inline void relax() { __builtin_ia32_pause(); }

} // namespace castaway::arch
