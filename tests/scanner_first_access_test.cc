// Pages of a copy are accessed before they are fetched from, where that is worth it: once, and only such in which a
// block begins, or that are being read. Other pages may not be there at all.
#include "scanner/first_access.h"
#include "scanner/marker.h"
#include "tests/scanner_world.h"

#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace castaway {
namespace {

using testing::leaks_of;
using testing::Pages;
using testing::put;
using testing::Scan;
using testing::TestWorkspace;
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

// In a copy, where nothing was accessed. A mapping with inaccessible neighbours is one by itself.
TEST(FirstAccess, CountsAsOne) {
  if (!FirstAccess::is_slow()) GTEST_SKIP() << "this processor has no use for it";
  constexpr size_t kPages = 5;
  Pages pages((kPages + 2) * kPage);
  const uintptr_t begin = pages.range().begin + kPage, end = begin + kPages * kPage;
  for (uintptr_t at = begin; at < end; at += kPage) put(at, 1);
  for (uintptr_t at : {begin - kPage, end}) ASSERT_EQ(mprotect(reinterpret_cast<void *>(at), kPage, PROT_NONE), 0);
  const pid_t copy = fork();
  if (copy == 0) {
    const int before = accessed_at(begin);
    for (size_t page : {1, 3}) FirstAccess::make(reinterpret_cast<void *>(begin + page * kPage + 100));
    _exit(before == 0 && accessed_at(begin) == 8 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(copy, &status, 0), copy);
  EXPECT_EQ(status, 0);
}

// What somebody points to, and what lies behind the block that is read, is inaccessible: to read it ends the test.
TEST(FirstAccess, IsOfNoPageWithoutABlock) {
  World world;
  const uintptr_t begin = world.heap_range().begin;
  const uintptr_t small = world.block_at(begin + 64, 64), large = world.block_at(begin + 2 * kPage, 10 * kPage);
  const uintptr_t last = world.block_at(begin + 13 * kPage, 64);
  for (size_t page : {1, 12}) ASSERT_EQ(mprotect(reinterpret_cast<void *>(begin + page * kPage), kPage, PROT_NONE), 0);
  for (uintptr_t to : {small, begin + kPage + 64, large, begin + 12 * kPage, last}) world.root(to);
  Scan scan(world);
  ASSERT_TRUE(scan.complete);
  EXPECT_TRUE(leaks_of(scan).empty());
  EXPECT_FALSE(scan.scanner.is_live(begin + kPage + 64));
}

// By the notes of it: the reading itself is an access as well.
TEST(FirstAccess, IsMadeToWhatIsReadAndToNothingElse) {
  World world;
  const uintptr_t begin = world.heap_range().begin;
  auto block_on = [&](size_t page) { return world.block_at(begin + page * kPage + 512, 64); };
  const uintptr_t kept = block_on(3), inner = block_on(20);
  block_on(4);
  block_on(300);
  put(kept, inner);
  const uintptr_t before = begin - (uintptr_t{1} << HeapMap::kLeafBits); // a leaf that has no block any more
  world.map->insert(before, 16);
  world.map->erase(before);
  TestWorkspace workspace;
  Objects objects;
  WindowQueue windows;
  ASSERT_TRUE(objects.build(world.image(), nullptr, workspace));
  ASSERT_TRUE(windows.build(objects.leaf_begins().size() * WindowQueue::kPerLeaf, objects.count(), 1, workspace));
  auto marker = std::make_unique<Marker>();
  ASSERT_TRUE(marker->build(objects, windows, 0, workspace));
  auto waits = [&](size_t page) {
    const uintptr_t address = begin + page * kPage;
    const size_t granule = HeapMap::granule_in_leaf(address);
    const BegunPages pages = objects.leaf(address).to_access[granule / HeapMap::kPageGranules];
    return (pages >> granule % HeapMap::kPageGranules / HeapMap::kGranulesOfPage & 1) != 0;
  };
  if (!objects.accesses_first()) {
    EXPECT_EQ(objects.leaf(begin).to_access, nullptr);
    GTEST_SKIP() << "this processor has no use for it";
  }
  for (size_t page : {3, 4, 20, 300}) EXPECT_TRUE(waits(page)) << page;
  for (size_t page : {0, 2, 5, 19, 21}) EXPECT_FALSE(waits(page)) << page;
  marker->mark<Phase::live>(kept);
  marker->drain<Phase::live>();
  EXPECT_EQ(marker->live_blocks(), 2u);
  for (size_t page : {3, 20}) EXPECT_FALSE(waits(page)) << page;
  for (size_t page : {4, 300}) EXPECT_TRUE(waits(page)) << page;
}

} // namespace
} // namespace castaway
