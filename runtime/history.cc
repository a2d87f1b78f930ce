// The history; see history.h.
#include "runtime/history.h"

#include "runtime/sys.h"

#include <algorithm>
#include <sys/stat.h>
#include <unistd.h>

namespace castaway {

namespace {

long read_at(int fd, void *to, size_t size, size_t at) {
  size_t done = 0;
  while (done < size) {
    long got = sys::call(SYS_pread64, fd, static_cast<char *>(to) + done, size - done, at + done);
    if (got == -EINTR) continue;
    if (got <= 0) return -1;
    done += static_cast<size_t>(got);
  }
  return 0;
}

template <typename T> std::span<T> read_array(int fd, size_t count, size_t at) {
  if (count == 0) return {};
  auto *array = static_cast<T *>(sys::map_memory(count * sizeof(T)));
  if (!array) return {};
  if (read_at(fd, array, count * sizeof(T), at) != 0)
    return sys::unmap_memory(array, count * sizeof(T)), std::span<T>{};
  return {array, count};
}

// Whether the arrays are all of what follows the header. The file's size bounds the counts before anything is mapped or
// multiplied: those of a damaged header could wrap around.
bool fits(const HistoryHeader &header, int fd) {
  struct stat status {};
  if (sys::call(SYS_fstat, fd, &status) != 0 || status.st_size < static_cast<off_t>(sizeof header)) return false;
  uint64_t rest = static_cast<uint64_t>(status.st_size) - sizeof header;
  if (header.threads > rest / sizeof(PastThread)) return false;
  rest -= header.threads * sizeof(PastThread);
  return header.blocks == rest / sizeof(PastBlock) && rest % sizeof(PastBlock) == 0;
}

} // namespace

const PastThread *History::find(int32_t tid) const {
  auto *at = std::lower_bound(threads.data(), threads.data() + threads.size(), tid,
                              [](const PastThread &past, int32_t wanted) { return past.tid < wanted; });
  return at != threads.data() + threads.size() && at->tid == tid ? at : nullptr;
}

HistoryHeader read_history_header(int fd) {
  HistoryHeader header{};
  if (fd < 0 || read_at(fd, &header, sizeof header, 0) != 0 || header.magic != HistoryHeader::kMagic) return {};
  return header;
}

History read_history(int fd, size_t most_blocks) {
  History history{.header = read_history_header(fd), .threads = {}, .blocks = {}};
  const HistoryHeader &header = history.header;
  if (header.magic == 0 || !fits(header, fd)) return {};
  size_t at = sizeof header;
  history.threads = read_array<PastThread>(fd, header.threads, at);
  at += header.threads * sizeof(PastThread);
  size_t blocks = std::min<size_t>(header.blocks, most_blocks);
  history.blocks = read_array<PastBlock>(fd, blocks, at);
  if (history.threads.size() == header.threads && history.blocks.size() == blocks) return history;
  sys::unmap_memory(history.threads.data(), history.threads.size_bytes());
  sys::unmap_memory(history.blocks.data(), history.blocks.size_bytes());
  return {};
}

bool write_history(int fd, const History &history) {
  if (fd < 0) return false;
  HistoryHeader header = history.header;
  header.magic = HistoryHeader::kMagic;
  header.threads = history.threads.size();
  header.blocks = history.blocks.size();
  if (sys::call(SYS_ftruncate, fd, 0) < 0) return false;
  sys::call(SYS_lseek, fd, static_cast<long>(sizeof header), SEEK_SET);
  bool written = sys::write_all(fd, history.threads.data(), history.threads.size_bytes()) == 0 &&
                 sys::write_all(fd, history.blocks.data(), history.blocks.size_bytes()) == 0;
  sys::call(SYS_lseek, fd, 0, SEEK_SET);
  return written && sys::write_all(fd, &header, sizeof header) == 0;
}

void write_readings(int fd, const SharedReadings &readings) {
  HistoryHeader header = read_history_header(fd);
  header.magic = HistoryHeader::kMagic;
  header.shared = readings;
  sys::call(SYS_pwrite64, fd, &header, sizeof header, 0);
}

} // namespace castaway
