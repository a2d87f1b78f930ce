// The runtime's side of the status page; see status.h.
#include "runtime/status.h"

#include "runtime/tracking.h"

#include <cstddef>

namespace castaway {

namespace {

constexpr size_t kPageSize = 4096;
constexpr auto relaxed = std::memory_order_relaxed;

template <size_t N> void copy_text(char (&to)[N], std::string_view from) {
  size_t size = from.size() < N - 1 ? from.size() : N - 1;
  std::memcpy(to, from.data(), size);
  to[size] = 0;
}

// The value behind `key ` in a text of lines.
std::string_view value_of(std::string_view text, const char *key) {
  Text<64> prefix;
  prefix << key << " ";
  return line_value(text, prefix.view());
}

uint64_t number_of(std::string_view text, const char *key) {
  std::string_view value = value_of(text, key);
  uint64_t number = 0;
  return take_number(value, number) ? number : 0;
}

} // namespace

ReportResult read_result(int fd) {
  static char buffer[4096];
  long size = sys::call(SYS_pread64, fd, buffer, sizeof buffer, 0);
  ReportResult result;
  if (size <= 0) return result;
  std::string_view text(buffer, static_cast<size_t>(size));
  result.profile << value_of(text, "profile");
  result.trouble << value_of(text, "trouble");
  result.threads = number_of(text, "threads");
  result.objects = number_of(text, "objects");
  result.bytes = number_of(text, "bytes");
  result.retained = number_of(text, "retained");
  result.unconfirmed_threads = number_of(text, "unconfirmed_threads");
  result.unconfirmed_objects = number_of(text, "unconfirmed_objects");
  result.unconfirmed_bytes = number_of(text, "unconfirmed_bytes");
  result.unconfirmed_retained = number_of(text, "unconfirmed_retained");
  return result;
}

bool Status::open(int output, const char *name, int pid) {
  // Under another name first: who looks for it must not find it empty.
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
  Text<128> unfinished;
  unfinished << name << ".new";
  fd_ = sys::open_at(output, unfinished.c_str(), kFlags, 0600);
  if (fd_ < 0) return false;
  long at = sys::call(SYS_fallocate, fd_, 0, 0, kPageSize);
  if (at == -EOPNOTSUPP) at = sys::call(SYS_ftruncate, fd_, kPageSize);
  if (at == 0) at = sys::call(SYS_mmap, 0, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (at < 0 && at > -4096) return remove(output, unfinished.c_str()), false;
  page_ = reinterpret_cast<StatusPage *>(at);
  // The child of a fork has a page of its own.
  sys::call(SYS_madvise, at, kPageSize, MADV_DONTFORK);
  contents_.pid = pid;
  contents_.size = sizeof(StatusPage);
  std::memcpy(contents_.magic, kStatusMagic, sizeof contents_.magic);
  sys::call(SYS_pwrite64, fd_, &contents_, sizeof contents_, 0);
  return sys::call(SYS_renameat, output, unfinished.c_str(), output, name) == 0 ||
         (remove(output, unfinished.c_str()), false);
}

void Status::remove(int output, const char *name) {
  if (fd_ < 0) return;
  sys::call(SYS_unlinkat, output, name, 0);
  sys::close(fd_);
  fd_ = -1;
}

void Status::close() {
  if (page_) sys::call(SYS_munmap, page_, kPageSize);
  sys::close(fd_);
  forget();
}

void Status::forget() {
  page_ = nullptr;
  fd_ = -1;
}

uint32_t Status::requested() const {
  uint32_t value = 0;
  if (fd_ >= 0) sys::call(SYS_pread64, fd_, &value, sizeof value, offsetof(StatusPage, requested));
  return value;
}

Question Status::take_question() {
  uint64_t value = 0, none = 0;
  constexpr size_t kAt = offsetof(StatusPage, question);
  if (fd_ < 0 || sys::call(SYS_pread64, fd_, &value, sizeof value, kAt) != sizeof value || !value) return {};
  sys::call(SYS_pwrite64, fd_, &none, sizeof none, kAt);
  if (value & kQuestionTid) return {0, static_cast<int32_t>(value)};
  return {value, 0};
}

void Status::publish() const {
  constexpr size_t kFrom = offsetof(StatusPage, completed); // what comes before is constant or the peer's
  if (fd_ < 0) return;
  sys::call(SYS_pwrite64, fd_, reinterpret_cast<const char *>(&contents_) + kFrom, sizeof contents_ - kFrom, kFrom);
}

void Status::complete(uint32_t request) {
  contents_.completed.store(request, relaxed);
  publish();
  if (page_) sys::futex_wake(&page_->completed, true);
}

void Status::update(const Safepoint &safepoint, const HistoryHeader &history, const ReportResult &result,
                    std::string_view trouble) {
  StatusPage &status = contents_;
  (trouble.empty() ? status.safepoints : status.failed).fetch_add(1, relaxed);
  copy_text(status.last_trouble, trouble);
  if (safepoint.pause_ns > status.longest_pause_ns.load(relaxed))
    status.longest_pause_ns.store(safepoint.pause_ns, relaxed);
  status.last_pause_ns.store(safepoint.pause_ns, relaxed);
  if (trouble.empty()) {
    status.last_wall_ns.store(safepoint.stopped_wall_ns, relaxed);
    status.threads.store(history.live_threads, relaxed);
    status.heap_blocks.store(history.heap_blocks, relaxed);
    status.heap_bytes.store(history.heap_bytes, relaxed);
    status.refuted_threads.store(history.refuted_threads, relaxed);
    status.refuted_blocks.store(tracking.refuted_blocks.load(relaxed), relaxed);
    status.leaked_threads.store(result.threads, relaxed);
    status.leaked_objects.store(result.objects, relaxed);
    status.leaked_bytes.store(result.bytes, relaxed);
    status.retained_bytes.store(result.retained, relaxed);
    copy_text(status.last_profile, result.profile.view());
  }
  publish();
}

} // namespace castaway
