// Steps from frame to frame. See unwind.h for the contract, cfi.h for where the rows come from.
//
// Three ways to take a step, tried in this order:
// 1. packed rule: nearly every row says "CFA = stack or frame pointer + N; return address and callee-saved registers
//    lie in slots below the CFA". That fits into 62 bits and is remembered per program counter in a static table: no
//    search, no interpreter, some ten instructions.
// 2. row: everything else (signal frames, PLT entries, realigned frames) is looked up and evaluated each time.
// 3. frame pointer: code without call frame information, which is what just-in-time compilers and hand-written
//    assembly produce. Taken only where the frame pointer looks like one, for there it is any value.
//
// The table needs no lock: an entry is two words, the rule and a check word that depends on the pc, the rule and the
// generation. A reader that sees halves of two entries sees a wrong check word and looks the pc up itself. Raising the
// generation empties the table.
//
// How it fails: a shorter stack. Every read of the stack is bounded; the stack pointer must rise with each step (signal
// frames apart, which may come from another stack), and `most` bounds everything.
#include "runtime/unwind.h"

#include "runtime/cfi.h"

#include <atomic>
#include <cstring>

// --- what differs between processors ---------------------------------------------------------------------------------

namespace castaway {
namespace {

#if defined(__x86_64__)

constexpr uint8_t kReturnRegister = 16;
// A call pushes the return address, so that every frame but the outermost has it in memory.
constexpr bool kReturnAddressInMemory = true;
// Registers that a packed rule restores (callee-saved ones: a CFA may be counted from rbx or r13 as well), the return
// address first; each has a slot number of so many bits, 0 for "same". A row that moves others is not packed.
constexpr uint8_t kPackedRegisters[] = {kReturnRegister, 6 /*rbp*/, 3 /*rbx*/, 12, 13, 14, 15};
constexpr unsigned kSlotBits = 6;
constexpr bool kIgnoreOtherRegisters = false;

uintptr_t plain_address(uintptr_t address) { return address; }

#elif defined(__aarch64__)

constexpr uint8_t kReturnRegister = 30;
constexpr bool kReturnAddressInMemory = false;
// The pair x29, x30 lies at the bottom of a frame, hence the wide slots. x19..x28 are left out: compilers count the CFA
// from sp or x29 only.
constexpr uint8_t kPackedRegisters[] = {kReturnRegister, 29};
constexpr unsigned kSlotBits = 20;
constexpr bool kIgnoreOtherRegisters = true;

// Return addresses may be signed in their upper bits; hint 7 (xpaclri) clears those of x30, or does nothing.
uintptr_t plain_address(uintptr_t address) {
  register uintptr_t x30 asm("x30") = address;
  asm("hint #7" : "+r"(x30));
  return x30;
}

#else
#error "unwind.cc: unknown processor"
#endif

} // namespace
} // namespace castaway

// void read_own_registers(FrameRegisters &). In assembly, so that no prologue comes between us and the caller's values.
#if defined(__x86_64__)
asm(R"(
  .pushsection .text
  .p2align 4
  .globl _ZN8castaway18read_own_registersERNS_14FrameRegistersE
  .hidden _ZN8castaway18read_own_registersERNS_14FrameRegistersE
  .type _ZN8castaway18read_own_registersERNS_14FrameRegistersE, @function
_ZN8castaway18read_own_registersERNS_14FrameRegistersE:
  .cfi_startproc
  movq %rax, 0(%rdi)
  movq %rdx, 8(%rdi)
  movq %rcx, 16(%rdi)
  movq %rbx, 24(%rdi)
  movq %rsi, 32(%rdi)
  movq %rdi, 40(%rdi)
  movq %rbp, 48(%rdi)
  leaq 8(%rsp), %rdx
  movq %rdx, 56(%rdi)
  movq %r8, 64(%rdi)
  movq %r9, 72(%rdi)
  movq %r10, 80(%rdi)
  movq %r11, 88(%rdi)
  movq %r12, 96(%rdi)
  movq %r13, 104(%rdi)
  movq %r14, 112(%rdi)
  movq %r15, 120(%rdi)
  movq (%rsp), %rdx
  movq %rdx, 128(%rdi)
  ret
  .cfi_endproc
  .size _ZN8castaway18read_own_registersERNS_14FrameRegistersE, .-_ZN8castaway18read_own_registersERNS_14FrameRegistersE
  .popsection
)");
#elif defined(__aarch64__)
asm(R"(
  .pushsection .text
  .p2align 4
  .globl _ZN8castaway18read_own_registersERNS_14FrameRegistersE
  .hidden _ZN8castaway18read_own_registersERNS_14FrameRegistersE
  .type _ZN8castaway18read_own_registersERNS_14FrameRegistersE, %function
_ZN8castaway18read_own_registersERNS_14FrameRegistersE:
  .cfi_startproc
  stp x0, x1, [x0]
  stp x2, x3, [x0, 16]
  stp x4, x5, [x0, 32]
  stp x6, x7, [x0, 48]
  stp x8, x9, [x0, 64]
  stp x10, x11, [x0, 80]
  stp x12, x13, [x0, 96]
  stp x14, x15, [x0, 112]
  stp x16, x17, [x0, 128]
  stp x18, x19, [x0, 144]
  stp x20, x21, [x0, 160]
  stp x22, x23, [x0, 176]
  stp x24, x25, [x0, 192]
  stp x26, x27, [x0, 208]
  stp x28, x29, [x0, 224]
  mov x1, sp
  stp x30, x1, [x0, 240]
  str x30, [x0, 256]
  ret
  .cfi_endproc
  .size _ZN8castaway18read_own_registersERNS_14FrameRegistersE, .-_ZN8castaway18read_own_registersERNS_14FrameRegistersE
  .popsection
)");
#endif

namespace castaway {
namespace {

constexpr uintptr_t kWord = sizeof(uintptr_t);

// --- DWARF expressions (DWARF 5, 2.5) --------------------------------------------------------------------------------

// What is in use: breg + constants, one or two derefs, PLT entries' comparison. Both limits are far beyond that.
constexpr size_t kMostOperands = 32;
constexpr size_t kMostOperations = 256; // bra and skip may go backwards

class Expression {
public:
  Expression(ByteReader in, const FrameRegisters &registers, Range stack)
      : in_(in), begin_(in.position()), registers_(registers), stack_(stack) {}

  void push(uintptr_t value) {
    if (depth_ == kMostOperands) return in_.fail();
    operands_[depth_++] = value;
  }

  std::optional<uintptr_t> run() {
    for (size_t i = 0; !in_.at_end(); ++i) {
      if (i == kMostOperations) return {};
      uint8_t code = in_.byte();
      if (!constant(code) && !operand_order(code) && !unary(code) && !binary(code) && !jump(code)) return {};
    }
    if (in_.failed() || depth_ == 0) return {};
    return operands_[depth_ - 1];
  }

private:
  bool constant(uint8_t code) {
    if (code >= 0x30 && code <= 0x4f) return push(code - 0x30u), true; // lit0..31
    if (code >= 0x70 && code <= 0x8f) return push(register_value(code - 0x70u) + uint64_t(in_.sleb())), true; // breg
    if (code == 0x03) return push(in_.fixed<uintptr_t>()), true;                                              // addr
    if (code == 0x08) return push(in_.byte()), true;                                                          // const1u
    if (code == 0x09) return push(uintptr_t(intptr_t(in_.fixed<int8_t>()))), true;                            // const1s
    if (code == 0x0a) return push(in_.fixed<uint16_t>()), true;                                               // const2u
    if (code == 0x0b) return push(uintptr_t(intptr_t(in_.fixed<int16_t>()))), true;
    if (code == 0x0c) return push(in_.fixed<uint32_t>()), true; // const4u
    if (code == 0x0d) return push(uintptr_t(intptr_t(in_.fixed<int32_t>()))), true;
    if (code == 0x0e || code == 0x0f) return push(in_.fixed<uint64_t>()), true; // const8u, const8s
    if (code == 0x10) return push(in_.uleb()), true;                            // constu
    if (code == 0x11) return push(uintptr_t(in_.sleb())), true;                 // consts
    if (code != 0x92) return false;                                             // bregx
    uintptr_t base = register_value(in_.uleb());
    return push(base + uintptr_t(in_.sleb())), true;
  }

  bool operand_order(uint8_t code) {
    if (code == 0x12) return push(at(0)), true;          // dup
    if (code == 0x13) return pop(), true;                // drop
    if (code == 0x14) return push(at(1)), true;          // over
    if (code == 0x15) return push(at(in_.byte())), true; // pick
    if (code == 0x16) return rotate(2), true;            // swap
    if (code == 0x17) return rotate(3), true;            // rot
    return code == 0x96;                                 // nop
  }

  bool unary(uint8_t code) {
    if (code == 0x06) return push(load(pop(), kWord)), true;      // deref
    if (code == 0x94) return push(load(pop(), in_.byte())), true; // deref_size
    if (code == 0x19) return push(absolute(pop())), true;         // abs
    if (code == 0x1f) return push(0 - pop()), true;               // neg
    if (code == 0x20) return push(~pop()), true;                  // not
    if (code == 0x23) return push(pop() + in_.uleb()), true;      // plus_uconst
    return false;
  }

  bool binary(uint8_t code) {
    if (code < 0x1a || code > 0x2e || code == 0x28) return false;
    uintptr_t right = pop(), left = pop();
    auto signed_left = intptr_t(left), signed_right = intptr_t(right);
    if (code == 0x1a) return push(left & right), true;
    if (code == 0x1b) return divide(signed_left, signed_right), true;
    if (code == 0x1c) return push(left - right), true;
    if (code == 0x1d) return right == 0 ? in_.fail() : push(left % right), true;
    if (code == 0x1e) return push(left * right), true;
    if (code == 0x21) return push(left | right), true;
    if (code == 0x22) return push(left + right), true;
    if (code == 0x24) return push(right < 64 ? left << right : 0), true;
    if (code == 0x25) return push(right < 64 ? left >> right : 0), true;
    if (code == 0x26) return push(uintptr_t(signed_left >> (right < 64 ? right : 63))), true; // shra
    if (code == 0x27) return push(left ^ right), true;
    if (code == 0x29) return push(left == right), true;
    if (code == 0x2a) return push(signed_left >= signed_right), true;
    if (code == 0x2b) return push(signed_left > signed_right), true;
    if (code == 0x2c) return push(signed_left <= signed_right), true;
    if (code == 0x2d) return push(signed_left < signed_right), true;
    if (code == 0x2e) return push(left != right), true;
    return false;
  }

  bool jump(uint8_t code) {
    if (code != 0x28 && code != 0x2f) return false; // bra, skip
    int16_t distance = in_.fixed<int16_t>();
    if (code == 0x28 && pop() == 0) return true;
    uintptr_t target = in_.position() + uintptr_t(intptr_t(distance));
    if (target < begin_ || target > in_.end()) return false;
    in_ = ByteReader(target, in_.end());
    return true;
  }

  void divide(intptr_t left, intptr_t right) {
    if (right == 0) return in_.fail();
    push(right == -1 ? 0 - uintptr_t(left) : uintptr_t(left / right)); // the smallest number / -1 would trap
  }

  static uintptr_t absolute(uintptr_t value) { return intptr_t(value) < 0 ? 0 - value : value; }

  uintptr_t register_value(uint64_t which) {
    if (which < kFrameRegisters) return registers_.value[which];
    in_.fail();
    return 0;
  }
  uintptr_t at(size_t from_top) {
    if (from_top < depth_) return operands_[depth_ - 1 - from_top];
    in_.fail();
    return 0;
  }
  uintptr_t pop() {
    uintptr_t value = at(0);
    if (depth_ != 0) --depth_;
    return value;
  }
  // The top operand goes below the `count` - 1 others.
  void rotate(size_t count) {
    uintptr_t top = at(0);
    if (depth_ < count) return in_.fail();
    for (size_t i = 1; i < count; ++i) operands_[depth_ - i] = operands_[depth_ - i - 1];
    operands_[depth_ - count] = top;
  }
  uintptr_t load(uintptr_t address, size_t size);

  ByteReader in_;
  uintptr_t begin_;
  const FrameRegisters &registers_;
  Range stack_;
  size_t depth_ = 0;
  uintptr_t operands_[kMostOperands];
};

bool holds(Range stack, uintptr_t address, size_t size) {
  return address >= stack.begin && address < stack.end && stack.end - address >= size;
}

uintptr_t Expression::load(uintptr_t address, size_t size) {
  uintptr_t value = 0;
  if (size > kWord || !holds(stack_, address, size)) {
    in_.fail();
    return 0;
  }
  memcpy(&value, reinterpret_cast<const void *>(address), size);
  return value;
}

// --- rows ------------------------------------------------------------------------------------------------------------

// Applies one row: all rules speak of the registers as they were, hence two sets.
class RowStep {
public:
  RowStep(const FrameRow &frame, const FrameRegisters &before, Range stack)
      : frame_(frame), row_(frame.row), before_(before), stack_(stack) {}

  std::optional<FrameRegisters> run() {
    std::optional<uintptr_t> cfa = row_.cfa == RuleKind::expression
                                       ? evaluate(row_.cfa_value, {})
                                       : before_.value[row_.cfa_register] + uintptr_t(row_.cfa_value);
    if (!cfa || !has_return_address()) return {};
    FrameRegisters after = before_;
    after.value[kStackRegister] = *cfa;
    for (size_t i = 0; i < kFrameRegisters; ++i) {
      if (row_.kind[i] <= RuleKind::undefined) continue;
      std::optional<uintptr_t> value = restored(i, *cfa);
      if (!value) return {};
      after.value[i] = *value;
    }
    after.value[kPcRegister] = plain_address(after.value[frame_.return_register]);
    return after;
  }

private:
  bool has_return_address() const {
    RuleKind kind = row_.kind[frame_.return_register];
    if (kind == RuleKind::undefined) return false; // the outermost frame says so
    return kind > RuleKind::undefined || !kReturnAddressInMemory;
  }

  std::optional<uintptr_t> restored(size_t which, uintptr_t cfa) const {
    int64_t value = row_.value[which];
    RuleKind kind = row_.kind[which];
    if (kind == RuleKind::offset) return load(cfa + uintptr_t(value));
    if (kind == RuleKind::val_offset) return cfa + uintptr_t(value);
    if (kind == RuleKind::val_expression) return evaluate(value, cfa);
    if (kind == RuleKind::expression) {
      std::optional<uintptr_t> address = evaluate(value, cfa);
      return address ? load(*address) : address;
    }
    if (kind != RuleKind::in_register || uint64_t(value) >= kFrameRegisters) return {};
    return before_.value[value];
  }

  std::optional<uintptr_t> load(uintptr_t address) const {
    if (!holds(stack_, address, kWord)) return {};
    return stack_word(address);
  }

  std::optional<uintptr_t> evaluate(int64_t block, std::optional<uintptr_t> first) const {
    ByteReader in(uintptr_t(block), frame_.tables_end);
    uint64_t length = in.uleb();
    Expression expression(in.part(length), before_, stack_);
    if (first) expression.push(*first);
    return expression.run();
  }

  const FrameRow &frame_;
  const Row &row_;
  const FrameRegisters &before_;
  Range stack_;
};

// --- packed rules ----------------------------------------------------------------------------------------------------

// From the lowest bit: 1 (a rule is never 0), outermost frame, CFA counted from the frame register, CFA offset in
// words, slots in the order of kPackedRegisters: slot n lies n words below the CFA.
constexpr uint64_t kOutermost = 2, kFromFrameRegister = 4;
constexpr unsigned kOffsetShift = 3, kOffsetBits = 17, kSlotShift = kOffsetShift + kOffsetBits;
constexpr uint64_t kMostOffset = (uint64_t{1} << kOffsetBits) - 1, kMostSlot = (uint64_t{1} << kSlotBits) - 1;
static_assert(kSlotShift + kSlotBits * sizeof kPackedRegisters <= 64);

bool is_packed(size_t which) {
  for (uint8_t packed : kPackedRegisters)
    if (packed == which) return true;
  return false;
}

bool leaves_others_alone(const Row &row) {
  for (size_t i = 0; i < kFrameRegisters; ++i)
    if (row.kind[i] > RuleKind::undefined && !is_packed(i) && (!kIgnoreOtherRegisters || i == kStackRegister))
      return false;
  return true;
}

// 0: does not fit.
uint64_t pack(const FrameRow &frame) {
  const Row &row = frame.row;
  if (row.cfa != RuleKind::offset || frame.signal_frame || frame.return_register != kReturnRegister) return 0;
  if (row.kind[kReturnRegister] == RuleKind::undefined) return 1 | kOutermost;
  if (kReturnAddressInMemory && row.kind[kReturnRegister] != RuleKind::offset) return 0;
  if (row.cfa_register != kStackRegister && row.cfa_register != kFrameRegister) return 0;
  if (row.cfa_value < 0 || row.cfa_value % kWord != 0 || uint64_t(row.cfa_value) / kWord > kMostOffset) return 0;
  if (!leaves_others_alone(row)) return 0;
  uint64_t rule = 1 | uint64_t(row.cfa_value) / kWord << kOffsetShift;
  if (row.cfa_register == kFrameRegister) rule |= kFromFrameRegister;
  unsigned shift = kSlotShift;
  for (uint8_t which : kPackedRegisters) {
    uint64_t below = 0 - uint64_t(row.value[which]);
    if (row.kind[which] > RuleKind::offset) return 0;
    if (row.kind[which] == RuleKind::offset) {
      if (below == 0 || below % kWord != 0 || below / kWord > kMostSlot) return 0;
      rule |= below / kWord << shift;
    }
    shift += kSlotBits;
  }
  return rule;
}

bool step_packed(uint64_t rule, FrameRegisters &registers, Range stack) {
  if (rule & kOutermost) return false;
  size_t base = rule & kFromFrameRegister ? kFrameRegister : kStackRegister;
  uintptr_t cfa = registers.value[base] + (rule >> kOffsetShift & kMostOffset) * kWord;
  uint64_t slots = rule >> kSlotShift;
  for (size_t i = 0; slots != 0; ++i, slots >>= kSlotBits) {
    uint64_t slot = slots & kMostSlot;
    if (slot == 0) continue;
    uintptr_t address = cfa - slot * kWord;
    if (!holds(stack, address, kWord)) return false;
    registers.value[kPackedRegisters[i]] = stack_word(address);
  }
  registers.value[kStackRegister] = cfa;
  registers.value[kPcRegister] = plain_address(registers.value[kReturnRegister]);
  return true;
}

// --- the table of packed rules ---------------------------------------------------------------------------------------

struct Entry {
  std::atomic<uint64_t> check{0};
  std::atomic<uint64_t> rule{0};
};
// A pc may be in either entry of its pair, so that two that fall together do not push each other out. 256 KiB: a large
// server has some ten thousand return addresses on its allocation stacks; pages that are not needed cost nothing.
struct alignas(2 * sizeof(Entry)) Pair {
  Entry entry[2];
};
constexpr unsigned kPairBits = 13;
constexpr uint64_t kMix = 0x9e3779b97f4a7c15, kMixGeneration = 0xd6e8feb86659fd93;

constinit Pair g_table[size_t{1} << kPairBits];

Pair &pair_of(uintptr_t pc) { return g_table[pc * kMix >> (64 - kPairBits)]; }

// The rule is spread over all bits: were it not, a pc and the rule of another could make up for each other.
uint64_t check_word(uintptr_t pc, uint64_t rule, uint64_t generation) {
  return pc ^ (rule + generation * kMixGeneration) * kMix;
}

uint64_t remembered_rule(uintptr_t pc, uint64_t generation) {
  for (Entry &entry : pair_of(pc).entry) {
    uint64_t rule = entry.rule.load(std::memory_order_relaxed);
    if (rule != 0 && entry.check.load(std::memory_order_relaxed) == check_word(pc, rule, generation)) return rule;
  }
  return 0;
}

// The older entry of the pair goes.
void remember_rule(uintptr_t pc, uint64_t rule, uint64_t generation) {
  Pair &pair = pair_of(pc);
  pair.entry[1].rule.store(pair.entry[0].rule.load(std::memory_order_relaxed), std::memory_order_relaxed);
  pair.entry[1].check.store(pair.entry[0].check.load(std::memory_order_relaxed), std::memory_order_relaxed);
  pair.entry[0].rule.store(rule, std::memory_order_relaxed);
  pair.entry[0].check.store(check_word(pc, rule, generation), std::memory_order_relaxed);
}

// --- steps -----------------------------------------------------------------------------------------------------------

struct Frame {
  FrameRegisters &registers; // steps change them
  // The pc is where the thread is, not behind a call. Behind a call the call itself is looked up: it may be the last
  // instruction of its function (noreturn), or of the range that a row covers.
  bool exact = true;

  uintptr_t lookup() const { return registers.pc() - (exact ? 0 : 1); }

  // The stack pointer rises with each step, so that a circle ends. Only a function that has pushed nothing, on a
  // processor that keeps the return address in a register, leaves it alone.
  uintptr_t lowest_caller_sp() const { return registers.sp() + (exact && !kReturnAddressInMemory ? 0 : 1); }
};

// Frame pointer and return address lie side by side where the frame pointer points, on both processors. Asked for: it
// points into the stack above sp, to a place for words, and the saved one is further up.
bool step_frame_pointer(Frame &frame, Range stack) {
  FrameRegisters &registers = frame.registers;
  uintptr_t pointer = registers.value[kFrameRegister];
  if (pointer < registers.sp() || pointer % kWord != 0 || !holds(stack, pointer, 2 * kWord)) return false;
  uintptr_t saved = stack_word(pointer);
  if (saved <= pointer || !stack.contains(saved)) return false;
  registers.value[kFrameRegister] = saved;
  registers.value[kStackRegister] = pointer + 2 * kWord;
  registers.value[kPcRegister] = plain_address(stack_word(pointer + kWord));
  frame.exact = false;
  return true;
}

bool step_row(const FrameRow &row, Frame &frame, Range stack) {
  std::optional<FrameRegisters> after = apply_row(row, frame.registers, stack);
  if (!after) return false;
  if (!row.signal_frame && after->sp() < frame.lowest_caller_sp()) return false;
  frame.registers = *after;
  frame.exact = row.signal_frame;
  return true;
}

// Kept out of step(), whose hot path needs none of its stack.
[[gnu::noinline]] bool look_up_and_step(Frame &frame, Range stack, uint64_t generation) {
  std::optional<Module> module = find_module(frame.lookup());
  std::optional<FrameRow> row = module ? find_row(*module, frame.lookup()) : std::nullopt;
  if (!row) return step_frame_pointer(frame, stack);
  if (uint64_t rule = pack(*row)) remember_rule(frame.lookup(), rule, generation);
  return step_row(*row, frame, stack);
}

bool step_by_rule(uint64_t rule, Frame &frame, Range stack) {
  uintptr_t lowest = frame.lowest_caller_sp();
  frame.exact = false;
  return step_packed(rule, frame.registers, stack) && frame.registers.sp() >= lowest;
}

// `rule`: what is remembered for this frame, 0 if nothing is.
bool step(uint64_t rule, Frame &frame, Range stack, uint64_t generation) {
  return rule ? step_by_rule(rule, frame, stack) : look_up_and_step(frame, stack, generation);
}

// --- stacks that resemble the last one -------------------------------------------------------------------------------

// Where a step by this rule, which led to the stack pointer `cfa`, has found the frame pointer; 0: it stayed.
uintptr_t frame_pointer_slot(uint64_t rule, uintptr_t cfa) {
  static_assert(kPackedRegisters[1] == kFrameRegister);
  uint64_t slot = rule >> (kSlotShift + kSlotBits) & kMostSlot;
  return slot ? cfa - slot * kWord : 0;
}

// A stack all of whose steps went by packed rules: these depend on pc, stack and frame pointer alone.
class Resumption {
public:
  Resumption(const LastStack &like, size_t like_count, LastStack &to, FrameRoom::Column fresh, uintptr_t *pcs,
             size_t most)
      : like_(like.frames), like_count_(like_count), to_(to), fresh_(fresh), pcs_(pcs), most_(most) {}

  size_t run(FrameRegisters &registers, Range stack, uint64_t generation, bool &same) {
    Frame frame{registers};
    uintptr_t found_at = 0;
    bool plain = kReturnAddressInMemory, more = true;
    same = false;
    for (; count_ < most_ && more; ++count_) {
      uint64_t rule = remembered_rule(frame.lookup(), generation);
      KnownFrame &now = fresh_[count_];
      now = {frame.registers.pc(), frame.registers.sp(), frame.registers.value[kFrameRegister],
             found_at | ((rule & kFromFrameRegister) != 0)};
      if (plain && joins(now)) {
        same = count_ == 0 && at_ == 0;
        return same ? give_pcs(like_, like_count_) : take_over();
      }
      plain = plain && rule != 0;
      more = count_ + 1 < most_ && step(rule, frame, stack, generation) && frame.registers.pc() != 0;
      found_at = frame_pointer_slot(rule, frame.registers.sp());
    }
    return keep(plain);
  }

private:
  // Whether the last stack had this very frame, and memory still has all that led on from there.
  bool joins(const KnownFrame &now) {
    while (at_ < like_count_ && like_[at_].sp < now.sp) ++at_;
    if (at_ == like_count_ || like_count_ - at_ > most_ - count_) return false;
    if ((count_ == 0) != (at_ == 0)) return false; // behind a call, or not: Frame::exact
    if (!like_[at_].is_at(now.pc, now.sp, now.frame_pointer)) return false;
    for (size_t i = at_ + 1; i < like_count_; ++i)
      if (!like_[i].is_there()) return at_ = i, false;
    return true;
  }

  // The fresh frames before the one that joined, and the last stack from there; which may lie where it has to go.
  size_t take_over() {
    size_t common = like_count_ - at_;
    if (at_ < count_)
      for (size_t i = common; i-- > 0;) to_.frames[count_ + i] = like_[at_ + i];
    else
      for (size_t i = 0; i < common; ++i) to_.frames[count_ + i] = like_[at_ + i];
    return copy_fresh(count_ + common);
  }

  size_t keep(bool plain) {
    copy_fresh(count_);
    to_.count = plain ? count_ : 0;
    return count_;
  }

  // Makes fresh_ the beginning of `count` frames. What a frame needs, its callees hand on that do not restore it.
  size_t copy_fresh(size_t count) {
    to_.count = count;
    for (size_t i = count_; i-- > 0;) {
      KnownFrame &frame = to_.frames[i] = fresh_[i];
      if (i + 1 == count) continue;
      const KnownFrame &caller = to_.frames[i + 1];
      frame.link |= !caller.found_at() && caller.needs_frame_pointer();
    }
    return give_pcs(to_.frames, count);
  }

  size_t give_pcs(FrameRoom::Column frames, size_t count) {
    for (size_t i = 0; i < count; ++i) pcs_[i] = frames[i].pc;
    return count;
  }

  FrameRoom::Column like_;
  size_t like_count_;
  LastStack &to_;
  FrameRoom::Column fresh_;
  uintptr_t *pcs_;
  size_t most_;
  size_t at_ = 0;    // of the last stack: what comes before is no part of this one
  size_t count_ = 0; // of fresh_
};

} // namespace

std::optional<FrameRegisters> apply_row(const FrameRow &row, const FrameRegisters &registers, Range stack) {
  return RowStep(row, registers, stack).run();
}

constinit std::atomic<uint64_t> frame_generation{1};

void forget_frames() { frame_generation.fetch_add(1, std::memory_order_relaxed); }

size_t unwind_again(FrameRegisters &registers, Range stack, const LastStack &like, LastStack &to,
                    FrameRoom::Column fresh, uintptr_t *pcs, size_t most, bool &same) {
  uint64_t generation = frame_generation.load(std::memory_order_relaxed);
  size_t like_count = like.generation == generation && like.stack_end == stack.end ? like.count : 0;
  most = std::min(most, LastStack::kMostFrames);
  size_t count = Resumption(like, like_count, to, fresh, pcs, most).run(registers, stack, generation, same);
  if (!same) to.generation = generation, to.stack_end = stack.end;
  return count;
}

size_t unwind(FrameRegisters registers, Range stack, uintptr_t *pcs, size_t most) {
  uint64_t generation = frame_generation.load(std::memory_order_relaxed);
  Frame frame{registers};
  size_t count = 0;
  while (count < most) {
    pcs[count++] = frame.registers.pc();
    if (count == most) break;
    uint64_t rule = remembered_rule(frame.lookup(), generation);
    if (!step(rule, frame, stack, generation) || frame.registers.pc() == 0) break;
  }
  return count;
}

} // namespace castaway
