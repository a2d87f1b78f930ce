// The C API; see api.h. HOOK context: called by threads of the target.
#include "runtime/api.h"

#include "runtime/agent.h"
#include "runtime/exports.h"
#include "runtime/roots.h"
#include "runtime/side_table.h"
#include "runtime/spin_lock.h"
#include "runtime/sys.h"
#include "runtime/text.h"
#include "runtime/tracking.h"

#include <cerrno>
#include <csignal>
#include <cstring>

namespace castaway::api {

namespace {

struct Results {
  struct castaway_stats stats;
  char profile[1024];
};
Results results;
SpinLock results_lock;
std::atomic<uint32_t> published; // grows with each safepoint; a futex

std::atomic<castaway_callback> callback;
std::atomic<uint64_t> told; // leaks in the last call
std::atomic<int> caller_pid;
std::atomic<int> snaps; // threads inside castaway_snap(), which call back themselves

Range roots[kMostRoots];
size_t root_count;
SpinLock roots_lock;
bool lost;

bool latest(Results &out) {
  SpinGuard guard(results_lock);
  if (guard) out = results;
  return static_cast<bool>(guard);
}

// Tells the callback once of each number of leaks that is higher than all before.
void call_back() {
  castaway_callback call = callback.load();
  Results now;
  if (!call || !latest(now)) return;
  uint64_t leaks = now.stats.leaked_threads + now.stats.leaked_objects, before = told.load();
  while (leaks > before)
    if (told.compare_exchange_strong(before, leaks)) return call(&now.stats, now.profile);
}

// The thread that calls back after safepoints that others have made. It waits with a time limit: no thread of ours is
// ever taken for a leaked one.
void *caller(void *) {
  constexpr uint64_t kHour = 3600ull * 1'000'000'000;
  for (;;) {
    uint32_t seen = published.load(std::memory_order_acquire);
    if (snaps.load() == 0) call_back();
    sys::futex_wait(&published, seen, kHour);
  }
  return nullptr;
}

// Made when the first callback is set, in each process anew. All signals are blocked in it.
bool start_caller() {
  int pid = sys::process_id(), before = caller_pid.exchange(pid);
  if (before == pid) return true;
  uint64_t all = ~uint64_t{0}, mask;
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &all, &mask, sizeof all);
  bool started = ::pthread_create(&thread, &attributes, caller, nullptr) == 0;
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
  pthread_attr_destroy(&attributes);
  if (!started) caller_pid = 0;
  return started;
}

bool add_root(const void *begin, size_t size) {
  uintptr_t at = reinterpret_cast<uintptr_t>(begin);
  SpinGuard guard(roots_lock);
  if (!guard || root_count == kMostRoots) return lost = true, false;
  roots[root_count] = {at, at + size};
  ++root_count;
  return true;
}

bool remove_root(const void *begin, size_t size) {
  uintptr_t at = reinterpret_cast<uintptr_t>(begin);
  SpinGuard guard(roots_lock);
  for (size_t i = 0; guard && i < root_count; ++i)
    if (roots[i].begin == at && roots[i].end == at + size) return roots[i] = roots[--root_count], true;
  return false;
}

bool snap() {
  if (!tracking.on) return false;
  Results before, after;
  ++snaps;
  bool made =
      latest(before) && make_safepoint_now(false) && latest(after) && after.stats.safepoints != before.stats.safepoints;
  if (made) call_back();
  --snaps;
  return made;
}

int leaks_now() {
  Results now;
  return snap() && latest(now) && now.stats.leaked_threads + now.stats.leaked_objects > 0;
}

} // namespace

void publish(const struct castaway_stats &stats, std::string_view profile) {
  {
    SpinGuard guard(results_lock);
    if (!guard) return;
    results.stats = stats;
    size_t size = profile.size() < sizeof results.profile ? profile.size() : sizeof results.profile - 1;
    std::memcpy(results.profile, profile.data(), size);
    results.profile[size] = 0;
  }
  published.fetch_add(1, std::memory_order_release);
  sys::futex_wake(&published);
}

size_t declared_roots(Range *out, size_t most) {
  size_t count = root_count < most ? root_count : most;
  std::memcpy(static_cast<void *>(out), roots, count * sizeof *out);
  return count;
}

bool roots_lost() { return lost; }

void reset() {
  results_lock.reset();
  roots_lock.reset();
  results = {};
  told = 0;
  snaps = 0;
}

} // namespace castaway::api

using namespace castaway;

EXPORT int castaway_snap() {
  int error = errno;
  bool made = api::snap();
  errno = error;
  return made;
}

#pragma GCC diagnostic ignored "-Wshadow" // a structure and a function of one name
EXPORT int castaway_stats(struct castaway_stats *stats) {
  api::Results now{};
  bool known = tracking.on && api::latest(now);
  if (!known) now = {};
  *stats = now.stats;
  return known;
}

EXPORT int castaway_on_leak(castaway_callback callback) {
  api::callback = callback;
  return tracking.on && (!callback || api::start_caller());
}

EXPORT int castaway_ignore(const void *pointer) {
  if (!tracking.on) return 0;
  Block block = block_around(reinterpret_cast<uintptr_t>(pointer));
  if (!block || !side_table::mark_ignored(block.begin, block.size)) return 0;
  if (heap_map.set_flag(block.begin, block.size)) return 1;
  side_table::take(block.begin);
  return 0;
}

EXPORT int castaway_root(const void *begin, size_t size) { return api::add_root(begin, size); }
EXPORT int castaway_unroot(const void *begin, size_t size) { return api::remove_root(begin, size); }
EXPORT void castaway_disable() { disable_here(); }
EXPORT void castaway_enable() { enable_here(); }

// As in <sanitizer/lsan_interface.h>, but that no check ends the program.
EXPORT void __lsan_ignore_object(const void *pointer) { castaway_ignore(pointer); }
EXPORT void __lsan_disable() { disable_here(); }
EXPORT void __lsan_enable() { enable_here(); }
EXPORT void __lsan_register_root_region(const void *begin, size_t size) { api::add_root(begin, size); }
EXPORT void __lsan_unregister_root_region(const void *begin, size_t size) { api::remove_root(begin, size); }
EXPORT void __lsan_do_leak_check() { castaway_snap(); }
EXPORT int __lsan_do_recoverable_leak_check() {
  int error = errno;
  int leaks = api::leaks_now();
  errno = error;
  return leaks;
}
