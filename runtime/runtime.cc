// The runtime as a whole: started by the loader before main, ended by exit, started again in the child of a fork.
// Nothing here may keep the program from starting: every trouble turns profiling off with one line.
#include "runtime/runtime.h"

#include "runtime/agent.h"
#include "runtime/allocator_tls.h"
#include "runtime/api.h"
#include "runtime/births.h"
#include "runtime/carried_allocator.h"
#include "runtime/clock.h"
#include "runtime/libc_facts.h"
#include "runtime/log.h"
#include "runtime/mappings.h"
#include "runtime/place.h"
#include "runtime/proc.h"
#include "runtime/roots.h"
#include "runtime/shared_readings.h"
#include "runtime/side_table.h"
#include "runtime/stop_signal.h"
#include "runtime/tracking.h"
#include "runtime/unloaded.h"

#include <dlfcn.h>
#include <sys/resource.h>

// What pthread_atfork is in glibc; its last argument is the module that the handlers go with, and this one never goes.
extern "C" int __register_atfork(void (*)(), void (*)(), void (*)(), void *);
extern "C" int __cxa_at_quick_exit(void (*)(void *), void *);

namespace castaway {

namespace {

constinit Config config;
bool profiling;
int program_pid;             // of the process that began with the program, and of no child of a fork
std::atomic<bool> has_ended; // whoever sets it makes the last safepoint

void say_off(std::string_view reason) {
  Text<1400> line;
  line << "profiling is off: " << reason;
  log_from_target(config, line.view());
}

Range range_of(const void *at, size_t size) {
  uintptr_t begin = reinterpret_cast<uintptr_t>(at);
  return {begin, begin + size};
}

// The memory that is mapped before main: the loader's, and the TLS of the main thread.
void learn_initial_memory() {
  constexpr size_t kText = size_t{4} << 20, kMost = 4096;
  auto *text = static_cast<char *>(sys::map_memory(kText));
  auto *vmas = static_cast<Vma *>(sys::map_memory(kMost * sizeof(Vma)));
  int root = sys::open_at(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY);
  if (text && vmas && root >= 0) {
    std::string_view maps = Proc(root, sys::process_id()).read("maps", text, kText);
    note_initial_memory(Vmas(maps, {vmas, kMost}), {range_of(text, kText), range_of(vmas, kMost * sizeof(Vma))});
  }
  sys::close(root);
  if (text) sys::unmap_memory(text, kText);
  if (vmas) sys::unmap_memory(vmas, kMost * sizeof(Vma));
}

void learn_stack(char *const *environment) {
  tracking.main_thread_pointer = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  // The kernel puts the environment at the far end of the stack.
  tracking.main_stack_end = reinterpret_cast<uintptr_t>(environment);
  rlimit limit{};
  sys::call(SYS_prlimit64, 0, RLIMIT_STACK, nullptr, &limit);
  if (limit.rlim_cur > 0 && limit.rlim_cur < (size_t{1} << 30)) tracking.default_stack_size = limit.rlim_cur;
}

// The last part of the program's path: what CASTAWAY_FOLLOW names.
std::string_view program_name(char *const *arguments) {
  std::string_view path = arguments && arguments[0] ? arguments[0] : "";
  size_t slash = path.rfind('/');
  if (slash != path.npos) path.remove_prefix(slash + 1);
  return path;
}

// Valgrind preloads libraries of such names; it ends with a message when a task is made as castaway's are.
bool runs_under_valgrind(char *const *environment) {
  return variable(environment, "LD_PRELOAD").find("/vgpreload_") != std::string_view::npos;
}

// Whether the program's allocations can be seen, and why not.
bool sees_allocations() {
  if (!real.malloc || !real.free) return say_off("the program's malloc cannot be found"), false;
  switch (find_carried_allocator()) {
  case CarriedAllocator::none:
  case CarriedAllocator::hooked:
    return true;
  case CarriedAllocator::unseen:
    break;
  }
  say_off("the program brings an allocator of its own that cannot be seen (malloc does not lead to libcastaway.so)");
  return false;
}

void start_profiling() {
  if (!start_agent(config)) {
    stop_tracking();
    say_off("no thread can be started for it");
  }
}

bool may_profile_after_fork() { return config.follow.view() != "none"; }

void after_fork_in_child() {
  side_table::reset_locks();
  reset_last_stacks();
  application_memory.reset_lock();
  allocator_memory.reset_lock();
  unloaded::reset_lock();
  births::inherit();
  forget_stop_signal();
  api::reset();
  forget_agent();
  has_ended = false;
  tracking.refuted_blocks.store(0);
  // The thread that forked is the main thread of the child, wherever it runs.
  if (!profiling) return;
  if (may_profile_after_fork())
    start_profiling();
  else
    profiling = false, stop_tracking();
}

[[gnu::constructor]] void start(int, char **arguments, char **environment) {
  int error = errno;
  resolve_real();
  learn_stack(environment);
  Text<512> trouble;
  std::string_view root = variable(environment, "CASTAWAY_ROOT");
  if (const char *text = read_config(environment, config, trouble)) {
    say_off(text);
    stop_tracking();
  } else if (!is_followed(config, program_name(arguments), root, sys::process_id())) {
    stop_tracking();
  } else if (runs_under_valgrind(environment)) {
    say_off("Valgrind cannot run the tasks that it needs");
    stop_tracking();
  } else if (!has_address_space()) {
    say_off("the program's address space is limited (RLIMIT_AS or RLIMIT_DATA) to less than 32 GiB");
    stop_tracking();
  } else if (!sees_allocations()) {
    stop_tracking();
  }
  tracking.starting = false;
  this_thread.sampler.random = 0; // draws anew
  if (tracking.on) {
    tracking.sample_bytes = config.sample_bytes;
    learn_place();
    learn_libc_facts();
    learn_clock();
    learn_allocator_tls();
    classify_early_mappings();
    learn_initial_memory();
    begin_family();
    __register_atfork(nullptr, nullptr, after_fork_in_child, nullptr);
    program_pid = sys::process_id();
    __cxa_at_quick_exit([](void *) { end_profiling(); }, nullptr);
    profiling = true;
    start_profiling();
  }
  errno = error;
}

[[gnu::destructor]] void stop() {
  if (!profiling || has_ended.exchange(true)) return;
  if (config.at_exit && tracking.on) make_safepoint_now(true);
  finish_agent();
}

} // namespace

void end_profiling() {
  // First what may be read in the child of a vfork: there nothing may be changed.
  if (!profiling || !config.at_exit || sys::process_id() != program_pid) return;
  if (!tracking.on || this_thread.in_transition || has_ended.exchange(true)) return;
  make_safepoint_now(true);
  finish_agent();
}

bool suspend_profiling() {
  if (!profiling || !tracking.on) return false;
  end_agent();
  return true;
}

void continue_profiling() { start_profiling(); }

} // namespace castaway
