// The unwinder against two others that know nothing of it: libunwind on live stacks (every pc must agree, at every
// single instruction of a call that goes through lazy binding too), libdw on the rules of all modules of this process.
// And against hostile input: cut stacks, random registers, damaged tables, each behind guard pages, so that a read
// outside is a crash.
#define UNW_LOCAL_ONLY // libunwind: this process only

#include "runtime/cfi.h"
#include "runtime/unwind.h"

#include <algorithm>
#include <alloca.h>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <libelf.h>
#include <libunwind.h>
#include <link.h>
#include <memory>
#include <pthread.h>
#include <random>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#ifdef __clang__
#define CASTAWAY_NOT_OPTIMIZED [[gnu::noinline, clang::optnone]]
#define CASTAWAY_NO_FRAME_POINTER [[gnu::noinline]]
#define CASTAWAY_FRAME_POINTER [[gnu::noinline]]
#else
#define CASTAWAY_NOT_OPTIMIZED [[gnu::noinline, gnu::optimize("O0")]]
#define CASTAWAY_NO_FRAME_POINTER                                                                                      \
  [[gnu::noinline, gnu::optimize("O2", "omit-frame-pointer", "no-optimize-sibling-calls")]]
#define CASTAWAY_FRAME_POINTER                                                                                         \
  [[gnu::noinline, gnu::optimize("O2", "no-omit-frame-pointer", "no-optimize-sibling-calls")]]
#endif

// A module that tests make up; everything else is glibc's answer. The executable's definition goes before glibc's.
static dl_find_object g_made_up_module{};

extern "C" [[gnu::visibility("default")]] int _dl_find_object(void *pc, dl_find_object *result) noexcept {
  using Function = int(void *, dl_find_object *);
  static auto real = reinterpret_cast<Function *>(dlsym(RTLD_NEXT, "_dl_find_object"));
  if (pc < g_made_up_module.dlfo_map_start || pc >= g_made_up_module.dlfo_map_end) return real(pc, result);
  *result = g_made_up_module;
  return 0;
}

namespace castaway {
namespace {

using Pcs = std::vector<uintptr_t>;

constexpr size_t kMost = 512;

Range own_stack() {
  pthread_attr_t attributes;
  void *address = nullptr;
  size_t size = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &address, &size);
  pthread_attr_destroy(&attributes);
  return {reinterpret_cast<uintptr_t>(address), reinterpret_cast<uintptr_t>(address) + size};
}

// libunwind numbers registers as DWARF does.
FrameRegisters registers_of(unw_cursor_t &cursor) {
  FrameRegisters registers;
  for (size_t i = 0; i < kFrameRegisters; ++i) {
    unw_word_t value = 0;
    unw_get_reg(&cursor, int(i), &value);
    registers.value[i] = value;
  }
  return registers;
}

size_t their_unwind(unw_cursor_t cursor, uintptr_t *pcs, size_t most) {
  size_t count = 0;
  do {
    unw_word_t pc = 0;
    unw_get_reg(&cursor, UNW_REG_IP, &pc);
    if (pc == 0) break;
    pcs[count++] = pc;
  } while (count < most && unw_step(&cursor) > 0);
  return count;
}

std::atomic<size_t> g_pcs_agreed{0};

struct Both {
  Pcs theirs, ours, warm, again;
};

struct Remembered {
  LastStack last{};
  FrameRoom room{};

  Remembered() { last.frames = room.column(3); }
  size_t unwind(FrameRegisters &registers, Range stack, uintptr_t *pcs, size_t most, bool &same) {
    return unwind_again(registers, stack, last, last, room.column(7), pcs, most, same);
  }
};

// With what the last call on this thread has left, of whatever stack that was. forget_frames() would make it void each
// time, so its generation is brought up to date.
Pcs unwind_again(FrameRegisters registers, Range stack) {
  static thread_local Remembered last, none;
  Pcs pcs(LastStack::kMostFrames);
  bool same = false;
  none.last.count = 0;
  FrameRegisters copy = registers;
  none.unwind(copy, stack, pcs.data(), pcs.size(), same);
  EXPECT_FALSE(same);
  last.last.generation = none.last.generation;
  pcs.resize(last.unwind(registers, stack, pcs.data(), pcs.size(), same));
  return pcs;
}

Pcs first_of(Pcs pcs) { return pcs.resize(std::min(pcs.size(), LastStack::kMostFrames)), pcs; }

Both unwind_both(unw_cursor_t &cursor, Range stack) {
  Both both{Pcs(kMost), Pcs(kMost), Pcs(kMost), {}};
  both.theirs.resize(their_unwind(cursor, both.theirs.data(), kMost));
  FrameRegisters registers = registers_of(cursor);
  forget_frames();
  both.ours.resize(unwind(registers, stack, both.ours.data(), kMost));
  both.warm.resize(unwind(registers, stack, both.warm.data(), kMost));
  both.again = unwind_again(registers, stack);
  return both;
}

std::string name_of(uintptr_t pc) {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<void *>(pc), &info)) return "?";
  char text[64];
  snprintf(text, sizeof text, "+%#lx", pc - reinterpret_cast<uintptr_t>(info.dli_fbase));
  return std::string(info.dli_fname) + text + " " + (info.dli_sname ? info.dli_sname : "?");
}

std::string names_of(const Pcs &pcs) {
  std::string text = "\n";
  for (uintptr_t pc : pcs) text += name_of(pc) + "\n";
  return text;
}

// The leaf of every situation below. Gives the number of frames.
[[gnu::noinline]] size_t compare_here() {
  unw_context_t context;
  unw_getcontext(&context);
  unw_cursor_t cursor;
  unw_init_local(&cursor, &context);
  Both both = unwind_both(cursor, own_stack());
  EXPECT_EQ(both.theirs, both.ours) << names_of(both.theirs) << names_of(both.ours);
  EXPECT_EQ(both.ours, both.warm);
  EXPECT_EQ(first_of(both.ours), both.again) << names_of(both.again);

  FrameRegisters registers;
  read_own_registers(registers);
  Pcs own(kMost);
  own.resize(unwind(registers, own_stack(), own.data(), kMost));
  EXPECT_EQ(own.size(), both.theirs.size());
  if (!own.empty() && !both.theirs.empty()) own[0] = both.theirs[0]; // two places in this function
  EXPECT_EQ(own, both.theirs);
  if (both.theirs == both.ours) g_pcs_agreed += both.theirs.size();
  return both.theirs.size();
}

// --- live stacks -----------------------------------------------------------------------------------------------------

volatile int g_sink = 0; // keeps frames from becoming tail calls

CASTAWAY_NOT_OPTIMIZED size_t recurse_plain(int depth) {
  size_t frames = depth == 0 ? compare_here() : recurse_plain(depth - 1);
  g_sink = depth;
  return frames;
}
CASTAWAY_NO_FRAME_POINTER size_t recurse_without(int depth) {
  size_t frames = depth == 0 ? compare_here() : recurse_without(depth - 1);
  g_sink = depth;
  return frames;
}
CASTAWAY_FRAME_POINTER size_t recurse_with(int depth) {
  size_t frames = depth == 0 ? compare_here() : recurse_with(depth - 1);
  g_sink = depth;
  return frames;
}

// Walks from function to function, each with a frame of its own kind, and compares at every leaf: stacks that have more
// or less in common with the one before, at the same addresses too.
size_t walk_on(std::mt19937 &random, int depth);
template <size_t kBytes> CASTAWAY_NO_FRAME_POINTER size_t walk_without(std::mt19937 &random, int depth) {
  volatile char bytes[kBytes] = {};
  size_t frames = walk_on(random, depth);
  g_sink = depth + bytes[0];
  return frames;
}
template <size_t kBytes> CASTAWAY_FRAME_POINTER size_t walk_with(std::mt19937 &random, int depth) {
  auto *bytes = static_cast<volatile char *>(alloca(kBytes + random() % 3 * 16));
  bytes[0] = 0;
  size_t frames = walk_on(random, depth) + walk_on(random, depth + 2);
  g_sink = depth + bytes[0];
  return frames;
}
CASTAWAY_NO_FRAME_POINTER size_t walk_on(std::mt19937 &random, int depth) {
  if (depth > 14) return compare_here();
  size_t frames = 0;
  for (unsigned kind = random() % 6, times = random() % 3 + (depth < 4); times > 0; --times, kind = random() % 6) {
    if (kind == 0) frames += walk_without<8>(random, depth + 1);
    if (kind == 1) frames += walk_without<40>(random, depth + 1);
    if (kind == 2) frames += walk_without<41>(random, depth + 2);
    if (kind == 3) frames += walk_with<16>(random, depth + 1);
    if (kind == 4) frames += walk_with<32>(random, depth + 2);
    if (kind == 5) frames += compare_here();
  }
  g_sink = depth;
  return frames;
}

TEST(LiveStack, OnesThatResembleEachOther) {
  std::mt19937 random(1);
  size_t frames = 0;
  for (int i = 0; i < 300 && !HasFailure(); ++i) frames += walk_on(random, 4);
  printf("%zu frames\n", frames);
  EXPECT_GT(frames, 10'000u);
}

struct Found {
  Remembered kept;
  bool again[3] = {};
  volatile size_t times = 3; // not unrolled
};

bool is_last(const LastStack &last, const Place &place) {
  return is_last_stack(last, index_of_frame(last, place.sp), place);
}

// The last stack is known from `place`, and from no other.
void expect_only(LastStack &last, Place place) {
  EXPECT_TRUE(is_last(last, place));
  EXPECT_FALSE(is_last(last, {place.pc + 1, place.sp, place.frame_pointer}));
  EXPECT_FALSE(is_last(last, {place.pc, place.sp + 16, place.frame_pointer}));
  ASSERT_EQ(last.frames[1].sp, place.sp);
  uintptr_t link = last.frames[1].link;
  Place other{place.pc, place.sp, place.frame_pointer + 16};
  EXPECT_EQ(is_last(last, other), (link & 1) == 0);
  last.frames[1].link |= 1;
  EXPECT_FALSE(is_last(last, other));
  last.frames[1].link = link;
}

// As a hook does it: what calls it is found to be the last stack, or not, before it is unwound.
[[gnu::noinline]] bool record_here(Remembered &kept) {
  bool found = is_last(kept.last, place_of_caller());
  FrameRegisters registers;
  read_own_registers(registers);
  Pcs pcs(LastStack::kMostFrames);
  bool same;
  kept.unwind(registers, own_stack(), pcs.data(), pcs.size(), same);
  if (kept.last.count != 0) expect_only(kept.last, place_of_caller());
  return found;
}
CASTAWAY_NO_FRAME_POINTER void record_thrice(Found &found) {
  for (size_t i = 0, times = found.times; i < times; ++i) found.again[i] = record_here(found.kept);
  g_sink = found.again[2];
}
CASTAWAY_FRAME_POINTER void record_from_one(Found &found) {
  record_thrice(found);
  g_sink = 1;
}
CASTAWAY_FRAME_POINTER void record_from_other(Found &found) {
  record_thrice(found);
  g_sink = 2;
}

TEST(LiveStack, TheLastOneIsKnownAgainOnlyFromTheSameCallers) {
  Found found;
  volatile int rounds = 3; // not unrolled: each line has one return address
  for (int round = 0; round < rounds; ++round) {
    record_from_one(found);
    EXPECT_FALSE(found.again[0]) << "another line of this loop called last";
    EXPECT_TRUE(found.again[2]); // the first one ever has only left rules
    record_from_other(found);    // the same place on the stack, and the same calls from there
    EXPECT_FALSE(found.again[0]);
    EXPECT_TRUE(found.again[2]);
  }
  for (int round = 0; round < rounds; ++round) {
    if (round == 2) forget_frames(); // a module may be another
    record_from_one(found);
    EXPECT_EQ(found.again[0], round == 1);
  }
}

void keep(void *address) { asm volatile("" ::"r"(address) : "memory"); }

void compare_from(const FrameRegisters &registers) {
  Pcs pcs(LastStack::kMostFrames);
  pcs.resize(unwind(registers, own_stack(), pcs.data(), pcs.size()));
  EXPECT_EQ(pcs, unwind_again(registers, own_stack())) << names_of(pcs);
}
CASTAWAY_NO_FRAME_POINTER void compare_below(int value) {
#if defined(__x86_64__) && !defined(__clang__)
  asm volatile("" ::: "rbp"); // so that it saves the frame pointer
#endif
  FrameRegisters registers;
  read_own_registers(registers);
  compare_from(registers);
  g_sink = value;
}
CASTAWAY_FRAME_POINTER void inner(size_t bytes, bool below) {
  keep(alloca(bytes));
  if (below) {
    compare_below(1);
    g_sink = 1;
    return;
  }
  FrameRegisters registers;
  read_own_registers(registers);
  compare_from(registers);
}
template <int kNumber> CASTAWAY_FRAME_POINTER void outer(size_t bytes, size_t others, bool below) {
  keep(alloca(bytes));
  inner(others, below);
  g_sink = kNumber;
}

// At the bottom the same place and stack pointer, and above it frames elsewhere: the words where they were are still
// there, since nobody has written over them. Only the frame pointer tells.
TEST(LiveStack, OnesThatDifferInTheFramePointerOnly) {
  for (bool below : {false, true})
    for (size_t i = 0; i < 6; ++i) {
      auto *volatile function = i % 2 ? outer<1> : outer<0>;
      size_t bytes = i % 2 ? 512 : 1024; // farther apart than what the functions have of their own
      function(bytes, 2048 - bytes, below);
    }
}

TEST(LiveStack, DeepRecursion) {
  EXPECT_GT(recurse_plain(200), 200u);
  EXPECT_GT(recurse_without(200), 200u);
  EXPECT_GT(recurse_with(200), 200u);
}

TEST(LiveStack, ThroughLibcAndTheStandardLibrary) {
  int numbers[] = {3, 1, 2};
  qsort(numbers, 3, sizeof(int), [](const void *a, const void *b) {
    compare_here();
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
  });
  std::vector<int> many(40);
  for (size_t i = 0; i < many.size(); ++i) many[i] = int(i * 7 % 40);
  std::function<bool(int, int)> less = [](int a, int b) { return compare_here() > 0 && a < b; };
  std::sort(many.begin(), many.end(), less);
  EXPECT_TRUE(std::is_sorted(many.begin(), many.end()));
}

[[gnu::noinline]] size_t with_alloca(size_t size) {
  auto block = static_cast<volatile char *>(alloca(size));
  block[0] = 1;
  size_t frames = compare_here();
  return frames + block[0];
}
[[gnu::noinline]] size_t with_aligned_local(size_t size) {
  alignas(64) volatile char aligned[128] = {};
  size_t frames = with_alloca(size);
  return frames + aligned[size % 128];
}
// Realigned and of variable size: needs a register of its own for the arguments (DRAP).
[[gnu::noinline]] size_t with_both(size_t size, long, long, long, long, long, long seventh) {
  alignas(128) volatile char aligned[256] = {};
  auto block = static_cast<volatile char *>(alloca(size));
  block[0] = char(seventh);
  size_t frames = with_aligned_local(size);
  return frames + aligned[size % 256] + block[0];
}

TEST(LiveStack, FramesOfVariableSizeAndAlignment) {
  for (size_t size : {1, 17, 100, 5000}) EXPECT_GT(with_both(size, 0, 0, 0, 0, 0, 1), 5u);
}

#ifdef __x86_64__
// A function that ends with a call, as before a noreturn function; what follows is described as another, wrongly for
// this frame: the row must be the call's.
extern "C" void castaway_test_ends_with_call(void (*function)());
asm(R"(
  .pushsection .text
  .type castaway_test_ends_with_call, @function
castaway_test_ends_with_call:
  .cfi_startproc
  subq $24, %rsp
  .cfi_adjust_cfa_offset 24
  call *%rdi
  .cfi_endproc
  .cfi_startproc
  addq $24, %rsp
  ret
  .cfi_endproc
  .size castaway_test_ends_with_call, .-castaway_test_ends_with_call
  .popsection
)");

TEST(LiveStack, CallAtTheEndOfAFunction) {
  static size_t frames;
  castaway_test_ends_with_call([] { frames = compare_here(); });
  EXPECT_GT(frames, 6u);
}
#endif

TEST(LiveStack, ThreadEndsCleanly) {
  size_t frames = 0;
  std::thread([&] { frames = recurse_without(10); }).join();
  EXPECT_GT(frames, 13u);
}

// All share one table, whose entries each of them keeps throwing away (unwind_both forgets).
TEST(LiveStack, ManyThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      for (int repeat = 0; repeat < 50; ++repeat)
        EXPECT_GT(recurse_without(20) + recurse_with(20) + with_both(100, 0, 0, 0, 0, 0, 1), 45u);
    });
  for (std::thread &thread : threads) thread.join();
}

TEST(LiveStack, KeepsErrno) {
  errno = 12345;
  FrameRegisters registers;
  uintptr_t pcs[64];
  forget_frames();
  read_own_registers(registers);
  unwind(registers, {registers.sp(), registers.sp() + 4096}, pcs, 64);
  EXPECT_EQ(errno, 12345);
}

// --- signals ---------------------------------------------------------------------------------------------------------

void install(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigaction(signal, &action, nullptr);
}

TEST(Signals, FramesBelowTheHandler) {
  static size_t frames;
  install(
      SIGUSR1, [](int, siginfo_t *, void *) { frames = recurse_without(3); }, 0);
  raise(SIGUSR1);
  EXPECT_GT(frames, 8u);
}

TEST(Signals, AlternateStackEndsWithTheInterruptedPc) {
  static std::array<char, 1 << 18> memory;
  static size_t theirs_count, ours_count;
  static Both both;
  stack_t alternate{.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()}, before;
  sigaltstack(&alternate, &before);
  install(
      SIGUSR2,
      [](int, siginfo_t *, void *) {
        unw_context_t context;
        unw_getcontext(&context);
        unw_cursor_t cursor;
        unw_init_local(&cursor, &context);
        auto begin = reinterpret_cast<uintptr_t>(memory.data());
        both = unwind_both(cursor, {begin, begin + memory.size()});
      },
      SA_ONSTACK);
  raise(SIGUSR2);
  sigaltstack(&before, nullptr);
  theirs_count = both.theirs.size(), ours_count = both.ours.size();
  EXPECT_EQ(both.ours, both.warm);
  EXPECT_EQ(both.ours, both.again);
  ASSERT_GE(ours_count, 3u); // handler, __restore_rt, where raise() was
  ASSERT_LT(ours_count, theirs_count);
  EXPECT_TRUE(std::equal(both.ours.begin(), both.ours.end(), both.theirs.begin()));
}

// At every instruction of a call: the processor's trap flag brings a signal after each.
struct SingleStep {
  size_t instructions = 0, pcs = 0, disagreed = 0, last_again = 0, falsely_last = 0;
  uintptr_t theirs[kMost], ours[kMost], again[kMost], from_handler[kMost], first_disagreed = 0;
  Remembered kept;
  Range stack;
} g_single;

// Whether the stack from the caller on is that of the instruction before; then libunwind must say so too.
void look_at_callers(unw_cursor_t cursor) {
  if (unw_step(&cursor) <= 0) return;
  FrameRegisters caller = registers_of(cursor);
  if (!is_last(g_single.kept.last, {caller.pc(), caller.sp(), caller.value[kFrameRegister]})) return;
  ++g_single.last_again;
  uintptr_t now[kMost];
  size_t count = their_unwind(cursor, now, kMost), before = g_single.kept.last.count;
  bool equal = count < before;
  for (size_t i = 0; equal && i < count; ++i) equal = g_single.kept.last.frames[before - count + i].pc == now[i];
  g_single.falsely_last += !equal;
}

void on_trap(int, siginfo_t *, void *context) {
  unw_cursor_t cursor;
  unw_init_local2(&cursor, static_cast<ucontext_t *>(context), UNW_INIT_SIGNAL_FRAME);
  size_t theirs = their_unwind(cursor, g_single.theirs, kMost);
  size_t ours = unwind(registers_of(cursor), g_single.stack, g_single.ours, kMost);
  bool same;
  look_at_callers(cursor);
  FrameRegisters copy = registers_of(cursor);
  size_t again = g_single.kept.unwind(copy, g_single.stack, g_single.again, kMost, same);
  // The same from inside the handler, through the signal frame: this function, __restore_rt, then as above.
  FrameRegisters registers;
  read_own_registers(registers);
  size_t own = unwind(registers, g_single.stack, g_single.from_handler, kMost);
  ++g_single.instructions;
  size_t bytes = theirs * sizeof(uintptr_t);
  if (theirs == ours && theirs == again && theirs + 2 == own && memcmp(g_single.theirs, g_single.ours, bytes) == 0 &&
      memcmp(g_single.theirs, g_single.again, bytes) == 0 &&
      memcmp(g_single.theirs, g_single.from_handler + 2, bytes) == 0) {
    g_single.pcs += ours;
  } else if (g_single.disagreed++ == 0) {
    g_single.first_disagreed = g_single.ours[0];
  }
}

#ifdef __x86_64__
// Functions of their own, with rules for each instruction: the stack pointer moves while steps are taken.
asm(R"(.pushsection .text
start_single_steps:
  .cfi_startproc
  pushfq
  .cfi_adjust_cfa_offset 8
  orq $0x100, (%rsp)
  popfq
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
stop_single_steps:
  .cfi_startproc
  pushfq
  .cfi_adjust_cfa_offset 8
  andq $~0x100, (%rsp)
  popfq
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
.popsection)");
extern "C" void start_single_steps();
extern "C" void stop_single_steps();

template <class F> void single_step(F function) {
  g_single = {};
  g_single.stack = own_stack();
  install(SIGTRAP, on_trap, 0);
  start_single_steps();
  function();
  stop_single_steps();
  signal(SIGTRAP, SIG_DFL);
  printf("%zu instructions\n", g_single.instructions);
  EXPECT_EQ(g_single.disagreed, 0u) << "of " << g_single.instructions << ", first at "
                                    << name_of(g_single.first_disagreed);
  EXPECT_EQ(g_single.falsely_last, 0u);
  g_pcs_agreed += g_single.pcs;
}

TEST(SingleStep, SortAndPrint) {
  single_step([] {
    int numbers[] = {3, 1, 2, 9, 4, 7};
    qsort(numbers, 6, sizeof(int),
          [](const void *a, const void *b) { return *static_cast<const int *>(a) - *static_cast<const int *>(b); });
    char text[100];
    snprintf(text, sizeof text, "%d %s %f", numbers[0], "text", 1.5);
    std::function<size_t(size_t)> fill = [&](size_t n) { return std::string(n, 'x').size(); };
    g_sink = int(fill(100));
  });
  EXPECT_GT(g_single.instructions, 1000u);
  EXPECT_GT(g_single.last_again, g_single.instructions / 4);
}

// Through PLT entries, the loader's lazy resolver and its symbol lookup: libc's functions, first called here. Lazy
// unless the test was linked with -z now.
TEST(SingleStep, FirstCallsThroughTheProcedureLinkageTable) {
  single_step([] {
    char text[] = "b,a";
    g_sink = int(strtoull("77", nullptr, 10)) + (strpbrk(text, ",") != nullptr) + int(strcspn(text, "a"));
    g_sink = int(lrand48()) + getpagesize() + int(ffsll(16));
  });
  EXPECT_GT(g_single.instructions, 100u);
}
#endif

// --- a module made up by the tests
// ------------------------------------------------------------------------------------

// .eh_frame_hdr with one entry, .eh_frame with one CIE and one FDE, then the code they describe (never run).
struct MadeUpModule {
  static constexpr int kCode = 128;
  struct [[gnu::packed]] {
    uint8_t header[4] = {1, 0x1b, 0x03, 0x3b};
    int32_t frames = 4 + 12;
    uint32_t count = 1;
    int32_t code_distance = kCode, fde_distance = 44;
    // CIE: version 1, "zR", factors 1 and -8, return address 16, pcrel sdata4; CFA = rsp + 8, rip at CFA - 8.
    uint32_t cie_length = 20, cie_id = 0;
    uint8_t cie[16] = {1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1};
    // FDE: the test's instructions.
    uint32_t fde_length = 28, back = 28;
    int32_t begin = kCode - 52;
    uint32_t size = 64;
    uint8_t no_augmentation = 0;
    uint8_t instructions[15] = {};
    uint8_t rest[kCode + 64 - 76];
  } bytes{};

  uintptr_t code() const { return reinterpret_cast<uintptr_t>(&bytes) + kCode; }
  void set_instructions(const std::vector<uint8_t> &instructions) {
    memset(bytes.instructions, 0, sizeof bytes.instructions);
    std::copy(instructions.begin(), instructions.end(), bytes.instructions);
  }
  // From here on _dl_find_object answers with this module for pcs in it.
  void load() {
    g_made_up_module.dlfo_map_start = g_made_up_module.dlfo_eh_frame = this;
    g_made_up_module.dlfo_map_end = this + 1;
  }
  static void unload() { g_made_up_module = {}; }
};

// --- cut stacks, garbage, damaged tables -----------------------------------------------------------------------------

// Readable memory between two pages that are not.
class Guarded {
public:
  explicit Guarded(size_t size) : size_((size + kPage - 1) / kPage * kPage) {
    base_ = static_cast<char *>(mmap(nullptr, size_ + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + kPage, size_, PROT_READ | PROT_WRITE);
  }
  ~Guarded() { munmap(base_, size_ + 2 * kPage); }
  Guarded(const Guarded &) = delete;
  Range range() const {
    return {reinterpret_cast<uintptr_t>(base_ + kPage), reinterpret_cast<uintptr_t>(base_ + kPage) + size_};
  }

private:
  static constexpr size_t kPage = 4096;
  size_t size_;
  char *base_;
};

// A copy of `size` bytes at the upper end of `target`; words that point into the original are moved along.
FrameRegisters move_stack(FrameRegisters registers, Range original, size_t size, Range target) {
  uintptr_t begin = target.end - size, shift = begin - original.begin;
  memcpy(reinterpret_cast<void *>(begin), reinterpret_cast<void *>(original.begin), size);
  auto move = [&](uintptr_t word) { return word >= original.begin && word <= original.end ? word + shift : word; };
  for (size_t i = 0; i + 8 <= size; i += 8) {
    uintptr_t word;
    memcpy(&word, reinterpret_cast<void *>(begin + i), 8);
    word = move(word);
    memcpy(reinterpret_cast<void *>(begin + i), &word, 8);
  }
  for (uintptr_t &value : registers.value) value = move(value);
  return registers;
}

struct Held {
  FrameRegisters registers;
  Range stack;
} g_held;

[[gnu::noinline]] size_t check_cuts(int depth) {
  if (depth > 0) {
    alignas(64) volatile char local[64] = {};
    size_t checked = check_cuts(depth - 1);
    return checked + local[depth % 64];
  }
  read_own_registers(g_held.registers);
  g_held.stack = {g_held.registers.sp(), own_stack().end};
  Pcs whole(kMost);
  whole.resize(unwind(g_held.registers, g_held.stack, whole.data(), kMost));
  EXPECT_GT(whole.size(), 20u);
  size_t limit = std::min<size_t>(g_held.stack.size(), 32'000), longest = 0;
  Guarded buffer(32 << 10);
  for (size_t size = 0; size <= limit; size += size < 4096 ? 1 : 7) {
    FrameRegisters moved = move_stack(g_held.registers, g_held.stack, size, buffer.range());
    Pcs cut(kMost);
    cut.resize(unwind(moved, {buffer.range().end - size, buffer.range().end}, cut.data(), kMost));
    EXPECT_TRUE(cut.size() <= whole.size() && std::equal(cut.begin(), cut.end(), whole.begin())) << size;
    EXPECT_GE(cut.size(), longest) << size;
    longest = cut.size();
  }
  EXPECT_GT(longest, 10u);
  return longest;
}

TEST(Hostile, StackCutAtEverySize) { EXPECT_GT(check_cuts(20), 10u); }

// The first pc of every FDE of a module, as its .eh_frame_hdr lists them.
Pcs function_starts(const Module &module) {
  const auto *header = reinterpret_cast<const unsigned char *>(module.header);
  uint32_t count;
  memcpy(&count, header + 8, 4);
  Pcs starts;
  for (uint32_t i = 0; i < count; ++i) {
    int32_t distance;
    memcpy(&distance, header + 12 + 8 * i, 4);
    starts.push_back(module.header + uintptr_t(intptr_t(distance)));
  }
  return starts;
}

Module libc_module() { return find_module(reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "qsort"))).value(); }

// Pointers into itself, code addresses and small numbers.
void fill_plausibly(Range memory, const Pcs &code, std::mt19937_64 &random) {
  for (uintptr_t at = memory.begin; at + 8 <= memory.end; at += 8) {
    uint64_t value = random();
    switch (random() % 4) {
    case 0:
      value = memory.begin + value % (memory.size() + 64) / 8 * 8;
      break;
    case 1:
      value = code[value % code.size()] + value % 64;
      break;
    case 2:
      value = at + value % 256 / 8 * 8;
      break;
    }
    memcpy(reinterpret_cast<void *>(at), &value, 8);
  }
}

TEST(Hostile, RandomRegisters) {
  std::mt19937_64 random(1);
  Guarded buffer(64 << 10);
  Pcs code = function_starts(libc_module());
  fill_plausibly(buffer.range(), code, random);
  size_t frames = 0;
  for (int i = 0; i < 100'000; ++i) {
    FrameRegisters registers;
    for (uintptr_t &value : registers.value)
      value = random() % 4 == 0 ? random() : buffer.range().begin + random() % buffer.range().size();
    if (random() % 8 != 0) registers.value[kPcRegister] = code[random() % code.size()] + random() % 200;
    uintptr_t cold[64], warm[64];
    if (i % 16 == 0) forget_frames();
    size_t count = unwind(registers, buffer.range(), cold, 64);
    ASSERT_EQ(count, unwind(registers, buffer.range(), warm, 64));
    ASSERT_EQ(0, memcmp(cold, warm, count * sizeof(uintptr_t)));
    frames += count;
  }
  EXPECT_GT(frames, 150'000u);
}

// libc's tables, copied and then damaged. They lie in one segment; the copy is told to be all that there is.
struct TableCopy {
  Guarded buffer;
  Module module;
  Pcs starts;
  size_t header_offset = 0;

  explicit TableCopy(const Module &original, Range segment) : buffer(segment.size()) {
    uintptr_t begin = buffer.range().begin;
    memcpy(reinterpret_cast<void *>(begin), reinterpret_cast<void *>(segment.begin), segment.size());
    header_offset = original.header - segment.begin;
    module = {.mapped = buffer.range(), .bias = 0, .header = begin + header_offset};
    starts = function_starts(module);
  }
};

Range segment_of(uintptr_t address) {
  Range found;
  uintptr_t begin = 0, end = 0;
  char line[512];
  std::unique_ptr<FILE, int (*)(FILE *)> maps(fopen("/proc/self/maps", "r"), fclose);
  while (fgets(line, sizeof line, maps.get()))
    if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && address >= begin && address < end) found = {begin, end};
  return found;
}

TEST(Hostile, DamagedTables) {
  Module libc = libc_module();
  TableCopy copy(libc, segment_of(libc.header));
  std::mt19937_64 random(2);
  Guarded stack(16 << 10);
  fill_plausibly(stack.range(), copy.starts, random);
  uintptr_t first = copy.module.header, size = copy.module.mapped.end - first;
  size_t rows = 0, refused = 0;
  for (int i = 0; i < 200'000; ++i) {
    // One in three hits the header itself or its table, else some entry; restored every so often by leaving few.
    auto at = reinterpret_cast<unsigned char *>(first + random() % (i % 3 == 0 ? 64 : size));
    unsigned char before = *at;
    *at = (unsigned char)random();
    uintptr_t pc = copy.starts[random() % copy.starts.size()] + random() % 100;
    std::optional<FrameRow> row = find_row(copy.module, pc);
    row ? ++rows : ++refused;
    FrameRegisters registers;
    for (uintptr_t &value : registers.value) value = stack.range().begin + random() % stack.range().size();
    if (row) apply_row(*row, registers, stack.range());
    if (i % 3 == 0) *at = before;
  }
  EXPECT_GT(rows, 1000u);
  EXPECT_GT(refused, 1000u);
}

TEST(Hostile, HeaderWithoutTableIsWalked) {
  Module libc = libc_module();
  TableCopy copy(libc, segment_of(libc.header));
  std::vector<std::optional<FrameRow>> searched;
  for (size_t i = 0; i < copy.starts.size(); i += 50) searched.push_back(find_row(copy.module, copy.starts[i]));
  auto header = reinterpret_cast<unsigned char *>(copy.module.header);
  header[2] = header[3] = 0xff; // DW_EH_PE_omit
  for (size_t i = 0; i < searched.size(); ++i) {
    std::optional<FrameRow> walked = find_row(copy.module, copy.starts[i * 50]);
    ASSERT_TRUE(searched[i] && walked);
    EXPECT_EQ(0, memcmp(searched[i]->row.value, walked->row.value, sizeof walked->row.value));
  }
  EXPECT_GT(searched.size(), 20u);
}

// --- a module that changes -------------------------------------------------------------------------------------------

#ifdef __x86_64__
TEST(ForgetFrames, TheNewModuleAtAnOldAddressCounts) {
  static MadeUpModule module;
  module.set_instructions({0x0e, 8}); // def_cfa_offset
  module.load();
  uintptr_t words[4] = {101, 102, 103, 104}, pcs[2] = {};
  Range stack{reinterpret_cast<uintptr_t>(words), reinterpret_cast<uintptr_t>(words + 4)};
  FrameRegisters registers;
  registers.value[kPcRegister] = module.code();
  registers.value[kStackRegister] = stack.begin;
  EXPECT_EQ(2u, unwind(registers, stack, pcs, 2));
  EXPECT_EQ(101u, pcs[1]);
  module.set_instructions({0x0e, 24});
  unwind(registers, stack, pcs, 2);
  EXPECT_EQ(101u, pcs[1]) << "not remembered";
  forget_frames();
  EXPECT_EQ(2u, unwind(registers, stack, pcs, 2));
  EXPECT_EQ(103u, pcs[1]);
  module.set_instructions({0x13, 0x7c}); // def_cfa_offset_sf -4 * -8
  forget_frames();
  EXPECT_EQ(2u, unwind(registers, stack, pcs, 2));
  EXPECT_EQ(104u, pcs[1]);
  MadeUpModule::unload();
}

TEST(Hostile, InstructionsThatMakeNoSense) {
  static MadeUpModule module;
  auto has_row = [&](std::initializer_list<uint8_t> instructions) {
    module.set_instructions(instructions);
    auto begin = reinterpret_cast<uintptr_t>(&module);
    return find_row({.mapped = {begin, begin + sizeof module}, .header = begin}, module.code() + 1).has_value();
  };
  EXPECT_TRUE(has_row({}));
  EXPECT_TRUE(has_row({0x0a, 0x0a, 0x0b, 0x0b})) << "remember, restore";
  EXPECT_FALSE(has_row({0x0b})) << "restores what was not remembered";
  EXPECT_FALSE(has_row({0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a})) << "remembers without end";
  EXPECT_FALSE(has_row({0x3f})) << "unknown";
  EXPECT_FALSE(has_row({0x0d, 100})) << "CFA counted from a register that we do not have";
  EXPECT_FALSE(has_row({0x0f, 100})) << "an expression that goes beyond the entry";
  EXPECT_TRUE(has_row({0x13, 0x7f})) << "def_cfa_offset_sf";
  EXPECT_TRUE(has_row({0x42, 0x3f})) << "behind the pc nothing counts";
}

// What an expression gives; none where it must be refused. The CFA, 8 above the stack pointer, is its first operand.
std::optional<int64_t> evaluate(std::initializer_list<uint8_t> expression) {
  static MadeUpModule module;
  static uintptr_t words[2] = {0x1000, 77};
  std::vector<uint8_t> instructions = {0x16, 3, uint8_t(expression.size())}; // val_expression rbx
  instructions.insert(instructions.end(), expression);
  module.set_instructions(instructions);
  auto begin = reinterpret_cast<uintptr_t>(&module);
  std::optional<FrameRow> row =
      find_row({.mapped = {begin, begin + sizeof module}, .header = begin}, module.code() + 1);
  if (!row) return {};
  FrameRegisters registers;
  registers.value[kStackRegister] = reinterpret_cast<uintptr_t>(words);
  std::optional<FrameRegisters> after = apply_row(*row, registers, {registers.sp(), registers.sp() + sizeof words});
  if (!after) return {};
  return int64_t(after->value[3]);
}

TEST(Expressions, AllOperations) {
  EXPECT_EQ(evaluate({0x06}), 77) << "deref of the CFA";
  EXPECT_EQ(evaluate({0x94, 1}), 77) << "deref_size";
  EXPECT_EQ(evaluate({0x77, 8, 0x06}), 77) << "breg7 8, deref";
  EXPECT_EQ(evaluate({0x92, 7, 8, 0x06}), 77) << "bregx 7 8, deref";
  EXPECT_EQ(evaluate({0x08, 200}), 200);
  EXPECT_EQ(evaluate({0x09, 0xff}), -1);
  EXPECT_EQ(evaluate({0x0a, 0xff, 0xff}), 0xffff);
  EXPECT_EQ(evaluate({0x0b, 0xfe, 0xff}), -2);
  EXPECT_EQ(evaluate({0x0c, 1, 0, 0, 0x80}), 0x80000001);
  EXPECT_EQ(evaluate({0x0d, 0xfd, 0xff, 0xff, 0xff}), -3);
  EXPECT_EQ(evaluate({0x0e, 1, 2, 0, 0, 0, 0, 0, 0}), 0x201);
  EXPECT_EQ(evaluate({0x10, 0x80, 1}), 128);
  EXPECT_EQ(evaluate({0x11, 0x7f}), -1);
  EXPECT_EQ(evaluate({0x35, 0x12, 0x22}), 10) << "lit5 dup plus";
  EXPECT_EQ(evaluate({0x35, 0x33, 0x13}), 5) << "drop";
  EXPECT_EQ(evaluate({0x35, 0x33, 0x14}), 5) << "over";
  EXPECT_EQ(evaluate({0x35, 0x33, 0x31, 0x15, 2}), 5) << "pick 2";
  EXPECT_EQ(evaluate({0x35, 0x33, 0x16, 0x1c}), -2) << "swap minus";
  EXPECT_EQ(evaluate({0x31, 0x32, 0x33, 0x17}), 2) << "rot: 1 2 3 -> 3 1 2";
  EXPECT_EQ(evaluate({0x31, 0x32, 0x33, 0x17, 0x13, 0x13}), 3);
  EXPECT_EQ(evaluate({0x09, 0xfb, 0x19}), 5) << "abs";
  EXPECT_EQ(evaluate({0x36, 0x33, 0x1a}), 2) << "and";
  EXPECT_EQ(evaluate({0x09, 0xf9, 0x32, 0x1b}), -3) << "div is signed";
  EXPECT_EQ(evaluate({0x37, 0x34, 0x1d}), 3) << "mod";
  EXPECT_EQ(evaluate({0x37, 0x34, 0x1e}), 28) << "mul";
  EXPECT_EQ(evaluate({0x37, 0x1f}), -7) << "neg";
  EXPECT_EQ(evaluate({0x37, 0x20}), -8) << "not";
  EXPECT_EQ(evaluate({0x34, 0x32, 0x21}), 6) << "or";
  EXPECT_EQ(evaluate({0x34, 0x23, 0x80, 1}), 132) << "plus_uconst";
  EXPECT_EQ(evaluate({0x34, 0x32, 0x24}), 16) << "shl";
  EXPECT_EQ(evaluate({0x09, 0xff, 0x08, 63, 0x25}), 1) << "shr";
  EXPECT_EQ(evaluate({0x09, 0xf8, 0x31, 0x26}), -4) << "shra";
  EXPECT_EQ(evaluate({0x36, 0x33, 0x27}), 5) << "xor";
  EXPECT_EQ(evaluate({0x09, 0xff, 0x31, 0x2a}), 0) << "ge is signed";
  EXPECT_EQ(evaluate({0x09, 0xff, 0x31, 0x2d}), 1) << "lt is signed";
  EXPECT_EQ(evaluate({0x31, 0x31, 0x2b}), 0) << "gt";
  EXPECT_EQ(evaluate({0x31, 0x31, 0x2c}), 1) << "le";
  EXPECT_EQ(evaluate({0x31, 0x31, 0x29}), 1) << "eq";
  EXPECT_EQ(evaluate({0x31, 0x31, 0x2e}), 0) << "ne";
  EXPECT_EQ(evaluate({0x35, 0x31, 0x28, 1, 0, 0x36}), 5) << "bra over lit6";
  EXPECT_EQ(evaluate({0x35, 0x30, 0x28, 1, 0, 0x36}), 6) << "bra not taken";
  EXPECT_EQ(evaluate({0x35, 0x2f, 1, 0, 0x36, 0x96}), 5) << "skip, nop";
}

TEST(Expressions, ThatMustBeRefused) {
  EXPECT_EQ(evaluate({0x2f, 0xfd, 0xff}), std::nullopt) << "skip to itself";
  EXPECT_EQ(evaluate({0x31, 0x2f, 0xfc, 0xff}), std::nullopt) << "pushes without end";
  EXPECT_EQ(evaluate({0x13, 0x13}), std::nullopt) << "nothing to drop";
  EXPECT_EQ(evaluate({0x13}), std::nullopt) << "no result";
  EXPECT_EQ(evaluate({0x31, 0x30, 0x1b}), std::nullopt) << "divided by zero";
  EXPECT_EQ(evaluate({0x31, 0x30, 0x1d}), std::nullopt) << "modulo zero";
  EXPECT_EQ(evaluate({0x31, 0x08, 63, 0x24, 0x09, 0xff, 0x1b}), INT64_MIN) << "smallest / -1: no trap";
  EXPECT_EQ(evaluate({0x31, 0x06}), std::nullopt) << "deref outside of the stack";
  EXPECT_EQ(evaluate({0x23, 1, 0x06}), std::nullopt) << "deref over its end";
  EXPECT_EQ(evaluate({0x94, 9}), std::nullopt) << "deref of too many bytes";
  EXPECT_EQ(evaluate({0x2f, 9, 0}), std::nullopt) << "skip beyond the end";
  EXPECT_EQ(evaluate({0x15, 1}), std::nullopt) << "picks what is not there";
  EXPECT_EQ(evaluate({0x17}), std::nullopt) << "rotates what is not there";
  EXPECT_EQ(evaluate({0x92, 100, 0}), std::nullopt) << "a register that we do not have";
  EXPECT_EQ(evaluate({0x0e, 1}), std::nullopt) << "cut short";
  EXPECT_EQ(evaluate({0xff}), std::nullopt) << "unknown";
}
#endif

// --- without call frame information ----------------------------------------------------------------------------------

TEST(FramePointer, IsFollowedWhileItLooksLikeOne) {
  // Three frames at pcs that no module has; the last one's saved pointer leads nowhere.
  uintptr_t words[12] = {};
  auto at = [&](size_t i) { return reinterpret_cast<uintptr_t>(words + i); };
  words[2] = at(5), words[3] = 0x2000, words[5] = at(9), words[6] = 0x3000, words[9] = 7, words[10] = 0x4000;
  Range stack{at(0), at(12)};
  FrameRegisters registers;
  registers.value[kPcRegister] = 0x1000;
  registers.value[kStackRegister] = at(0);
  registers.value[kFrameRegister] = at(2);
  uintptr_t pcs[8];
  ASSERT_EQ(3u, unwind(registers, stack, pcs, 8));
  EXPECT_EQ(0x3000u, pcs[2]);
  registers.value[kFrameRegister] += 4; // not aligned
  EXPECT_EQ(1u, unwind(registers, stack, pcs, 8));
  registers.value[kFrameRegister] = at(2);
  registers.value[kStackRegister] = at(3); // below the stack pointer
  EXPECT_EQ(1u, unwind(registers, stack, pcs, 8));
  registers.value[kStackRegister] = at(0);
  words[2] = at(12); // the saved one lies outside
  EXPECT_EQ(1u, unwind(registers, stack, pcs, 8));
  words[2] = at(5), words[5] = at(4); // does not rise
  EXPECT_EQ(2u, unwind(registers, stack, pcs, 8));
}

// --- the rules of all modules, against libdw -------------------------------------------------------------------------

// Evaluates libdw's form of a rule. Loads are held to `memory`, as ours are.
struct DwarfValue {
  const FrameRegisters &registers;
  uintptr_t cfa;
  Range memory;
  bool is_value = false, is_register = false, failed = false;
  Pcs stack = {};

  uintptr_t pop() {
    uintptr_t top = stack.back();
    stack.pop_back();
    return top;
  }
  void load() {
    uintptr_t address = pop(), value = 0;
    failed |= address < memory.begin || address > memory.end - 8;
    if (!failed) memcpy(&value, reinterpret_cast<void *>(address), 8);
    stack.push_back(value);
  }
  void binary(const std::function<uintptr_t(uintptr_t, uintptr_t)> &operation) {
    uintptr_t right = pop(), left = pop();
    stack.push_back(operation(left, right));
  }
  void operation(const Dwarf_Op &op) {
    if (op.atom >= DW_OP_lit0 && op.atom <= DW_OP_lit31) return stack.push_back(op.atom - DW_OP_lit0);
    if (op.atom >= DW_OP_breg0 && op.atom <= DW_OP_breg31)
      return stack.push_back(registers.value[op.atom - DW_OP_breg0] + op.number);
    if (op.atom >= DW_OP_reg0 && op.atom <= DW_OP_reg31) {
      is_value = true;
      return stack.push_back(registers.value[op.atom - DW_OP_reg0]);
    }
    switch (op.atom) {
    case DW_OP_bregx:
      return stack.push_back(registers.value[op.number] + op.number2);
    case DW_OP_regx:
      is_value = true;
      return stack.push_back(registers.value[op.number]);
    case DW_OP_call_frame_cfa:
      return stack.push_back(cfa);
    case DW_OP_plus_uconst:
      stack.back() += op.number;
      return;
    case DW_OP_stack_value:
      is_value = true;
      return;
    case DW_OP_deref:
      return load();
    case DW_OP_plus:
      return binary(std::plus<uintptr_t>());
    case DW_OP_and:
      return binary(std::bit_and<uintptr_t>());
    case DW_OP_ge:
      return binary([](uintptr_t a, uintptr_t b) { return intptr_t(a) >= intptr_t(b); });
    case DW_OP_shl:
      return binary([](uintptr_t a, uintptr_t b) { return a << b; });
    case DW_OP_const1s:
    case DW_OP_const2s:
    case DW_OP_const4s:
    case DW_OP_const1u:
    case DW_OP_const2u:
    case DW_OP_const4u:
    case DW_OP_consts:
    case DW_OP_constu:
      return stack.push_back(op.number);
    }
    ADD_FAILURE() << "operation " << int(op.atom) << " is new to this test";
    failed = true;
  }
  std::optional<uintptr_t> run(const Dwarf_Op *ops, size_t count) {
    for (size_t i = 0; i < count && !failed; ++i) operation(ops[i]);
    return failed || stack.empty() ? std::nullopt : std::optional(stack.back());
  }
};

struct Theirs {
  bool complete = true; // all that was asked for could be evaluated
  bool outermost = false;
  FrameRegisters after;
};

constexpr bool is_callee_saved(size_t which) { return which == 3 || which == 6 || (which >= 12 && which <= 15); }

Theirs their_step(Dwarf_Frame *frame, const FrameRegisters &before, Range memory) {
  Theirs theirs{.after = before};
  Dwarf_Op *ops = nullptr, ops_memory[3];
  size_t count = 0;
  if (dwarf_frame_cfa(frame, &ops, &count) != 0) return {.complete = false, .after = {}};
  std::optional<uintptr_t> cfa = DwarfValue{before, 0, memory}.run(ops, count);
  if (!cfa) return {.complete = false, .after = {}};
  for (size_t which = 0; which < kFrameRegisters; ++which) {
    if (dwarf_frame_register(frame, int(which), ops_memory, &ops, &count) != 0) return {.complete = false, .after = {}};
    bool undefined = count == 0 && ops == ops_memory;
    if (which == kPcRegister && undefined) theirs.outermost = true;
    if (which == kStackRegister) theirs.after.value[which] = *cfa;
    if (count == 0) continue;
    DwarfValue value{before, *cfa, memory};
    std::optional<uintptr_t> result = value.run(ops, count);
    if (result && !value.is_value) {
      value.load();
      result = value.failed ? std::nullopt : std::optional(value.stack.back());
    }
    theirs.complete &= result.has_value();
    theirs.after.value[which] = result.value_or(0);
  }
  return theirs;
}

struct RuleCounts {
  size_t agreed = 0, undescribed = 0, outermost = 0, out_of_memory = 0, disagreed = 0, expressions = 0, packed = 0,
         restored = 0;
};

class RuleComparison {
public:
  RuleComparison() : random_(3), buffer_(4 << 20) {
    fill_plausibly(buffer_.range(), {uintptr_t{0x1000}}, random_);
    made_up_.load();
  }
  ~RuleComparison() { MadeUpModule::unload(); }

  void module(const char *path, const Module &mapped) {
    int file = open(path, O_RDONLY);
    ASSERT_GE(file, 0) << path;
    Elf *elf = elf_begin(file, ELF_C_READ_MMAP, nullptr);
    Dwarf_CFI *cfi = dwarf_getcfi_elf(elf);
    ASSERT_NE(cfi, nullptr) << path;
    Pcs starts = function_starts(mapped);
    for (size_t i = 0; i < starts.size(); ++i) {
      uintptr_t end = i + 1 < starts.size() ? starts[i + 1] : starts[i] + 64;
      at(cfi, mapped, starts[i]);
      for (int more = 0; more < 8; ++more)
        at(cfi, mapped, starts[i] + random_() % std::min<size_t>(end - starts[i], 4096));
    }
    dwarf_cfi_end(cfi);
    elf_end(elf);
    close(file);
  }

  RuleCounts counts;

private:
  // Registers that point to the middle of the memory, the frame register above the stack register.
  FrameRegisters some_registers(uintptr_t pc) {
    FrameRegisters registers;
    uintptr_t middle = buffer_.range().begin + (2 << 20);
    for (uintptr_t &value : registers.value) value = middle + 4096 + random_() % 65536 / 8 * 8;
    registers.value[kStackRegister] = middle;
    registers.value[kPcRegister] = pc;
    return registers;
  }

  void at(Dwarf_CFI *cfi, const Module &mapped, uintptr_t pc) {
    Dwarf_Frame *frame = nullptr;
    bool described = dwarf_cfi_addrframe(cfi, pc - mapped.bias, &frame) == 0;
    std::unique_ptr<Dwarf_Frame, void (*)(void *)> owner(frame, free);
    std::optional<FrameRow> row = find_row(mapped, pc);
    EXPECT_EQ(described, row.has_value()) << name_of(pc);
    if (!described || !row) return ++counts.undescribed, void();
    Dwarf_Addr begin = 0, end = 0;
    bool signal_frame = false;
    dwarf_frame_info(frame, &begin, &end, &signal_frame);
    EXPECT_EQ(signal_frame, row->signal_frame) << name_of(pc);
    FrameRegisters before = some_registers(pc);
    Theirs theirs = their_step(frame, before, buffer_.range());
    std::optional<FrameRegisters> ours = apply_row(*row, before, buffer_.range());
    compare(pc, theirs, ours);
    counts.expressions += row->row.cfa == RuleKind::expression;
    if (ours) compare_unwind(*row, before, *ours);
  }

  void compare(uintptr_t pc, const Theirs &theirs, const std::optional<FrameRegisters> &ours) {
    EXPECT_EQ(theirs.complete && !theirs.outermost, ours.has_value()) << name_of(pc);
    if (!theirs.complete) return ++counts.out_of_memory, void();
    if (theirs.outermost) return ++counts.outermost, void();
    if (!ours) return;
    bool same = true;
    for (size_t i = 0; i < kFrameRegisters; ++i)
      if (is_callee_saved(i) || i == kStackRegister || i == kPcRegister)
        same &= ours->value[i] == theirs.after.value[i];
    EXPECT_TRUE(same) << name_of(pc);
    same ? ++counts.agreed : ++counts.disagreed;
  }

  // The packed rule leads to the same place: the first unwind remembers, the second one uses it.
  void compare_unwind(const FrameRow &row, const FrameRegisters &before, const FrameRegisters &after) {
    if (after.pc() == 0 || (!row.signal_frame && after.sp() <= before.sp())) return;
    for (int i = 0; i < 2; ++i) {
      uintptr_t pcs[2] = {};
      EXPECT_EQ(2u, unwind(before, buffer_.range(), pcs, 2)) << name_of(before.pc());
      EXPECT_EQ(after.pc(), pcs[1]) << name_of(before.pc());
    }
    ++counts.packed;
    if (!row.signal_frame) compare_restored(row, before, after);
  }

  // Each callee-saved register after the step, packed or not: the return address is replaced by that of a function
  // whose CFA is counted from one of them, so that the third pc tells its value.
  void compare_restored(const FrameRow &row, const FrameRegisters &before, const FrameRegisters &after) {
    constexpr uint8_t kCalleeSaved[] = {3, 6, 12, 13, 14, 15};
    uint8_t which = kCalleeSaved[random_() % sizeof kCalleeSaved];
    uintptr_t value = after.value[which];
    Range memory = buffer_.range();
    if (value < after.sp() || value > memory.end - 8) return;
    auto slot = reinterpret_cast<uintptr_t *>(after.sp() - 8);
    uintptr_t held = *slot, expected = *reinterpret_cast<uintptr_t *>(value), pcs[3] = {};
    if (held != after.pc() || expected == 0 || reinterpret_cast<uintptr_t *>(value) == slot) return;
    made_up_.set_instructions({0x0c, which, 8}); // def_cfa
    *slot = made_up_.code() + 1;
    forget_frames();
    // By chance the slot may also be what the CFA or the register is read from: then there is nothing to compare.
    std::optional<FrameRegisters> again = apply_row(row, before, memory);
    bool untouched = again && again->sp() == after.sp() && again->value[which] == value;
    for (int i = 0; untouched && i < 2; ++i) {
      EXPECT_EQ(3u, unwind(before, memory, pcs, 3)) << name_of(before.pc());
      EXPECT_EQ(expected, pcs[2]) << name_of(before.pc()) << " register " << int(which);
    }
    *slot = held;
    counts.restored += untouched;
  }

  std::mt19937_64 random_;
  Guarded buffer_;
  MadeUpModule made_up_;
};

TEST(Rules, AreLibdwsForAllModulesOfThisProcess) {
  elf_version(EV_CURRENT);
  RuleComparison comparison;
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *data) {
        std::string path = info->dlpi_name;
        if (path.empty()) path = "/proc/self/exe";
        if (path[0] != '/') return 0; // the vdso
        auto &all = *static_cast<RuleComparison *>(data);
        for (size_t i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr) &segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_X)) continue;
          std::optional<Module> module = find_module(info->dlpi_addr + segment.p_vaddr);
          RuleCounts before = all.counts;
          if (module) all.module(path.c_str(), *module);
          printf("%s: %zu agreed, %zu expressions\n", path.c_str(), all.counts.agreed - before.agreed,
                 all.counts.expressions - before.expressions);
          break;
        }
        return 0;
      },
      &comparison);
  const RuleCounts &counts = comparison.counts;
  printf("rules: %zu agreed, %zu disagreed, %zu undescribed for both, %zu outermost, %zu outside, %zu expressions, "
         "%zu unwound, %zu registers followed\n",
         counts.agreed, counts.disagreed, counts.undescribed, counts.outermost, counts.out_of_memory,
         counts.expressions, counts.packed, counts.restored);
  EXPECT_GT(counts.agreed, 10'000u);
  EXPECT_GT(counts.expressions, 10u);
  EXPECT_GT(counts.restored, 10'000u);
  EXPECT_EQ(counts.disagreed, 0u);
}

TEST(Rules, TheKernelsOwnModuleIsFound) {
  auto time_function = dlsym(dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD), "__vdso_clock_gettime");
  if (!time_function) GTEST_SKIP() << "no vdso";
  auto pc = reinterpret_cast<uintptr_t>(time_function);
  std::optional<Module> module = find_module(pc);
  ASSERT_TRUE(module);
  EXPECT_TRUE(find_row(*module, pc));
}

class Totals : public testing::Environment {
  void TearDown() override { printf("live stacks: %zu pcs agreed with libunwind\n", g_pcs_agreed.load()); }
};
[[maybe_unused]] const auto *g_totals = testing::AddGlobalTestEnvironment(new Totals);

} // namespace
} // namespace castaway
