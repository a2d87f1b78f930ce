// Names: demangling, waits, runtime frames, suppressions' patterns, human numbers.
#include "profile/demangle.h"
#include "profile/profile_comments.h"
#include "profile/runtime_frames.h"
#include "profile/show.h"
#include "profile/waits.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

namespace castaway {
namespace {

TEST(ProfileNames, SignaturesAreLeftOut) {
  const std::pair<const char *, const char *> cases[] = {
      {"main", "main"},
      {"a::b(int, char)", "a::b"},
      {"void a::b<int>(int) const", "a::b<int>"},
      {"std::map<int, std::pair<a, b> > f<int>(x (*)(int))", "f<int>"},
      {"(anonymous namespace)::f(int)", "(anonymous namespace)::f"},
      {"(anonymous namespace)::value", "(anonymous namespace)::value"},
      {"main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()"},
      {"a::operator()", "a::operator()"},
      {"operator new(unsigned long)", "operator new"},
      {"operator new[](unsigned long)", "operator new[]"},
      {"std::ostream& operator<< <char>(std::ostream&, char)", "operator<< <char>"},
      {"bool a::operator<(a const&) const", "a::operator<"},
      {"a::operator bool() const", "a::operator bool"},
      {"a::b(int) [clone .cold]", "a::b"},
      {"a::b[abi:cxx11](int) &&", "a::b[abi:cxx11]"},
      {"auto f()::{lambda()#1}::operator()() const", "f()::{lambda()#1}::operator()"},
      {")", ")"},
      {"(((", "((("},
      {"", ""},
  };
  for (const auto &[in, out] : cases) EXPECT_EQ(without_signature(in), out) << in;
}

TEST(ProfileNames, TemplateArgumentsCanBeLeftOut) {
  const std::pair<const char *, const char *> cases[] = {
      {"a::b<int, c<d> >::e", "a::b<...>::e"},
      {"a<b<c>>", "a<...>"},
      {"f<a>(b)::g<c>", "f<...>(b)::g<...>"},
      {"a::operator<", "a::operator<"},
      {"a::operator<< <char>", "a::operator<< <...>"},
      {"a<int>::operator->", "a<...>::operator->"},
      {"a::operator>>", "a::operator>>"},
      {"main::<lambda(int)>::operator()", "main::<lambda>::operator()"},
      {"plain", "plain"},
      {"a<b", "a<b"},
      {"a>b", "a>b"},
      {"", ""},
  };
  for (const auto &[in, out] : cases) EXPECT_EQ(without_template_arguments(in), out) << in;
}

TEST(ProfileNames, OnlyMangledNamesAreDemangled) {
  EXPECT_EQ(function_name("_ZN1a1bEi"), "a::b");
  EXPECT_EQ(function_name("pthread_cond_wait"), "pthread_cond_wait");
  EXPECT_EQ(function_name("_Znwm"), "operator new");
  EXPECT_EQ(function_name("_Zgarbage"), "_Zgarbage");
  EXPECT_EQ(function_name("_Z" + std::string(100000, 'N')).size(), 100002u);
}

WaitKind refined(std::initializer_list<std::string_view> functions) {
  return refine_wait(WaitKind::futex, std::vector(functions));
}

TEST(ProfileNames, WaitsFollowTheInnermostFunctionThatTells) {
  EXPECT_EQ(refined({"__futex_abstimed_wait_common", "___pthread_cond_wait", "f"}), WaitKind::cond);
  EXPECT_EQ(refined({"__lll_lock_wait", "__pthread_mutex_cond_lock", "___pthread_cond_wait"}), WaitKind::mutex);
  EXPECT_EQ(refined({"__lll_lock_wait", "___pthread_mutex_lock", "f"}), WaitKind::mutex);
  EXPECT_EQ(refined({"__lll_lock_wait_private", "_IO_puts"}), WaitKind::futex) << "a stdio lock is no mutex";
  EXPECT_EQ(refined({"do_futex_wait", "__new_sem_wait_slow64", "f"}), WaitKind::sem);
  EXPECT_EQ(refined({"pthread_barrier_wait"}), WaitKind::barrier);
  EXPECT_EQ(refined({"__pthread_rwlock_rdlock_full64"}), WaitKind::rwlock);
  EXPECT_EQ(refined({"__pthread_once_slow"}), WaitKind::once);
  EXPECT_EQ(refined({"__pthread_clockjoin_ex", "std::thread::join"}), WaitKind::join);
  EXPECT_EQ(refined({"libc.so.6+0x85e1e", "std::thread::join"}), WaitKind::join);
  EXPECT_EQ(refined({"__cxa_guard_acquire", "f"}), WaitKind::once);
  EXPECT_EQ(refined({"std::__atomic_wait_address", "f"}), WaitKind::futex);
  EXPECT_EQ(refined({"___", ""}), WaitKind::futex);
  const std::vector<std::string_view> mutex = {"pthread_mutex_lock"};
  EXPECT_EQ(refine_wait(WaitKind::sem, mutex), WaitKind::sem) << "the runtime knew";
  EXPECT_EQ(refine_wait(WaitKind::none, mutex), WaitKind::none);
}

TEST(ProfileNames, StatesOfThreads) {
  ThreadRecord thread = {};
  thread.system_call = -1;
  EXPECT_EQ(thread_state(thread, WaitKind::none, Machine::x86_64), "running");
  thread.system_call = SYS_epoll_pwait;
#if defined(__x86_64__)
  EXPECT_EQ(thread_state(thread, WaitKind::none, Machine::x86_64), "epoll_wait");
  EXPECT_EQ(thread_state(thread, WaitKind::none, Machine::aarch64), "system call 281");
#endif
  thread.flags = kThreadWaiter;
  EXPECT_EQ(thread_state(thread, WaitKind::cond, Machine::x86_64), "cond wait");
}

TEST(ProfileNames, RuntimeFrames) {
  EXPECT_TRUE(is_runtime_frame("f", "/lib/x86_64-linux-gnu/libc.so.6"));
  EXPECT_TRUE(is_runtime_frame("f", "/lib/x86_64-linux-gnu/libc-2.31.so"));
  EXPECT_TRUE(is_runtime_frame("f", "/usr/lib/libstdc++.so.6.0.30"));
  EXPECT_TRUE(is_runtime_frame("std::thread::thread<f>", "/bin/server"));
  EXPECT_TRUE(is_runtime_frame("malloc", "/usr/lib/libjemalloc.so.2"));
  EXPECT_TRUE(is_runtime_frame("hook", "/opt/lib/libcastaway.so"));
  EXPECT_FALSE(is_runtime_frame("f", "/usr/lib/libcurl.so.4"));
  EXPECT_FALSE(is_runtime_frame("f", "/usr/lib/libc-client.so.2007e"));
  EXPECT_FALSE(is_runtime_frame("stdlib::f", "/bin/server"));
  EXPECT_TRUE(is_allocation_function("__libc_malloc"));
  EXPECT_TRUE(is_allocation_function("operator new[]"));
  EXPECT_FALSE(is_allocation_function("strdup"));
  EXPECT_FALSE(is_allocation_function("mallocate"));
}

TEST(ProfileNames, NumbersForPeople) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1258291), "1.2 MiB");
  EXPECT_EQ(human_bytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(INT64_MAX), "8.0 EiB");
  EXPECT_EQ(human_bytes(-2048), "-2.0 KiB");
  EXPECT_EQ(human_age(0), "0s");
  EXPECT_EQ(human_age(192), "3m12s");
  EXPECT_EQ(human_age(18120), "5h02m");
  EXPECT_EQ(human_age(3 * 86400 + 4 * 3600), "3d04h");
  EXPECT_EQ(human_age(-1), "0s");
  EXPECT_EQ(printable("a\033[31mb\n\t\x7f"), "a\\x1b[31mb\\x0a\\x09\\x7f");
  EXPECT_EQ(printable("ümlaut"), "ümlaut");
}

TEST(ProfileNames, TotalsAsTextAndBack) {
  const auto totals = parse_totals(totals_text({3, 4096, 2, 64}));
  EXPECT_EQ(totals.threads, 3);
  EXPECT_EQ(totals.retained_bytes, 4096);
  EXPECT_EQ(totals.objects, 2);
  EXPECT_EQ(totals.bytes, 64);
  EXPECT_FALSE(parse_totals("").any());
  EXPECT_EQ(parse_totals("99999999999999999999999 threads").threads, 0);
}

} // namespace
} // namespace castaway
