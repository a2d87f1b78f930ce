// Roots in registers alone: the thread's assembly takes the pointer from `handed` without ever storing it.
#include "roots.h"

namespace roots {

// Memory operands by name, so that no other register is needed. Set to one by a thread that has its pointer.
extern "C" {
void *volatile register_source;
volatile int register_taken;
}

namespace {

using support::Mode;

#define CASTAWAY_TAKE(move) move "\n movq $0, register_source(%%rip)\n movl $1, register_taken(%%rip)\n"
#define CASTAWAY_SPIN "1: pause\n jmp 1b\n"

void *in_callee_saved(void *) {
  asm volatile(CASTAWAY_TAKE("movq register_source(%%rip), %%r12") CASTAWAY_SPIN ::: "r12", "memory");
  return nullptr;
}
void *in_caller_saved(void *) {
  asm volatile(CASTAWAY_TAKE("movq register_source(%%rip), %%r10") CASTAWAY_SPIN ::: "r10", "memory");
  return nullptr;
}
void *in_xmm(void *) {
  asm volatile(CASTAWAY_TAKE("movq register_source(%%rip), %%xmm9") CASTAWAY_SPIN ::: "xmm9", "memory");
  return nullptr;
}
// poll(0, 0, -1) for ever, with the pointer in rbx meanwhile.
void *in_blocked_call(void *) {
  asm volatile(
      CASTAWAY_TAKE("movq register_source(%%rip), %%rbx") "1: movl $7, %%eax\n xorl %%edi, %%edi\n xorl %%esi, %%esi\n "
                                                          "movl $-1, %%edx\n syscall\n jmp 1b\n" ::
                                                              : "rax", "rbx", "rcx", "rdx", "rdi", "rsi", "r11",
                                                                "memory");
  return nullptr;
}

template <support::ThreadBody body> void in_register(Mode mode) {
  register_source = secret(mode);
  support::start(body, nullptr);
  while (!register_taken) sched_yield();
}

constexpr support::Case kCases[] = {
    {"callee_saved_register", in_register<in_callee_saved>},
    {"caller_saved_register", in_register<in_caller_saved>},
    {"xmm_register", in_register<in_xmm>},
    {"register_in_call", in_register<in_blocked_call>},
};

} // namespace

const std::span<const support::Case> kRegisters = kCases;

} // namespace roots
