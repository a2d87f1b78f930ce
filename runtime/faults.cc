// Surviving reads of memory that cannot be read; see faults.h.
#include "runtime/faults.h"

#include "runtime/spin_lock.h"
#include "runtime/stop_handler.h"
#include "runtime/sys.h"

#include <csignal>

namespace castaway {

namespace {

constexpr uintptr_t kPage = 4096;
size_t lost;

// Several markers may meet the same page at once: one of them deals with it, and the others find it readable.
constinit SpinLock lock;

// The kernel reads the set before it finds that there is nothing to be done with it: abseil's AddressIsReadable().
bool is_readable(uintptr_t page) {
  constexpr int kNothing = 99;
  return sys::call(SYS_rt_sigprocmask, kNothing, page, nullptr, sizeof(uint64_t)) != -EFAULT;
}

void mend(uintptr_t page, bool may_lack_permission) {
  if (is_readable(page)) return;
  if (may_lack_permission && sys::call(SYS_mprotect, page, kPage, PROT_READ | PROT_WRITE) == 0 && is_readable(page))
    return;
  ++lost;
  long at = sys::call(SYS_mmap, page, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (at != static_cast<long>(page)) sys::exit_group(127); // nothing can be read here: there is no verdict
}

uintptr_t last_page;
size_t times; // that the last page has faulted in a row

void on_fault(int, siginfo_t *info, void *) {
  constexpr size_t kMost = 100; // more than there are markers
  arch::lift_protection_keys(); // the kernel has put them back for this handler
  uintptr_t page = reinterpret_cast<uintptr_t>(info->si_addr) & ~(kPage - 1);
  while (!lock.try_lock()) {
  }
  times = page == last_page ? times + 1 : 0;
  last_page = page;
  if (times > kMost) sys::exit_group(127); // not for want of permission or memory: there is no verdict
  mend(page, info->si_signo == SIGSEGV);
  lock.unlock();
}

} // namespace

extern "C" [[gnu::visibility("hidden")]] void castaway_signal_return();

void survive_faults() {
  constexpr unsigned long kRestorer = 0x04000000; // SA_RESTORER
  KernelAction action{on_fault, SA_SIGINFO | SA_NODEFER | kRestorer, castaway_signal_return, 0};
  sys::call(SYS_rt_sigaction, SIGSEGV, &action, nullptr, sizeof action.mask);
  sys::call(SYS_rt_sigaction, SIGBUS, &action, nullptr, sizeof action.mask);
  uint64_t faults = sys::signal_bit(SIGSEGV) | sys::signal_bit(SIGBUS);
  sys::call(SYS_rt_sigprocmask, SIG_UNBLOCK, &faults, nullptr, sizeof faults);
}

size_t pages_lost() { return lost; }

} // namespace castaway
