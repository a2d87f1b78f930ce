#include "profile/unwinder.h"

#include <algorithm>
#include <cstring>
#include <span>

// Exported by libunwind for tools like this one (gdb's proc-service clients, perf), yet in none of its headers.
extern "C" int UNW_OBJ(dwarf_search_unwind_table)(unw_addr_space_t space, unw_word_t ip, unw_dyn_info_t *table,
                                                  unw_proc_info_t *info, int need_unwind_info, void *argument);

namespace castaway {
namespace {

// Of one step. An honest one reads some hundred words; more only costs a hostile file's reader time.
constexpr size_t kReadsPerStep = 1 << 16;
// Program counters whose way to step libunwind remembers.
constexpr size_t kRememberedSteps = 4096;

#if defined(__x86_64__)
constexpr auto kOwnMachine = Machine::x86_64;
constexpr size_t kPc = UNW_X86_64_RIP;
constexpr size_t kRegistersUsed = 17;
#elif defined(__aarch64__)
constexpr auto kOwnMachine = Machine::aarch64;
constexpr size_t kPc = UNW_AARCH64_PC;
constexpr size_t kRegistersUsed = 33;
#else
#error "unwinder: registers of this machine are not known"
#endif

size_t pc_of(Machine machine) { return machine == Machine::x86_64 ? 16 : 32; }
size_t sp_of(Machine machine) { return machine == Machine::x86_64 ? 7 : 31; }

} // namespace

// libunwind's call-backs; `argument` is the Unwinder.
struct Accessors {
  static int find_procedure(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_unwind_info,
                            void *argument) {
    auto &self = *static_cast<Unwinder *>(argument);
    const auto *module = self.modules_.at(ip);
    if (module == nullptr || !module->file || !module->file->unwind_table()) return -UNW_ENOINFO;
    const auto &table = *module->file->unwind_table();
    unw_dyn_info_t search = {};
    search.format = UNW_INFO_FORMAT_REMOTE_TABLE;
    search.start_ip = module->bias;
    search.end_ip = ~unw_word_t(0); // the entry found is checked against its own range
    search.u.rti.segbase = table.header + module->bias;
    search.u.rti.table_data = table.entries + module->bias;
    search.u.rti.table_len = table.entry_count; // in words of 8 bytes
    return UNW_OBJ(dwarf_search_unwind_table)(space, ip, &search, info, need_unwind_info, argument);
  }

  static void put_unwind_info(unw_addr_space_t, unw_proc_info_t *, void *) {}

  static int dynamic_list(unw_addr_space_t, unw_word_t *, void *) { return -UNW_ENOINFO; }

  static int access_memory(unw_addr_space_t, unw_word_t address, unw_word_t *value, int write, void *argument) {
    if (write != 0) return -UNW_EINVAL;
    uint64_t word = 0;
    if (!static_cast<Unwinder *>(argument)->read_word(address, word)) return -UNW_EINVAL;
    *value = word;
    return 0;
  }

  static int access_register(unw_addr_space_t, unw_regnum_t number, unw_word_t *value, int write, void *argument) {
    if (write != 0) return -UNW_EREADONLYREG;
    if (number < 0 || static_cast<size_t>(number) >= kRegistersUsed) return -UNW_EBADREG;
    *value = static_cast<Unwinder *>(argument)->thread_->registers[number];
    return 0;
  }

  static int access_float(unw_addr_space_t, unw_regnum_t, unw_fpreg_t *, int, void *) { return -UNW_EBADREG; }

  static int resume(unw_addr_space_t, unw_cursor_t *, void *) { return -UNW_EINVAL; }

  static int procedure_name(unw_addr_space_t, unw_word_t, char *, size_t, unw_word_t *, void *) { return -UNW_ENOINFO; }
};

Unwinder::Unwinder(const Capture &capture, const Modules &modules) : capture_(capture), modules_(modules) {
  static unw_accessors_t accessors = {};
  accessors.find_proc_info = Accessors::find_procedure;
  accessors.put_unwind_info = Accessors::put_unwind_info;
  accessors.get_dyn_info_list_addr = Accessors::dynamic_list;
  accessors.access_mem = Accessors::access_memory;
  accessors.access_reg = Accessors::access_register;
  accessors.access_fpreg = Accessors::access_float;
  accessors.resume = Accessors::resume;
  accessors.get_proc_name = Accessors::procedure_name;
  space_ = unw_create_addr_space(&accessors, 0);
  if (space_ == nullptr) return;
  unw_set_caching_policy(space_, UNW_CACHE_GLOBAL);
  unw_set_cache_size(space_, kRememberedSteps, 0);
}

Unwinder::~Unwinder() {
  if (space_ != nullptr) unw_destroy_addr_space(space_);
}

UnwoundStack Unwinder::unwind(const ThreadRecord &thread) {
  UnwoundStack stack;
  thread_ = &thread;
  beyond_copy_ = false;
  stack.addresses.push_back(thread.registers[pc_of(capture_.machine())]);
  stack.stack_pointers.push_back(thread.registers[sp_of(capture_.machine())]);
  unw_cursor_t cursor;
  if (space_ == nullptr || capture_.machine() != kOwnMachine || unw_init_remote(&cursor, space_, this) != 0)
    return stack;
  unw_word_t last_sp = 0;
  unw_word_t last_pc = thread.registers[kPc];
  for (;;) {
    reads_left_ = kReadsPerStep;
    // Above a signal's frame is code that was interrupted, not code that made a call.
    const bool interrupted = unw_is_signal_frame(&cursor) > 0;
    unw_word_t pc = 0;
    unw_word_t sp = 0;
    if (unw_step(&cursor) <= 0 || unw_get_reg(&cursor, UNW_REG_IP, &pc) != 0) break;
    if (unw_get_reg(&cursor, UNW_REG_SP, &sp) != 0 || (sp == last_sp && pc == last_pc) || !executable(pc)) break;
    stack.cut = stack.addresses.size() == kMostFrames;
    if (stack.cut) break;
    stack.addresses.push_back(interrupted ? pc : pc - 1);
    stack.stack_pointers.push_back(sp);
    last_sp = sp;
    last_pc = pc;
  }
  stack.cut |= beyond_copy_;
  return stack;
}

bool Unwinder::executable(uint64_t address) const {
  const auto mapping = modules_.map().find(address);
  return mapping >= 0 && modules_.map().mappings()[static_cast<size_t>(mapping)].executable;
}

bool Unwinder::read_word(uint64_t address, uint64_t &value) {
  if (reads_left_ == 0) return false;
  reads_left_--;
  return read_stack(address, value) || read_module(address, value);
}

bool Unwinder::read_stack(uint64_t address, uint64_t &value) const {
  const auto bytes = capture_.stack_of(*thread_);
  const auto inside = address - thread_->stack_address;
  if (address < thread_->stack_address || bytes.size() < sizeof value || inside > bytes.size() - sizeof value)
    return false;
  memcpy(&value, bytes.data() + inside, sizeof value);
  return true;
}

bool Unwinder::read_module(uint64_t address, uint64_t &value) {
  const auto mapping = modules_.map().find(address);
  const auto *module = modules_.of_mapping(mapping);
  if (module == nullptr || !module->file) {
    const int stack = modules_.map().find(thread_->stack_address);
    beyond_copy_ |= mapping >= 0 && mapping == stack && address > thread_->stack_address;
    return false;
  }
  value = 0; // what a segment has beyond the file's bytes
  const auto bytes = module->file->at(address - module->bias);
  std::ranges::copy(bytes.first(std::min(bytes.size(), sizeof value)),
                    std::as_writable_bytes(std::span(&value, 1)).begin());
  return true;
}

} // namespace castaway
