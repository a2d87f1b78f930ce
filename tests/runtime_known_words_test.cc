// Numbers in what would be roots: constants that a module's file has, and the loader's hashes of names.
#include "runtime/known_words.h"
#include "runtime/tracking.h"
#include "tests/scanner_world.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace castaway {

constinit HeapMap heap_map(testing::new_test_leaf);

namespace {

constexpr uintptr_t kBlock = 0x1000000; // no memory is there

class KnownWordsTest : public ::testing::Test {
protected:
  KnownWordsTest() { heap_map.insert(kBlock, 100); }
  ~KnownWordsTest() override { heap_map.erase(kBlock); }

  // The words are looked at as part of a mapping that is just them.
  std::vector<uintptr_t> hashes_in(std::vector<uintptr_t> &words) {
    Range memory{reinterpret_cast<uintptr_t>(words.data()), reinterpret_cast<uintptr_t>(words.data() + words.size())};
    std::string lines[] = {line(memory, "rw-p", 0, ""), line(names(), "r--p", 0, "/lib/x.so")};
    std::string text = memory.begin < names().begin ? lines[0] + lines[1] : lines[1] + lines[0];
    parse(text, [memory](KnownWords &known) { known.find_hashes(memory); });
    return found_;
  }

  template <typename Find> void parse(const std::string &text, Find find) {
    Vma room[4];
    Vmas vmas(text, room);
    RangeList list;
    KnownWords known(vmas, list);
    find(known);
    found_.clear();
    for (const Range &range : list.all())
      for (uintptr_t at = range.begin; at < range.end; at += sizeof at)
        found_.push_back(*reinterpret_cast<const uintptr_t *>(at));
    list.release();
  }
  static std::string line(Range range, const char *rights, uint64_t inode, const std::string &path) {
    char text[256];
    snprintf(text, sizeof text, "%lx-%lx %s 00000000 fe:00 %lu %s\n", range.begin, range.end, rights, inode,
             path.c_str());
    return text;
  }
  static Range names() {
    static const char text[] = "printf\0exit\0GLIBC_2.34";
    auto begin = reinterpret_cast<uintptr_t>(text);
    return {begin, begin + sizeof text};
  }

  std::vector<uintptr_t> found_;
};

// From the text of the ABI and of DT_GNU_HASH's description: printf 0x077905a6 and 0x156b2bb8, exit 0x0006cf04 and
// 0x7c967e3f.
constexpr uintptr_t kElfPrintf = 0x077905a6, kGnuPrintf = 0x156b2bb8, kGnuExit = 0x7c967e3f;

TEST_F(KnownWordsTest, AreHashesBesideTheirNames) {
  uintptr_t printf_at = names().begin, exit_at = names().begin + 7;
  std::vector<uintptr_t> words = {1, kGnuPrintf, printf_at, 0, exit_at, kGnuExit, 2, kElfPrintf, printf_at, 3};
  EXPECT_EQ(hashes_in(words), (std::vector<uintptr_t>{kGnuPrintf, kGnuExit, kElfPrintf}));
}

TEST_F(KnownWordsTest, AreNoHashesOfOtherNames) {
  uintptr_t printf_at = names().begin, exit_at = names().begin + 7;
  std::vector<uintptr_t> words = {1, kGnuPrintf, exit_at, 0, printf_at, kGnuPrintf + 1, 0, kGnuPrintf, kGnuPrintf, 0};
  EXPECT_TRUE(hashes_in(words).empty());
}

TEST_F(KnownWordsTest, AreNotLookedForBelowTheHeapOrWhereItIsHigh) {
  std::vector<uintptr_t> words = {1, kGnuPrintf, names().begin, 0};
  heap_map.erase(kBlock);
  heap_map.insert(kGnuPrintf + 16 - kGnuPrintf % 16, 100);
  EXPECT_TRUE(hashes_in(words).empty());
  heap_map.erase(kGnuPrintf + 16 - kGnuPrintf % 16);
  heap_map.insert(uintptr_t{1} << 33, 100);
  EXPECT_TRUE(hashes_in(words).empty());
  heap_map.erase(uintptr_t{1} << 33);
}

class Constants : public KnownWordsTest {
protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "castaway-words-XXXXXX";
    ASSERT_GE(mkstemp(pattern.data()), 0);
    path_ = pattern;
    std::vector<uintptr_t> file(kOffset / sizeof(uintptr_t), 7);
    file.insert(file.end(), words_.begin(), words_.end());
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char *>(file.data()), static_cast<std::streamsize>(file.size() * sizeof file[0]));
  }
  void TearDown() override { std::filesystem::remove(path_); }

  // With `memory` as what the module's data are now.
  std::vector<uintptr_t> constants_in(const std::vector<uintptr_t> &memory, uint64_t more_inode = 0) {
    struct stat status {};
    stat(path_.c_str(), &status);
    auto base = reinterpret_cast<uintptr_t>(memory.data()) - kAddress;
    ElfW(Phdr) segment{};
    segment.p_vaddr = kAddress, segment.p_offset = kOffset;
    segment.p_filesz = segment.p_memsz = memory.size() * sizeof(uintptr_t);
    Range range{base + kAddress, base + kAddress + segment.p_memsz};
    Vma first{.range = range, .readable = true, .inode = status.st_ino + more_inode, .path = path_};
    parse(line(range, "rw-p", status.st_ino, path_),
          [&](KnownWords &known) { known.find_constants(first, base, segment); });
    return found_;
  }

  static constexpr uintptr_t kAddress = 0x5000, kOffset = 4096 + 64;
  const std::vector<uintptr_t> words_ = {kBlock, 5, kBlock + 64, 0x20000000, uintptr_t{1} << 40, kBlock + 8};

private:
  std::string path_;
};

TEST_F(Constants, AreWhatTheFileHas) {
  EXPECT_EQ(constants_in(words_), (std::vector<uintptr_t>{kBlock, kBlock + 64, 0x20000000, kBlock + 8}));
}

TEST_F(Constants, AreNotWhatWasWritten) {
  std::vector<uintptr_t> memory = words_;
  memory[0] = kBlock + 16; // a pointer now
  memory[1] = kBlock;
  EXPECT_EQ(constants_in(memory), (std::vector<uintptr_t>{kBlock + 64, 0x20000000, kBlock + 8}));
}

TEST_F(Constants, AreNotKnownWhereTheFileIsAnotherOne) { EXPECT_TRUE(constants_in(words_, 1).empty()); }

} // namespace
} // namespace castaway
