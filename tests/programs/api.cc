// What programs say through castaway.h, and through LeakSanitizer's interface. With `held` the call is made; with
// `leak` it is not, and what it would have covered is found.
#include "include/castaway/castaway.h"
#include "support.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

extern "C" {
[[gnu::weak]] void __lsan_ignore_object(const void *);
[[gnu::weak]] void __lsan_disable();
[[gnu::weak]] void __lsan_enable();
[[gnu::weak]] void __lsan_register_root_region(const void *, size_t);
[[gnu::weak]] void __lsan_unregister_root_region(const void *, size_t);
[[gnu::weak]] void __lsan_do_leak_check();
[[gnu::weak]] int __lsan_do_recoverable_leak_check();
}

namespace {

using support::Mode;

// Two blocks, one of which only the other reaches.
[[gnu::noinline]] char *pair() {
  auto **first = static_cast<void **>(support::take(1237));
  first[3] = support::take(321);
  return static_cast<char *>(static_cast<void *>(first));
}

template <auto ignore, size_t offset> void ignored(Mode mode) {
  char *lost = pair();
  if (mode == Mode::held) ignore(lost + offset);
}
void ignore_large_inside(Mode mode) {
  auto *lost = static_cast<char *>(support::take(1 << 20));
  if (mode == Mode::held) support::require(castaway_ignore(lost + (1 << 19)), "castaway_ignore");
}
// From where the heap map has nothing yet: it keeps each 64 MiB of addresses apart.
void ignore_over_edge(Mode mode) {
  constexpr uintptr_t kLeaf = uintptr_t{64} << 20;
  auto begin = reinterpret_cast<uintptr_t>(support::take(70 << 20));
  if (mode == Mode::held)
    support::require(castaway_ignore(reinterpret_cast<void *>(begin / kLeaf * kLeaf + kLeaf)), "castaway_ignore");
}
void ignore_unknown(Mode) {
  int local = 0;
  support::require(!castaway_ignore(&local) && !castaway_ignore(nullptr), "castaway_ignore of no block");
}

// A block that is lost itself, and counted; what is stored in it is not where it was declared.
template <auto declare> void rooted(Mode mode) {
  auto **cell = static_cast<void **>(calloc(1, 4000));
  cell[17] = pair();
  if (mode == Mode::held) declare(cell, 4000);
}
void unroot(Mode mode) {
  auto **cell = static_cast<void **>(calloc(1, 4000));
  cell[17] = pair();
  support::require(castaway_root(cell, 4000), "castaway_root");
  if (mode != Mode::held) support::require(castaway_unroot(cell, 4000), "castaway_unroot");
  support::require(!castaway_unroot(cell, 40), "castaway_unroot of what was not declared");
}

template <auto disable, auto enable> void disabled(Mode mode) {
  if (mode == Mode::held) disable(), disable(), enable(); // they nest
  for (int i = 0; i < 100; ++i) pair();
  if (mode == Mode::held) enable();
}
// After the end, and on another thread meanwhile, all is as before.
void disabled_elsewhere(Mode) {
  castaway_disable();
  support::await_end(support::start([](void *) -> void * { return pair(), nullptr; }, nullptr));
  castaway_enable();
  pair();
}

void snap(Mode) {
  struct castaway_stats stats;
  support::say("present", castaway_present());
  support::say("before", castaway_stats(&stats) && stats.safepoints > 0);
  pair();
  support::scrub_stack();
  support::say("snap", castaway_snap());
  support::say("known", castaway_stats(&stats));
  support::say("safepoints", static_cast<long>(stats.safepoints));
  support::say("leaked_objects", static_cast<long>(stats.leaked_objects));
  support::say("leaked_bytes", static_cast<long>(stats.leaked_bytes));
  support::say("leaked_threads", static_cast<long>(stats.leaked_threads));
  support::say("refuted", static_cast<long>(stats.refuted));
  support::say("pause", stats.last_pause_ns > 0);
  support::say("threads", static_cast<long>(stats.threads));
}

void leak_check(Mode mode) {
  if (mode != Mode::fixed) pair();
  support::scrub_stack();
  if (!__lsan_do_recoverable_leak_check) return;
  support::say("leaks", __lsan_do_recoverable_leak_check());
  __lsan_do_leak_check();
}

// Uses libc as any code does.
std::atomic<int> calls;
void on_leak(const struct castaway_stats *stats, const char *profile) {
  char *text = nullptr;
  support::require(asprintf(&text, "%s", profile) > 0 && access(text, R_OK) == 0, "profile");
  free(text);
  support::say("leaked_objects", static_cast<long>(stats->leaked_objects));
  ++calls;
}
void callback_of_snap(Mode mode) {
  support::require(castaway_on_leak(on_leak), "castaway_on_leak");
  if (mode != Mode::fixed) pair();
  support::scrub_stack();
  for (int i = 0; i < 3; ++i) castaway_snap();
  support::say("calls", calls);
}
// After READY: a line for each call.
void on_later_leak(const struct castaway_stats *stats, const char *profile) {
  on_leak(stats, profile);
  bool own_thread = gettid() != getpid();
  dprintf(STDOUT_FILENO, "own_thread %d\nCALLED\n", own_thread);
}
void callback_of_clock(Mode mode) {
  support::require(castaway_on_leak(on_later_leak), "castaway_on_leak");
  if (mode != Mode::fixed) pair();
}

constexpr support::Case kCases[] = {
    {"ignore", ignored<castaway_ignore, 0>},
    {"ignore_inside", ignored<castaway_ignore, 100>},
    {"ignore_large_inside", ignore_large_inside},
    {"ignore_over_edge", ignore_over_edge},
    {"ignore_unknown", ignore_unknown},
    {"lsan_ignore", ignored<__lsan_ignore_object, 0>},
    {"root", rooted<castaway_root>},
    {"lsan_root", rooted<__lsan_register_root_region>},
    {"unroot", unroot},
    {"disable", disabled<castaway_disable, castaway_enable>},
    {"lsan_disable", disabled<__lsan_disable, __lsan_enable>},
    {"disabled_elsewhere", disabled_elsewhere},
    {"snap", snap},
    {"leak_check", leak_check},
    {"callback_of_snap", callback_of_snap},
    {"callback_of_clock", callback_of_clock},
};

} // namespace

int main(int argc, char **argv) { return support::run(argc, argv, {kCases}); }
