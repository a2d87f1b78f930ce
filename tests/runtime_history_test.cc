// The history: what one safepoint writes the next one reads; a file that is cut off or damaged is an empty history, and
// no count in it can make the reader map or trust more than the file holds.
#include "runtime/history.h"

#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace castaway {
namespace {

template <typename T> bool same(const T &a, const T &b) { return std::memcmp(&a, &b, sizeof a) == 0; }

class HistoryFile : public ::testing::Test {
protected:
  ~HistoryFile() override { close(fd_); }

  // `n` makes the content differ.
  History make(size_t thread_count, size_t block_count, uint64_t n = 1) {
    threads_.clear();
    blocks_.clear();
    for (size_t i = 0; i < thread_count; ++i)
      threads_.push_back({static_cast<int32_t>(100 + 2 * i), static_cast<uint32_t>(i % 2), 0x7f0000 + i * n, 64 * i,
                          n * 1000 + i, i % 3, 7 * i, 9 * i, "worker"});
    for (size_t i = 0; i < block_count; ++i)
      blocks_.push_back({0x100000 + i * 32, 24 + i, n, static_cast<uint32_t>(i % 2), static_cast<uint16_t>(i % 2),
                         static_cast<uint16_t>(i % 3)});
    History history;
    history.header.safepoint = n;
    history.header.time_ns = 2;
    history.header.first_wall_ns = 3;
    history.header.live_threads = 4;
    history.header.heap_blocks = 5;
    history.header.heap_bytes = 6;
    history.header.refuted_threads = 7;
    history.header.mark_ns = 8;
    history.threads = threads_;
    history.blocks = blocks_;
    return history;
  }

  void expect_same(const History &read, const History &written) {
    HistoryHeader header = written.header;
    header.magic = HistoryHeader::kMagic;
    header.threads = written.threads.size();
    header.blocks = written.blocks.size();
    EXPECT_TRUE(same(read.header, header));
    ASSERT_EQ(read.threads.size(), written.threads.size());
    for (size_t i = 0; i < read.threads.size(); ++i) EXPECT_TRUE(same(read.threads[i], written.threads[i])) << i;
    ASSERT_EQ(read.blocks.size(), written.blocks.size());
    for (size_t i = 0; i < read.blocks.size(); ++i) EXPECT_TRUE(same(read.blocks[i], written.blocks[i])) << i;
  }

  void expect_empty(const History &read) {
    EXPECT_TRUE(same(read.header, HistoryHeader{}));
    EXPECT_TRUE(read.threads.empty());
    EXPECT_TRUE(read.blocks.empty());
  }

  void put_header(const HistoryHeader &header) {
    ASSERT_EQ(pwrite(fd_, &header, sizeof header, 0), static_cast<ssize_t>(sizeof header));
  }

  int fd_ = memfd_create("history", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  std::vector<PastThread> threads_;
  std::vector<PastBlock> blocks_;
};

TEST_F(HistoryFile, ComesBackAsItWasWritten) {
  for (auto [threads, blocks] : {std::pair<size_t, size_t>{0, 0}, {1, 0}, {0, 1}, {3, 5}, {10000, 20000}, {2, 1}}) {
    History written = make(threads, blocks, threads + 1);
    ASSERT_TRUE(write_history(fd_, written));
    expect_same(read_history(fd_), written);
    EXPECT_EQ(read_history_header(fd_).safepoint, threads + 1);
  }
}

TEST_F(HistoryFile, IsEmptyWhereThereIsNone) {
  expect_empty(read_history(fd_));
  expect_empty(read_history(-1));
  EXPECT_TRUE(same(read_history_header(-1), HistoryHeader{}));
  EXPECT_FALSE(write_history(-1, make(1, 1)));
}

TEST_F(HistoryFile, GivesNoMoreBlocksThanAreWanted) {
  History written = make(3, 10);
  ASSERT_TRUE(write_history(fd_, written));
  for (size_t most : {0, 1, 9, 10, 11}) {
    History read = read_history(fd_, most);
    EXPECT_EQ(read.header.blocks, 10u);
    EXPECT_EQ(read.threads.size(), 3u);
    ASSERT_EQ(read.blocks.size(), std::min<size_t>(most, 10));
    for (size_t i = 0; i < read.blocks.size(); ++i) EXPECT_TRUE(same(read.blocks[i], written.blocks[i]));
  }
}

TEST_F(HistoryFile, FindsAThreadByItsTid) {
  ASSERT_TRUE(write_history(fd_, make(5, 0)));
  History read = read_history(fd_);
  for (int32_t tid : {100, 102, 104, 106, 108}) {
    ASSERT_NE(read.find(tid), nullptr) << tid;
    EXPECT_EQ(read.find(tid)->tid, tid);
  }
  for (int32_t tid : {-1, 0, 99, 101, 107, 109}) EXPECT_EQ(read.find(tid), nullptr) << tid;
  EXPECT_EQ(History{}.find(100), nullptr);
}

TEST_F(HistoryFile, IsEmptyWhereItIsCutOff) {
  ASSERT_TRUE(write_history(fd_, make(3, 4)));
  for (off_t size = lseek(fd_, 0, SEEK_END) - 1; size >= 0; --size) {
    ASSERT_EQ(ftruncate(fd_, size), 0);
    expect_empty(read_history(fd_));
  }
}

// As a snapshot leaves it that died before the header: everything but that is there.
TEST_F(HistoryFile, IsEmptyWithoutItsHeader) {
  ASSERT_TRUE(write_history(fd_, make(3, 4)));
  HistoryHeader header = read_history_header(fd_);
  put_header({});
  expect_empty(read_history(fd_));
  for (int bit = 0; bit < 64; ++bit) {
    header.magic = HistoryHeader::kMagic ^ uint64_t { 1 } << bit;
    put_header(header);
    expect_empty(read_history(fd_));
    EXPECT_TRUE(same(read_history_header(fd_), HistoryHeader{}));
  }
}

TEST_F(HistoryFile, IsEmptyWithCountsThatTheFileCannotHold) {
  ASSERT_TRUE(write_history(fd_, make(3, 4)));
  const HistoryHeader good = read_history_header(fd_);
  constexpr uint64_t kWrapsThreads = UINT64_MAX / sizeof(PastThread) + 1; // times the size: a few bytes
  constexpr uint64_t kWrapsBlocks = uint64_t{1} << 59;                    // times the size: 0
  static_assert(kWrapsBlocks * sizeof(PastBlock) == 0 && kWrapsThreads * sizeof(PastThread) < sizeof(PastThread));
  for (uint64_t bad : {uint64_t{1}, uint64_t{5}, uint64_t{1} << 20, uint64_t{1} << 32, uint64_t{1} << 40, kWrapsBlocks,
                       kWrapsBlocks + 3, kWrapsBlocks + 4, kWrapsThreads, kWrapsThreads + 3, UINT64_MAX}) {
    SCOPED_TRACE(bad);
    HistoryHeader header = good;
    header.threads = bad;
    put_header(header);
    expect_empty(read_history(fd_));
    expect_empty(read_history(fd_, 1));
    header = good;
    header.blocks = bad;
    put_header(header);
    expect_empty(read_history(fd_));
    expect_empty(read_history(fd_, 1));
    header.threads = bad;
    put_header(header);
    expect_empty(read_history(fd_));
  }
  put_header(good);
  expect_same(read_history(fd_), make(3, 4));
}

// So many threads that their bytes wrap around to 40, and blocks for exactly the rest of the file.
TEST_F(HistoryFile, IsEmptyWithCountsWhoseBytesWrapAroundToItsSize) {
  constexpr uint64_t kThreads = UINT64_MAX / sizeof(PastThread) + 1, kBlocks = 8;
  constexpr uint64_t kRest = kThreads * sizeof(PastThread);
  static_assert(kRest < sizeof(PastThread));
  ASSERT_TRUE(write_history(fd_, make(0, kBlocks)));
  HistoryHeader header = read_history_header(fd_);
  ASSERT_EQ(ftruncate(fd_, sizeof header + kRest + kBlocks * sizeof(PastBlock)), 0);
  header.threads = kThreads;
  put_header(header);
  expect_empty(read_history(fd_));
}

TEST_F(HistoryFile, TrustsNoSizeOfAFileEither) {
  ASSERT_TRUE(write_history(fd_, make(3, 4)));
  HistoryHeader header = read_history_header(fd_);
  ASSERT_EQ(ftruncate(fd_, static_cast<off_t>(sizeof header) + (off_t{1} << 50) * 32), 0); // sparse
  header.threads = 0;
  header.blocks = uint64_t{1} << 50;
  put_header(header);
  expect_empty(read_history(fd_)); // more than the address space
}

TEST_F(HistoryFile, OfTheEarlierSafepointIsGoneWhenItsSuccessorCannotBeWritten) {
  ASSERT_TRUE(write_history(fd_, make(3, 4)));
  ASSERT_EQ(fcntl(fd_, F_ADD_SEALS, F_SEAL_GROW), 0); // as where there is no memory
  EXPECT_FALSE(write_history(fd_, make(3, 4)));
  expect_empty(read_history(fd_));
}

TEST_F(HistoryFile, CannotBeWrittenWhereNothingCan) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_FALSE(write_history(fd, make(3, 4)));
  close(fd);
}

} // namespace
} // namespace castaway
