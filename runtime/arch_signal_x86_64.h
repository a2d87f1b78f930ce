// x86-64: see arch_signal.h. Everything here may run in any context, handlers included.
//
// Sources: Linux arch/x86/kernel/signal.c (handle_signal: what becomes of an interrupted call),
// arch/x86/entry/entry_64.S (rcx holds the return address after `syscall`), asm/sigcontext.h (the vector registers'
// area).
#pragma once

#include "runtime/arch.h"

#include <asm/prctl.h>
#include <cerrno>
#include <sys/syscall.h>
#include <ucontext.h>

namespace castaway::arch {

// Whether the kernel lets programs read the base of fs themselves (AT_HWCAP2, HWCAP2_FSGSBASE; Linux 5.9).
inline bool reads_thread_pointer(unsigned long hwcap2) { return hwcap2 & 2; }

// The thread pointer as it is: a thread that libc did not make may have none to read through.
inline uintptr_t own_thread_pointer(bool directly) {
  uintptr_t pointer = 0;
  if (directly)
    asm volatile("rdfsbase %0" : "=r"(pointer));
  else if (system_call(SYS_arch_prctl, ARCH_GET_FS, reinterpret_cast<long>(&pointer)) != 0)
    return 0;
  return pointer;
}

inline uintptr_t own_stack_pointer() {
  uintptr_t at;
  asm volatile("mov %%rsp, %0" : "=r"(at));
  return at;
}

// The interrupted registers, without a call that was interrupted: orig_rax = -1.
inline void read_context(const ucontext_t &context, ThreadRegisters &r) {
  const greg_t *from = context.uc_mcontext.gregs;
  auto at = [from](int i) { return static_cast<unsigned long long>(from[i]); };
  r = {};
  r.r15 = at(REG_R15), r.r14 = at(REG_R14), r.r13 = at(REG_R13), r.r12 = at(REG_R12);
  r.rbp = at(REG_RBP), r.rbx = at(REG_RBX), r.rsp = at(REG_RSP), r.rip = at(REG_RIP);
  r.r11 = at(REG_R11), r.r10 = at(REG_R10), r.r9 = at(REG_R9), r.r8 = at(REG_R8);
  r.rax = at(REG_RAX), r.rcx = at(REG_RCX), r.rdx = at(REG_RDX);
  r.rsi = at(REG_RSI), r.rdi = at(REG_RDI), r.eflags = at(REG_EFL);
  r.orig_rax = ~0ull;
}

// What restart.cc may have changed: the place, the number or result, the arguments.
inline void write_context(const ThreadRegisters &r, ucontext_t &context) {
  greg_t *to = context.uc_mcontext.gregs;
  auto set = [to](int i, unsigned long long value) { to[i] = static_cast<greg_t>(value); };
  set(REG_RIP, r.rip), set(REG_RAX, r.rax), set(REG_RDI, r.rdi), set(REG_RSI, r.rsi);
  set(REG_RDX, r.rdx), set(REG_R10, r.r10), set(REG_R8, r.r8), set(REG_R9, r.r9);
}

// The vector registers in a handler's context: where they are and how long.
inline size_t vector_area(const ucontext_t &context, const void *&at) {
  constexpr uint32_t kExtended = 0x46505853; // FP_XSTATE_MAGIC1
  constexpr size_t kLegacy = 512, kSoftware = 464;
  const auto *area = reinterpret_cast<const uint8_t *>(context.uc_mcontext.fpregs);
  at = area;
  if (!area) return 0;
  uint32_t magic, size;
  __builtin_memcpy(&magic, area + kSoftware, sizeof magic);
  __builtin_memcpy(&size, area + kSoftware + 4, sizeof size);
  return magic == kExtended ? size : kLegacy;
}

// How much of the code before an address tells which call was made there.
inline constexpr size_t kCodeBefore = 32;
inline constexpr size_t kCallSize = 2;

// The thread stands in front of a call that it will make again: the kernel has put it back there.
inline bool is_before_call(const ThreadRegisters &r) { return r.rcx == r.rip + 2; }
// The thread stands behind a call that was interrupted. One that has come back with EINTR for itself and has not run
// since looks the same: at its next instruction it does not.
inline bool is_behind_interrupted_call(const ThreadRegisters &r) {
  return r.rcx == r.rip && static_cast<long>(r.rax) == -EINTR;
}
inline bool is_call_instruction(const uint8_t *code) { return code[0] == 0x0f && code[1] == 0x05; }
inline void set_call_number(ThreadRegisters &r, long number) { r.orig_rax = static_cast<unsigned long long>(number); }

// As if it were interrupted already, with its number, arguments and `result`.
inline void show_call_ahead(ThreadRegisters &r, long number, long result) {
  set_call_number(r, number);
  set_call_result(r, result);
  step_over_call(r);
}

// As the kernel makes a call that was to be made again come back.
inline void interrupt_call(ucontext_t &context) {
  context.uc_mcontext.gregs[REG_RIP] += 2;
  context.uc_mcontext.gregs[REG_RAX] = -EINTR;
}
inline long number_of_call_ahead(const ucontext_t &context) { return context.uc_mcontext.gregs[REG_RAX]; }
inline long number_of_call_ahead(const ThreadRegisters &r) { return static_cast<long>(r.rax); }
inline uint64_t second_argument(const ucontext_t &context) {
  return static_cast<uint64_t>(context.uc_mcontext.gregs[REG_RSI]);
}

// Which call the instruction behind `code`, kCodeBefore bytes, made; -1 where that cannot be told. What loads the
// number: `mov $N,%eax`, `xor %eax,%eax`, or a move from a register that the call preserves.
inline long call_number_in(const uint8_t *code, const ThreadRegisters &r) {
  constexpr size_t kFarthest = 24;
  const uint8_t *end = code + kCodeBefore;
  const unsigned long long registers[] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                                          r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  if (end[-2] == 0x31 && end[-1] == 0xc0 && (end[-3] & 0xf0) != 0x40) return 0;
  if (end[-2] == 0x89 && (end[-1] & 0xc7) == 0xc0) { // mov %reg,%eax
    size_t high = end[-3] == 0x44 ? 8 : 0;
    if ((end[-3] & 0xf0) == 0x40 && !high) return -1;
    size_t source = high + ((end[-1] >> 3) & 7);
    bool kept = source != 0 && source != 1 && source != 11;
    return kept && registers[source] < 1024 ? static_cast<long>(registers[source]) : -1;
  }
  for (size_t back = 5; back <= kFarthest; ++back) {
    const uint8_t *at = end - back;
    if (at[0] != 0xb8 || (at[-1] & 0xf0) == 0x40 || at[2] > 3 || at[3] != 0 || at[4] != 0) continue;
    return at[1] | at[2] << 8;
  }
  return -1;
}

// libc's syscall(number, ...): the number is in no register any more, but its caller has it.
inline bool is_generic_call(const uint8_t *code) {
  constexpr uint8_t kShuffle[] = {0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2,
                                  0x4d, 0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08};
  return __builtin_memcmp(code + kCodeBefore - sizeof kShuffle, kShuffle, sizeof kShuffle) == 0;
}
inline uintptr_t return_address_at(const ThreadRegisters &r) { return r.rsp; }

// `code` is kCodeBefore bytes in front of the return address: `mov $N,%edi`. Small numbers are left out: they may be a
// descriptor.
inline long generic_number_in(const uint8_t *code) {
  constexpr long kLeast = 100;
  const uint8_t *end = code + kCodeBefore;
  for (size_t back = 7; back < kCodeBefore; ++back) {
    const uint8_t *at = end - back;
    if (at[0] != 0xbf || (at[-1] & 0xf0) == 0x40 || at[2] > 3 || at[3] != 0 || at[4] != 0) continue;
    long number = at[1] | at[2] << 8;
    return number >= kLeast ? number : -1;
  }
  return -1;
}

} // namespace castaway::arch
