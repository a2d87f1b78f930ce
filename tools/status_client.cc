#include "tools/status_client.h"

#include "tools/failure.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <linux/futex.h>
#include <poll.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace castaway {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLongestSleep(100); // between looks whether the process still lives
constexpr std::chrono::milliseconds kBetweenLooks(20);  // for a page that is not there yet
constexpr std::string_view kDeleted = " (deleted)";
constexpr char kRuntimeName[] = "/libcastaway.so";

std::string process_name(pid_t pid) { return "process " + std::to_string(pid); }

std::string in_proc(pid_t pid, const std::string &name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::optional<std::string> read_text(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// /proc/PID/maps is empty once the main thread has ended; any other thread's says the same and stays.
std::string read_maps(pid_t pid) {
  errno = 0;
  const std::optional<std::string> maps = read_text(in_proc(pid, "maps"));
  if (!maps) throw Failure(kStatusFailed, process_name(pid) + ": its memory map cannot be read: " + error_text(errno));
  if (!maps->empty()) return *maps;
  std::error_code error;
  for (const auto &task : std::filesystem::directory_iterator(in_proc(pid, "task"), error)) {
    if (const auto text = read_text(task.path() / "maps"); text && !text->empty()) return *text;
  }
  return "";
}

// The process's pid as it sees itself: the last one that /proc/PID/status lists.
pid_t inner_pid(pid_t pid) {
  std::istringstream status(read_text(in_proc(pid, "status")).value_or(""));
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("NSpid:")) continue;
    return static_cast<pid_t>(strtol(line.c_str() + line.find_last_of(" \t") + 1, nullptr, 10));
  }
  return pid;
}

bool is_trusted(uid_t owner, pid_t pid) {
  struct stat process = {};
  const bool is_its_own = stat(in_proc(pid, "").c_str(), &process) == 0 && process.st_uid == owner;
  return owner == 0 || owner == geteuid() || (geteuid() == 0 && is_its_own);
}

// A descriptor of the mapped file, or -1. Its path may mean another file here than there, hence the inode's number.
int open_page(pid_t pid, const MappedFile &mapping) {
  const std::array candidates = {mapping.path, in_proc(pid, "root") + mapping.path,
                                 in_proc(pid, "map_files/") + mapping.range};
  for (const std::string &path : candidates) {
    const int nofollow = &path == &candidates.back() ? 0 : O_NOFOLLOW; // that one is a link, made by the kernel
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | nofollow);
    struct stat status = {};
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_ino == mapping.inode) return fd;
    if (fd >= 0) close(fd);
  }
  return -1;
}

// Maps the page of an open file. Throws where the file cannot be one.
StatusPage *map_page(int fd, pid_t pid) {
  const auto refuse = [pid](const std::string &why) {
    throw Failure(kStatusFailed, process_name(pid) + ": its status page " + why);
  };
  struct stat status = {};
  if (fstat(fd, &status) != 0 || status.st_size < static_cast<off_t>(sizeof(StatusPage))) refuse("is too short");
  if (!is_trusted(status.st_uid, pid)) refuse("belongs to another user");
  void *memory = mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) refuse("cannot be mapped: " + error_text(errno));
  auto *page = static_cast<StatusPage *>(memory);
  if (memcmp(page->magic, kStatusMagic, sizeof kStatusMagic) == 0 && page->size >= sizeof(StatusPage) &&
      page->pid == inner_pid(pid))
    return page;
  munmap(memory, sizeof(StatusPage));
  refuse("is of another process or another version of castaway");
  return nullptr;
}

MappedFile await_mapping(pid_t pid, std::chrono::milliseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  while (true) {
    const std::string maps = read_maps(pid);
    if (const std::optional<MappedFile> mapping = find_status_mapping(maps)) return *mapping;
    if (maps.find(kRuntimeName) == std::string::npos)
      throw Failure(kStatusFailed, process_name(pid) + ": castaway is not preloaded in it");
    if (Clock::now() >= deadline) throw Failure(kStatusFailed, process_name(pid) + ": profiling is off in it");
    std::this_thread::sleep_for(kBetweenLooks);
  }
}

long futex(std::atomic<uint32_t> *word, int operation, uint32_t value, const timespec *timeout) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t *>(word), operation, value, timeout, nullptr, 0);
}

// No later than `deadline`, when `word` is changed, or after kLongestSleep.
void sleep_on(const std::atomic<uint32_t> &word, uint32_t value, Clock::time_point deadline) {
  const auto left =
      std::clamp<std::chrono::nanoseconds>(deadline - Clock::now(), std::chrono::nanoseconds(0), kLongestSleep);
  const timespec timeout = {0, static_cast<long>(left.count())};
  futex(const_cast<std::atomic<uint32_t> *>(&word), FUTEX_WAIT, value, &timeout);
}

// Numbers of requests wrap around.
bool is_served(uint32_t completed, uint32_t request) { return static_cast<int32_t>(completed - request) >= 0; }

template <size_t N> std::string bounded(const char (&text)[N]) { return std::string(text, strnlen(text, N)); }

} // namespace

std::optional<MappedFile> find_status_mapping(const std::string &maps) {
  std::istringstream lines(maps);
  for (std::string line; std::getline(lines, line);) {
    MappedFile file;
    std::string flags, offset, device;
    std::istringstream fields(line);
    fields >> file.range >> flags >> offset >> device >> file.inode >> std::ws;
    if (!std::getline(fields, file.path)) continue;
    if (file.path.ends_with(kDeleted)) file.path.resize(file.path.size() - kDeleted.size());
    if (file.path.ends_with(kStatusSuffix)) return file;
  }
  return std::nullopt;
}

StatusClient::StatusClient(pid_t pid, std::chrono::milliseconds patience) : pid_(pid) {
  if (kill(pid, 0) != 0 && errno == ESRCH) throw Failure(kStatusFailed, process_name(pid) + ": no such process");
  const MappedFile mapping = await_mapping(pid, patience);
  const int fd = open_page(pid, mapping);
  if (fd < 0)
    throw Failure(kStatusFailed,
                  process_name(pid) + ": its status page " + in_quotes(mapping.path) + " cannot be opened");
  const std::unique_ptr<const int, void (*)(const int *)> closer(&fd, [](const int *open) { close(*open); });
  page_ = map_page(fd, pid);
  process_fd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

StatusClient::~StatusClient() {
  munmap(page_, sizeof(StatusPage));
  if (process_fd_ >= 0) close(process_fd_);
}

uint32_t StatusClient::request(uint64_t question) {
  if (question != 0) page_->question.store(question);
  const uint32_t number = page_->requested.fetch_add(1) + 1;
  futex(&page_->requested, FUTEX_WAKE, INT_MAX, nullptr);
  return number;
}

bool StatusClient::has_ended() const {
  if (process_fd_ < 0) return kill(pid_, 0) != 0 && errno == ESRCH;
  pollfd process = {process_fd_, POLLIN, 0};
  return poll(&process, 1, 0) == 1;
}

StatusClient::Outcome StatusClient::wait(uint32_t request, std::chrono::nanoseconds timeout) const {
  const Clock::time_point deadline = Clock::now() + timeout;
  while (true) {
    const uint32_t completed = page_->completed.load();
    if (is_served(completed, request)) return Outcome::served;
    if (has_ended()) return Outcome::process_ended;
    if (Clock::now() >= deadline) return Outcome::timed_out;
    sleep_on(page_->completed, completed, deadline);
  }
}

std::string StatusClient::last_profile() const { return bounded(page_->last_profile); }

std::string StatusClient::last_trouble() const { return bounded(page_->last_trouble); }

} // namespace castaway
