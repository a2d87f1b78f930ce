// What the hooks add to malloc and free, in instructions: exact, whatever else the machine does. A program's usual
// calls (tests/programs/hook_calls.cc) are executed step by step, and the steps inside of libcastaway.so are counted.
#include "target.h"

#include <csignal>
#include <gtest/gtest.h>
#include <set>
#include <sstream>
#include <string_view>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace e2e {
namespace {

#if defined(__x86_64__)

struct Cost {
  const char *call;
  int most;
};

// In the order of the program.
const Cost kCosts[] = {{"malloc(8)", 38},      {"free of 8", 21},
                       {"malloc(64)", 34},     {"free of 64", 18},
                       {"malloc(1000)", 34},   {"free of 1000", 18},
                       {"malloc(100000)", 50}, {"free of 100000", 44},
                       {"free(nullptr)", 14},  {"the first malloc_usable_size of 64", 51},
                       {"the next", 42},       {"the first malloc_usable_size of 100000", 136},
                       {"its next", 99}};

// A malloc_usable_size of a large block leads elsewhere.
constexpr std::string_view kLastOnThePage = "the next";

class Stepped {
public:
  explicit Stepped(const char *sample_bytes, const char *argument = nullptr) {
    pid_ = fork();
    if (pid_ == 0) {
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      setenv("LD_PRELOAD", runtime_library().c_str(), 1);
      setenv("CASTAWAY_INTERVAL", "0", 1);
      setenv("CASTAWAY_SAMPLE_BYTES", sample_bytes, 1);
      setenv("CASTAWAY_OUTPUT", directory_.path().c_str(), 1);
      execl(program("hook_calls").c_str(), "hook_calls", argument, nullptr);
      _exit(127);
    }
    stop(); // at exec
  }
  ~Stepped() {
    kill(pid_, SIGKILL);
    for (int status = 0; waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status);) { // it may have been about to stop
    }
  }
  Stepped(const Stepped &) = delete;
  Stepped &operator=(const Stepped &) = delete;

  // Runs to the next breakpoint; false if the program ended first.
  bool run_to_mark() {
    ptrace(PTRACE_CONT, pid_, nullptr, nullptr);
    return stop();
  }
  // Steps to the next breakpoint; returns how many instructions of the library were executed.
  int step_to_mark() {
    find_library();
    int count = 0;
    while (true) {
      const unsigned long at = rip();
      const long code = ptrace(PTRACE_PEEKTEXT, pid_, at, nullptr);
      if (is_mark(code)) break;
      const bool inside = library_begin_ <= at && at < library_end_;
      count += inside;
      if (inside) note_instruction(at, code);
      ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr);
      if (!stop()) break;
    }
    run_to_mark();
    return count;
  }

  // On which the library's instructions were that were counted so far.
  size_t pages() const { return pages_.size(); }
  // How many of them were calls or jumps through a pointer.
  int indirect_branches() const { return indirect_branches_; }

private:
  void note_instruction(unsigned long at, long code) {
    pages_.insert(at / 4096);
    const long operation = code >> 11 & 7; // behind the opcode 0xff: 2 is a call, 4 a jump
    indirect_branches_ += (code & 0xff) == 0xff && (operation == 2 || operation == 4);
  }
  bool stop() {
    int status;
    return waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
  }
  unsigned long rip() const {
    user_regs_struct registers{};
    ptrace(PTRACE_GETREGS, pid_, nullptr, &registers);
    return registers.rip;
  }
  static bool is_mark(long code) { return (code & 0xff) == 0xcc; }
  void find_library() {
    if (library_end_ != 0) return;
    std::istringstream maps(text_of("/proc/" + std::to_string(pid_) + "/maps"));
    for (std::string line; std::getline(maps, line);)
      if (line.ends_with("/libcastaway.so")) {
        unsigned long begin, end;
        sscanf(line.c_str(), "%lx-%lx", &begin, &end);
        library_begin_ = library_begin_ ? library_begin_ : begin;
        library_end_ = end;
      }
  }

  TemporaryDirectory directory_; // goes after the program
  pid_t pid_;
  unsigned long library_begin_ = 0, library_end_ = 0;
  std::set<unsigned long> pages_;
  int indirect_branches_ = 0;
};

TEST(HookCost, InInstructions) {
  Stepped program("1000000000000"); // none of the calls may be a recorded one
  for (const Cost &cost : kCosts) {
    ASSERT_TRUE(program.run_to_mark()) << cost.call;
    int count = program.step_to_mark();
    EXPECT_GT(count, 5) << cost.call;
    EXPECT_LE(count, cost.most) << cost.call;
    RecordProperty(cost.call, count);
  }
}

// They were through pointers when the library was linked.
TEST(HookCost, UsualCallsLeadToTheAllocatorDirectly) {
  Stepped program("1000000000000");
  for (const Cost &cost : kCosts) {
    ASSERT_TRUE(program.run_to_mark()) << cost.call;
    const int before = program.indirect_branches();
    program.step_to_mark();
    const std::string_view call = cost.call;
    if (call == "malloc(64)" || call == "free of 64" || call == "malloc(1000)" || call == "free of 1000") {
      EXPECT_EQ(program.indirect_branches(), before) << call;
    } else if (call == "malloc(100000)") { // one that is known to have such a call: it is seen
      EXPECT_EQ(program.indirect_branches(), before + 1) << call;
    }
  }
}

// A program that does much else has none of it in the TLB when it calls.
TEST(HookCost, OnOnePageWhereNothingIsRecorded) {
  Stepped program("1000000000000");
  for (const Cost &cost : kCosts) {
    ASSERT_TRUE(program.run_to_mark()) << cost.call;
    program.step_to_mark();
    EXPECT_EQ(program.pages(), 1u) << cost.call;
    if (std::string_view(cost.call) == kLastOnThePage) break;
  }
}

// Where every stack is recorded, a thread finds its last ones again whatever came between.
TEST(HookCost, OfRecordedCallsFromOnePlaceAfterTheOther) {
  Stepped program("1", "places");
  for (const Cost &cost : {Cost{"the same", 372}, {"as high", 501}, {"deeper", 453}, {"the first again", 417}}) {
    ASSERT_TRUE(program.run_to_mark()) << cost.call;
    int count = program.step_to_mark();
    EXPECT_GT(count, 100) << cost.call;
    EXPECT_LE(count, cost.most) << cost.call;
    RecordProperty(cost.call, count);
  }
}

#endif

} // namespace
} // namespace e2e
