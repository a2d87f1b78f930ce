// What threads were seen to sleep in; see seen_calls.h.
#include "runtime/seen_calls.h"

#include "runtime/arch_signal.h"
#include "runtime/memory.h"

namespace castaway {

namespace {

// One number after the other from a line like "202 0x7f.. 0x.. ...".
bool take_word(std::string_view &text, uint64_t &value) {
  while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
  return take_prefix(text, "0x") ? take_number(text, value, 16) : take_number(text, value);
}

SeenCall parse_call(std::string_view text) {
  SeenCall call{};
  call.number = -1;
  uint64_t number;
  if (!take_word(text, number)) return call; // "running", or "-1": not in a call
  for (uint64_t &argument : call.arguments)
    if (!take_word(text, argument)) return call;
  // A kernel thread's has no place in the program.
  if (take_word(text, call.stack_pointer) && take_word(text, call.program_counter) && call.program_counter != 0)
    call.number = static_cast<int64_t>(number);
  return call;
}

} // namespace

SeenCall see_call(const Proc &proc, int tid) {
  char line[256];
  Text<64> path;
  return parse_call(proc.read((path << "task/" << tid << "/syscall").view(), line, sizeof line));
}

SeenCall *last_seen(int tid) {
  constexpr size_t kMostRemembered = size_t{1} << 16;
  static auto *table = static_cast<SeenCall *>(own_memory(kMostRemembered * sizeof(SeenCall)));
  return table ? &table[static_cast<unsigned>(tid) % kMostRemembered] : nullptr;
}

bool is_same(const SeenCall &seen, const arch::ThreadRegisters &registers, int arguments) {
  if (seen.number < 0 || seen.number == SYS_restart_syscall || seen.stack_pointer != arch::stack_pointer(registers) ||
      seen.program_counter != arch::program_counter(registers))
    return false;
  for (int i = arch::kShowsCalls ? 0 : 1; i < arguments; ++i)
    if (seen.arguments[i] != arch::call_argument(registers, i)) return false;
  return true;
}

bool recall_first_argument(arch::ThreadRegisters &registers, long number, const SeenCall &seen) {
  if constexpr (arch::kShowsCalls) return true;
  if (seen.number != number || !is_same(seen, registers, 6)) return false;
  arch::set_call_argument(registers, 0, seen.arguments[0]);
  return true;
}

void show_call(arch::ThreadRegisters &registers, const SeenCall &seen, int pid) {
  if constexpr (arch::kShowsCalls) return;
  constexpr long kRestartSys = -512;
  arch::set_call_number(registers, -1);
  uint8_t code[arch::kCodeBefore + arch::kCallSize];
  auto is_call_at = [&](uintptr_t at) {
    return sys::read_own_memory(pid, at - arch::kCodeBefore, code, sizeof code) &&
           arch::is_call_instruction(code + arch::kCodeBefore);
  };
  uintptr_t pc = arch::program_counter(registers);
  if (is_call_at(pc)) return arch::show_call_ahead(registers, arch::call_number_in(code, registers), kRestartSys);
  if (!arch::is_behind_interrupted_call(registers) || !is_call_at(pc - arch::kCallSize)) return;
  long number = arch::call_number_in(code, registers);
  if (recall_first_argument(registers, number, seen)) arch::set_call_number(registers, number);
}

} // namespace castaway
