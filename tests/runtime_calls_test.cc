// Which system call an instruction made, told by the code in front of it: as glibc, compilers and hand-written code
// have it.
#include "runtime/arch_signal.h"

#include <gtest/gtest.h>
#include <initializer_list>
#include <vector>

namespace castaway::arch {
namespace {

// The bytes before the instruction, behind others that mean nothing.
std::vector<uint8_t> code_before(std::initializer_list<int> bytes) {
  std::vector<uint8_t> code(kCodeBefore - bytes.size(), 0x90);
  for (int byte : bytes) code.push_back(static_cast<uint8_t>(byte));
  return code;
}

long number_in(std::initializer_list<int> bytes, const ThreadRegisters &registers = {}) {
  return call_number_in(code_before(bytes).data(), registers);
}

TEST(CallNumber, LoadedRightBefore) { EXPECT_EQ(number_in({0xb8, 0xe8, 0, 0, 0}), 232); }

TEST(CallNumber, ZeroByXor) { EXPECT_EQ(number_in({0x31, 0xc0}), 0); }

TEST(CallNumber, XorOfAnotherRegisterIsNone) { EXPECT_EQ(number_in({0x45, 0x31, 0xc0}), -1); } // r8d

TEST(CallNumber, BehindArgumentsOnTheStack) { // mov $0x2d,%eax; mov 0x10(%rsp),%rdx; mov 0x8(%rsp),%rsi
  EXPECT_EQ(number_in({0xb8, 0x2d, 0, 0, 0, 0x48, 0x8b, 0x54, 0x24, 0x10, 0x48, 0x8b, 0x74, 0x24, 0x08}), 45);
}

TEST(CallNumber, TheNearestOfTwo) { // mov $0x8,%r8d; mov $0x10f,%eax
  EXPECT_EQ(number_in({0x41, 0xb8, 8, 0, 0, 0, 0xb8, 0x0f, 1, 0, 0}), 271);
}

TEST(CallNumber, AnotherRegisterIsNotTheNumber) { EXPECT_EQ(number_in({0x41, 0xb8, 8, 0, 0, 0}), -1); }

TEST(CallNumber, TooLargeForANumber) { EXPECT_EQ(number_in({0xb8, 0, 0, 1, 0}), -1); }

TEST(CallNumber, FromARegisterThatTheCallKeeps) {
  ThreadRegisters registers{};
  registers.r8 = 202;
  EXPECT_EQ(number_in({0x44, 0x89, 0xc0}, registers), 202); // mov %r8d,%eax
  registers.rbp = 14;
  EXPECT_EQ(number_in({0x89, 0xe8}, registers), 14); // mov %ebp,%eax
}

TEST(CallNumber, FromARegisterThatTheCallLoses) {
  ThreadRegisters registers{};
  registers.rcx = registers.r11 = 202;
  EXPECT_EQ(number_in({0x89, 0xc8}, registers), -1);       // mov %ecx,%eax
  EXPECT_EQ(number_in({0x44, 0x89, 0xd8}, registers), -1); // mov %r11d,%eax
}

TEST(CallNumber, NothingToSee) { EXPECT_EQ(number_in({}), -1); }

long named_by_caller(std::initializer_list<int> bytes) { return generic_number_in(code_before(bytes).data()); }

TEST(CallNumber, OfTheCallerOfSyscall) {
  EXPECT_EQ(named_by_caller({0xbf, 0xca, 0, 0, 0, 0x31, 0xc0, 0xe8, 1, 2, 3, 4}), 202); // mov $0xca,%edi; ...; call
}

TEST(CallNumber, ASmallNumberMayBeADescriptor) { EXPECT_EQ(named_by_caller({0xbf, 7, 0, 0, 0, 0xe8, 1, 2, 3, 4}), -1); }

TEST(CallNumber, CallerLoadsAnotherRegister) {
  EXPECT_EQ(named_by_caller({0x41, 0xbf, 0xca, 0, 0, 0, 0xe8, 1, 2, 3, 4}), -1); // r15d
}

// What the kernel leaves in rcx tells where a thread stands.
TEST(InterruptedCall, BeforeAndBehind) {
  ThreadRegisters registers{};
  registers.rip = 0x1000;
  registers.rcx = 0x1002;
  EXPECT_TRUE(is_before_call(registers));
  registers.rip = 0x1002;
  registers.rax = static_cast<unsigned long long>(-EINTR);
  EXPECT_FALSE(is_before_call(registers));
  EXPECT_TRUE(is_behind_interrupted_call(registers));
  registers.rip = 0x1008; // it has run since
  EXPECT_FALSE(is_behind_interrupted_call(registers));
}

} // namespace
} // namespace castaway::arch
