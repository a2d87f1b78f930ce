// Pages of a copy are accessed before they are fetched from, where that is worth it: once, and only such in which a
// block begins, or that are being read. Other pages may not be there at all.
#include "scanner/first_access.h"
#include "tests/scanner_world.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace castaway {
namespace {

using testing::leaks_of;
using testing::put;
using testing::Scan;
using testing::World;

constexpr size_t kPage = 4096;

// What the kernel says was accessed of the mapping that begins here, in KiB; -1 if it says nothing.
int accessed_at(uintptr_t begin) {
  char wanted[20];
  std::snprintf(wanted, sizeof wanted, "%lx-", begin);
  std::ifstream file("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(file, line);) {
    if (line.find('-') < line.find(' ')) here = line.starts_with(wanted);
    if (here && line.starts_with("Referenced:")) return std::atoi(line.c_str() + 11);
  }
  return -1;
}

// Whether it can be made: CPUID, leaf 7.
bool has_clwb() {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_CLWB) != 0;
#else
  return false;
#endif
}

class FirstAccess : public ::testing::Test {
protected:
  void SetUp() override {
    if (!has_clwb()) GTEST_SKIP() << "this processor cannot make it";
    world_.accesses_pages_first = true;
  }
  uintptr_t page(size_t number) const { return world_.heap_range().begin + number * kPage; }

  World world_;
};

// In a copy, where nothing was accessed. The block has no word that could be read.
TEST_F(FirstAccess, IsMadeInACopy) {
  const uintptr_t block = world_.block_at(page(10) + 100 * 16, 4);
  put(block, 0);
  put(page(11), 0);
  put(page(9), 0);
  world_.root(block);
  for (size_t guard : {8, 12}) // what lies between is a mapping by itself
    ASSERT_EQ(mprotect(reinterpret_cast<void *>(page(guard)), kPage, PROT_NONE), 0);
  for (bool first : {true, false}) {
    world_.accesses_pages_first = first;
    const pid_t copy = fork();
    if (copy == 0) {
      const int before = accessed_at(page(9));
      const bool complete = Scan(world_).complete;
      _exit(before == 0 && complete ? accessed_at(page(9)) : 100);
    }
    int status = -1;
    ASSERT_EQ(waitpid(copy, &status, 0), copy);
    EXPECT_EQ(WEXITSTATUS(status), first ? 4 : 0) << "KiB";
  }
}

// What somebody points to, and what lies behind the block that is read, is inaccessible: to read it ends the test.
TEST_F(FirstAccess, IsOfNoPageWithoutABlock) {
  const uintptr_t small = world_.block_at(page(0) + 64, 64), large = world_.block_at(page(2), 10 * kPage);
  const uintptr_t last = world_.block_at(page(13), 64);
  for (size_t hidden : {1, 12}) ASSERT_EQ(mprotect(reinterpret_cast<void *>(page(hidden)), kPage, PROT_NONE), 0);
  for (uintptr_t to : {small, page(1) + 64, large, page(12) + 64, last}) world_.root(to);
  Scan scan(world_);
  ASSERT_TRUE(scan.complete);
  EXPECT_TRUE(leaks_of(scan).empty());
  EXPECT_FALSE(scan.scanner.is_live(page(1) + 64));
}

// Every other page, so that each is a mapping by itself, and more of them than one note is for. The blocks have no word
// that could be read.
TEST_F(FirstAccess, IsMadeToWhatIsReachedAndToNothingElse) {
  const uintptr_t before = page(0) - (uintptr_t{1} << HeapMap::kLeafBits); // a leaf that has no block any more
  world_.map->insert(before, 16);
  world_.map->erase(before);
  constexpr size_t kFirst = 5, kPages = 40;
  auto number_of = [](size_t i) { return kFirst + 2 * i; };
  auto is_reached = [](size_t i) { return i % 3 != 1; };
  for (size_t i = 0; i < kPages; ++i) {
    const uintptr_t block = world_.block_at(page(number_of(i)) + i * 5 % 256 * 16, 4);
    put(block, 0);
    if (is_reached(i)) world_.root(block);
    ASSERT_EQ(mprotect(reinterpret_cast<void *>(page(number_of(i) + 1)), kPage, PROT_NONE), 0);
  }
  ASSERT_EQ(mprotect(reinterpret_cast<void *>(page(kFirst - 1)), kPage, PROT_NONE), 0);
  for (size_t markers : {1, 2}) {
    const pid_t copy = fork();
    if (copy == 0) {
      int wrong = Scan(world_, markers).complete ? 0 : 100;
      for (size_t i = 0; i < kPages; ++i) wrong += accessed_at(page(number_of(i))) != (is_reached(i) ? 4 : 0);
      _exit(wrong);
    }
    int status = -1;
    ASSERT_EQ(waitpid(copy, &status, 0), copy);
    EXPECT_EQ(status, 0) << WEXITSTATUS(status) << " pages, " << markers << " markers";
  }
}

} // namespace
} // namespace castaway
