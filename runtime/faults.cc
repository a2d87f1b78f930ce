// Surviving reads of memory that cannot be read; see faults.h.
#include "runtime/faults.h"

#include "runtime/stop_handler.h"
#include "runtime/sys.h"

#include <csignal>

namespace castaway {

namespace {

constexpr uintptr_t kPage = 4096;
uintptr_t last_page;
size_t times; // that the last page has faulted in a row
size_t lost;

void on_fault(int, siginfo_t *info, void *) {
  uintptr_t page = reinterpret_cast<uintptr_t>(info->si_addr) & ~(kPage - 1);
  times = page == last_page ? times + 1 : 0;
  last_page = page;
  if (times > 1) sys::exit_group(127); // not for want of permission or memory: there is no verdict
  if (times == 0 && info->si_signo == SIGSEGV && sys::call(SYS_mprotect, page, kPage, PROT_READ | PROT_WRITE) == 0)
    return;
  ++lost;
  long at = sys::call(SYS_mmap, page, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (at != static_cast<long>(page)) sys::exit_group(127); // nothing can be read here: there is no verdict
}

} // namespace

extern "C" [[gnu::visibility("hidden")]] void castaway_signal_return();

void survive_faults() {
  constexpr unsigned long kRestorer = 0x04000000; // SA_RESTORER
  KernelAction action{on_fault, SA_SIGINFO | SA_NODEFER | kRestorer, castaway_signal_return, 0};
  sys::call(SYS_rt_sigaction, SIGSEGV, &action, nullptr, sizeof action.mask);
  sys::call(SYS_rt_sigaction, SIGBUS, &action, nullptr, sizeof action.mask);
  uint64_t faults = uint64_t{1} << (SIGSEGV - 1) | uint64_t{1} << (SIGBUS - 1);
  sys::call(SYS_rt_sigprocmask, SIG_UNBLOCK, &faults, nullptr, sizeof faults);
}

size_t pages_lost() { return lost; }

} // namespace castaway
