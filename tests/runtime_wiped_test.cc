// Mappings that a fork has wiped: what find_wiped() says of mappings of many kinds, against VmFlags in smaps.
#include "runtime/wiped.h"

#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace castaway {
namespace {

constexpr size_t kPage = 4096;

std::string whole(const char *path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The begin of each mapping that has the flag, from smaps.
std::vector<uintptr_t> flagged(const std::string &flag) {
  std::istringstream lines(whole("/proc/self/smaps"));
  std::vector<uintptr_t> found;
  uintptr_t begin = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.find('-') == line.find_first_not_of("0123456789abcdef")) begin = std::stoull(line, nullptr, 16);
    if (line.starts_with("VmFlags:") && line.find(" " + flag + " ") != line.npos) found.push_back(begin);
  }
  return found;
}

// A range of its own, with room around it, that becomes what the test wants.
class Area {
public:
  explicit Area(size_t pages, int protection = PROT_READ | PROT_WRITE)
      : begin_(static_cast<char *>(mmap(nullptr, (pages + 2) * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) +
               kPage),
        pages_(pages) {
    mprotect(page(0), pages * kPage, protection);
  }
  ~Area() { munmap(page(0) - kPage, (pages_ + 2) * kPage); }
  Area(const Area &) = delete;
  Area &operator=(const Area &) = delete;

  char *page(size_t i) const { return begin_ + i * kPage; }
  void write(size_t i) const { *page(i) = 1; }
  void wipe(size_t first, size_t count) const { ASSERT_EQ(madvise(page(first), count * kPage, MADV_WIPEONFORK), 0); }

private:
  char *begin_;
  size_t pages_;
};

struct Answer {
  bool known;
  std::vector<uintptr_t> wiped;
};

// In a child, after a fork: `check` gets what for_each_wiped() says, and what smaps said before.
template <typename Check, typename Prepare = void (*)()> void after_fork(
    Check check, Prepare prepare = [] {}) {
  pid_t child = fork();
  if (child == 0) {
    prepare();
    std::vector<uintptr_t> before = flagged("wf");
    std::string text = whole("/proc/self/maps");
    std::vector<Vma> room(10000);
    Vmas own(text, room);
    int root = ::open("/proc", O_RDONLY | O_DIRECTORY);
    Answer answer{false, {}};
    answer.wiped.reserve(1000);
    answer.known =
        for_each_wiped(Proc(root, getpid()), own, [&](const Vma &vma) { answer.wiped.push_back(vma.range.begin); });
    check(answer, before);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

void expect_as_smaps_says() {
  after_fork([](const Answer &answer, const std::vector<uintptr_t> &before) {
    EXPECT_TRUE(answer.known);
    EXPECT_EQ(answer.wiped, before);
  });
}

TEST(Wiped, NothingIs) {
  Area written(8), empty(8), single(1), single_empty(1), guard(1, PROT_NONE);
  written.write(3);
  single.write(0);
  expect_as_smaps_says();
}

TEST(Wiped, MappingsOfEverySize) {
  for (size_t pages : {1, 2, 3, 8, 1000})
    for (bool with_content : {false, true}) {
      SCOPED_TRACE(pages);
      Area area(pages);
      if (with_content) area.write(pages - 1);
      area.wipe(0, pages);
      after_fork([&](const Answer &answer, const std::vector<uintptr_t> &before) {
        EXPECT_TRUE(answer.known);
        EXPECT_EQ(answer.wiped, before);
        EXPECT_EQ(std::ranges::count(answer.wiped, reinterpret_cast<uintptr_t>(area.page(0))), 1);
      });
    }
}

TEST(Wiped, MappingsBesideOthers) {
  Area area(12);
  for (size_t i = 0; i < 12; i += 5) area.write(i);
  area.wipe(1, 1);
  area.wipe(3, 2);
  area.wipe(8, 3);
  Area protections(9);
  mprotect(protections.page(3), 3 * kPage, PROT_READ);
  mprotect(protections.page(6), kPage, PROT_NONE);
  protections.wipe(2, 5);
  expect_as_smaps_says();
}

TEST(Wiped, WhatNobodyMayReadAndWhatHasAName) {
  Area area(4), stack_like(1);
  area.write(1);
  area.wipe(0, 4);
  mprotect(area.page(0), 4 * kPage, PROT_NONE);
  stack_like.wipe(0, 1);
  mprotect(stack_like.page(0), kPage, PROT_NONE);
  expect_as_smaps_says();
}

// Content, protection and flags of what is not wiped stay; of what is wiped, its content.
TEST(Wiped, AskingChangesNothing) {
  Area written(8), empty(8), single(1), single_empty(1, PROT_READ), wiped(1);
  written.write(7);
  single.write(0);
  wiped.write(0);
  wiped.wipe(0, 1);
  after_fork([&](const Answer &, const std::vector<uintptr_t> &) {
    std::vector<uintptr_t> expected;
    EXPECT_EQ(flagged("wf"), expected) << "the single page that was wiped is a new one";
    EXPECT_EQ(*written.page(7), 1);
    EXPECT_EQ(*single.page(0), 1);
    EXPECT_EQ(*single_empty.page(0), 0);
    EXPECT_EQ(*empty.page(0), 0);
    *empty.page(0) = 1;
    EXPECT_EQ(*wiped.page(0), 0);
    *wiped.page(0) = 1;
    std::string maps = whole("/proc/self/maps");
    auto line_of = [&](const Area &area) {
      std::ostringstream begin;
      begin << std::hex << reinterpret_cast<uintptr_t>(area.page(0)) << '-';
      size_t at = maps.find(begin.str());
      return at == maps.npos ? "" : maps.substr(at, maps.find('\n', at) - at);
    };
    EXPECT_NE(line_of(single_empty).find(" r--p "), std::string::npos);
    EXPECT_NE(line_of(written).find(" rw-p "), std::string::npos);
    std::ostringstream end;
    end << std::hex << '-' << reinterpret_cast<uintptr_t>(written.page(8)) << ' ';
    EXPECT_NE(line_of(written).find(end.str()), std::string::npos) << "one mapping still: " << line_of(written);
  });
}

// The kernel lets nobody move these, so nobody can ask.
TEST(Wiped, SealedMappingsAreNotKnown) {
  constexpr long kMseal = 462;
  if (syscall(kMseal, 0, 0, 0) != 0) GTEST_SKIP() << "mseal(2) comes with Linux 6.10";
  Area area(4);
  auto seal = [&] { ASSERT_EQ(syscall(kMseal, area.page(0), 4 * kPage, 0), 0); };
  after_fork([](const Answer &answer, const std::vector<uintptr_t> &) { EXPECT_FALSE(answer.known); }, seal);
}

} // namespace
} // namespace castaway
