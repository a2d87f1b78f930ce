// aarch64: see arch_signal.h. Everything here may run in any context, handlers included.
//
// Sources: Linux arch/arm64/kernel/signal.c (do_signal: what becomes of an interrupted call; setup_sigframe: the
// frame), asm/sigcontext.h (the records behind the general registers).
#pragma once

#include "runtime/arch.h"

#include <asm/sigcontext.h>
#include <cerrno>
#include <sys/syscall.h>
#include <ucontext.h>

namespace castaway::arch {

// Every program reads its thread pointer itself.
inline bool reads_thread_pointer(unsigned long) { return true; }
inline uintptr_t own_thread_pointer(bool) { return reinterpret_cast<uintptr_t>(__builtin_thread_pointer()); }

inline uintptr_t own_stack_pointer() {
  uintptr_t at;
  asm volatile("mov %0, sp" : "=r"(at));
  return at;
}

// The interrupted registers, without a call that was interrupted.
inline void read_context(const ucontext_t &context, ThreadRegisters &r) {
  r = {};
  r.call = -1;
  for (int i = 0; i < 31; ++i) r.x[i] = context.uc_mcontext.regs[i];
  r.sp = context.uc_mcontext.sp, r.pc = context.uc_mcontext.pc, r.pstate = context.uc_mcontext.pstate;
}

// What restart.cc may have changed: the place, the number or result, the arguments.
inline void write_context(const ThreadRegisters &r, ucontext_t &context) {
  context.uc_mcontext.pc = r.pc;
  context.uc_mcontext.regs[8] = r.x[8];
  for (int i = 0; i < 6; ++i) context.uc_mcontext.regs[i] = r.x[i];
}

// The vector registers in a handler's context: where they are and how long. They are among records of many kinds,
// which end with an empty one; what has no room there follows the frame, and one record says where.
inline size_t vector_area(const ucontext_t &context, const void *&at) {
  const auto *begin = reinterpret_cast<const uint8_t *>(context.uc_mcontext.__reserved);
  const uint8_t *end = begin + sizeof context.uc_mcontext.__reserved;
  const uint8_t *record = begin, *last = begin;
  at = begin;
  for (_aarch64_ctx head; record + sizeof head <= end; record += head.size) {
    __builtin_memcpy(&head, record, sizeof head);
    if (head.magic == 0 || head.size < sizeof head || head.size > static_cast<size_t>(end - record)) break;
    last = record + head.size;
    if (head.magic != EXTRA_MAGIC || head.size < sizeof(extra_context)) continue;
    extra_context extra;
    __builtin_memcpy(&extra, record, sizeof extra);
    return extra.datap + extra.size - reinterpret_cast<uintptr_t>(begin);
  }
  return static_cast<size_t>(last - begin);
}

// How much of the code before an address tells which call was made there.
inline constexpr size_t kCodeBefore = 32;
inline constexpr size_t kCallSize = 4;
inline bool is_call_instruction(const uint8_t *code) {
  return code[0] == 0x01 && code[1] == 0x00 && code[2] == 0x00 && code[3] == 0xd4;
}

// Whether the thread can stand in front of a call that it will make again: the code there says more.
inline bool is_before_call(const ThreadRegisters &) { return true; }
// The thread stands behind a call that was interrupted. One that has come back with EINTR for itself and has not run
// since looks the same: at its next instruction it does not.
inline bool is_behind_interrupted_call(const ThreadRegisters &r) { return static_cast<long>(r.x[0]) == -EINTR; }
inline void set_call_number(ThreadRegisters &r, long number) { r.call = number; }

// As the kernel makes a call that was to be made again come back.
inline void interrupt_call(ucontext_t &context) {
  context.uc_mcontext.pc += kCallSize;
  context.uc_mcontext.regs[0] = static_cast<uint64_t>(-EINTR);
}
inline long number_of_call_ahead(const ucontext_t &context) { return static_cast<long>(context.uc_mcontext.regs[8]); }
inline long number_of_call_ahead(const ThreadRegisters &r) { return static_cast<long>(r.x[8]); }
inline uint64_t second_argument(const ucontext_t &context) { return context.uc_mcontext.regs[1]; }

// Which call the instruction behind `code`, kCodeBefore bytes, made or is about to; -1 where that cannot be told. The
// call keeps its number's register. Where the kernel has made restart_syscall of it, the code has the number: `mov
// x8, #N` or `mov w8, #N`.
inline long call_number_in(const uint8_t *code, const ThreadRegisters &r) {
  constexpr uint64_t kMost = 1024;
  if (r.x[8] != SYS_restart_syscall) return r.x[8] < kMost ? static_cast<long>(r.x[8]) : -1;
  for (size_t at = kCodeBefore; at >= 4; at -= 4) {
    uint32_t instruction;
    __builtin_memcpy(&instruction, code + at - 4, sizeof instruction);
    if ((instruction & 0x7fe0001f) == 0x52800008) return instruction >> 5 & 0xffff;
  }
  return SYS_restart_syscall;
}

// As if it were interrupted already, with its number, arguments and `result`.
inline void show_call_ahead(ThreadRegisters &r, long number, long result) {
  r.first_argument = r.x[0];
  set_call_number(r, number);
  set_call_result(r, result);
  step_over_call(r);
}

// libc's syscall(number, ...) needs no other way to its number.
inline bool is_generic_call(const uint8_t *) { return false; }
inline uintptr_t return_address_at(const ThreadRegisters &r) { return r.sp; }
inline long generic_number_in(const uint8_t *) { return -1; }

} // namespace castaway::arch
