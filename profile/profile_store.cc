#include "profile/profile_store.h"

#include "profile/file.h"
#include "profile/text.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace castaway {
namespace {

constexpr std::string_view kSuffix = ".pb.gz";
constexpr std::string_view kTemporary = ".tmp";

Error failed(const char *what, const std::string &name, int number) {
  return {std::string(what) + " " + name + ": " + os_error(number)};
}

bool plain(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

// ".<name>.<writer>.tmp", the writer's own: an earlier safepoint's reporter, whose tracer was killed, may write still.
std::string temporary_name(const std::string &name) {
  return "." + name + "." + std::to_string(getpid()) + std::string(kTemporary);
}

// Whether `name` is such a name, of what starts with `prefix`, and its writer is gone.
bool is_leftover(std::string_view name, std::string_view prefix) {
  if (!name.starts_with('.') || !name.substr(1).starts_with(prefix) || !name.ends_with(kTemporary)) return false;
  name.remove_suffix(kTemporary.size());
  const auto writer = parse_decimal(name.substr(name.rfind('.') + 1));
  return writer && *writer > 0 && *writer <= INT_MAX && kill(static_cast<pid_t>(*writer), 0) != 0 && errno == ESRCH;
}

// What `make` returns, below 0 where it fails. What an earlier process with this pid has left is removed where it is in
// the way: to look for what is not there takes a way through the whole directory.
template <typename Make> int make_new(int directory, const std::string &temporary, Make make) {
  const int made = make();
  if (made >= 0 || errno != EEXIST) return made;
  unlinkat(directory, temporary.c_str(), 0);
  return make();
}

// All names in the directory; what cannot be listed is left alone.
std::vector<std::string> list(int directory) {
  std::vector<std::string> names;
  const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return names;
  const std::unique_ptr<DIR, int (*)(DIR *)> stream(fdopendir(fd), closedir);
  if (!stream) {
    close(fd);
    return names;
  }
  while (const auto *entry = readdir(stream.get())) names.emplace_back(entry->d_name);
  return names;
}

// All of a file; empty where it is no file, not ours or too large. Others can write to a directory that all share.
std::vector<std::byte> read_own(int file) {
  constexpr size_t kMost = size_t{64} << 20;
  struct stat status;
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid()) return {};
  auto bytes = read_descriptor(file, kMost);
  return bytes ? std::move(*bytes) : std::vector<std::byte>();
}

// The number between `prefix` and ".pb.gz".
std::optional<uint64_t> sequence_of(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || !name.ends_with(kSuffix) || name.size() < prefix.size() + kSuffix.size())
    return std::nullopt;
  return parse_decimal(name.substr(prefix.size(), name.size() - prefix.size() - kSuffix.size()));
}

struct Numbers {
  uint64_t pid, seq;
};

// If `name` is that of a profile of `kind` of any process that is called `comm`: of which, and its number.
std::optional<Numbers> numbers_of(std::string_view name, std::string_view comm, std::string_view kind) {
  if (!name.starts_with(comm) || name.size() == comm.size() || name[comm.size()] != '.') return std::nullopt;
  name.remove_prefix(comm.size() + 1);
  const auto text = name.substr(0, name.find('.'));
  const auto pid = parse_decimal(text);
  const auto seq = sequence_of(name.substr(text.size()), "." + std::string(kind) + ".");
  return pid && seq ? std::optional(Numbers{*pid, *seq}) : std::nullopt;
}

} // namespace

std::string safe_comm(std::string_view comm) {
  std::string safe(comm);
  std::replace_if(
      safe.begin(), safe.end(), [](char c) { return !plain(c); }, '_');
  if (safe.empty()) return "unknown";
  if (safe[0] == '.') safe[0] = '_';
  return safe;
}

ProfileStore::ProfileStore(int directory, std::string_view comm, uint64_t pid)
    : directory_(directory), comm_(safe_comm(comm)), process_(comm_ + "." + std::to_string(pid) + ".") {}

Result<StoredProfile> ProfileStore::put(std::string_view kind, uint64_t seq, uint64_t keep,
                                        std::string_view bytes) const {
  const auto name = name_of(kind, seq);
  if (auto status = write(name, bytes); !status) return Error{status.error()};
  StoredProfile stored{name, ""};
  const auto linked = link(name, process_ + std::string(kind) + std::string(kSuffix));
  const auto removed = remove_old(kind, seq, keep);
  if (!linked) stored.trouble = linked.error();
  if (linked && !removed) stored.trouble = removed.error();
  return stored;
}

std::vector<std::byte> ProfileStore::earlier(std::string_view kind, uint64_t seq) const {
  constexpr uint64_t kTries = 3;
  for (uint64_t back = 1; back <= kTries && back < seq; back++)
    if (auto bytes = read(name_of(kind, seq - back)); !bytes.empty()) return bytes;
  return {};
}

std::string ProfileStore::name_of(std::string_view kind, uint64_t seq) const {
  return process_ + std::string(kind) + "." + std::to_string(seq) + std::string(kSuffix);
}

std::vector<std::string> ProfileStore::siblings(std::string_view kind) const {
  std::map<uint64_t, std::pair<uint64_t, std::string>, std::greater<>> newest; // by pid, with its number
  for (auto &name : list(directory_)) {
    const auto numbers = numbers_of(name, comm_, kind);
    if (!numbers || name.starts_with(process_)) continue;
    auto &known = newest[numbers->pid];
    if (known.second.empty() || known.first < numbers->seq) known = {numbers->seq, std::move(name)};
  }
  std::vector<std::string> names;
  for (auto &[pid, profile] : newest) names.push_back(std::move(profile.second));
  return names;
}

std::vector<std::byte> ProfileStore::read(const std::string &name) const {
  const Descriptor file(openat(directory_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  return read_own(file.get()); // nothing where it could not be opened
}

Descriptor ProfileStore::hold() const {
  constexpr std::chrono::milliseconds kStep(20), kPatience(3000);
  Descriptor own(openat(directory_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (own.ok() && flock(own.get(), LOCK_EX | LOCK_NB) != 0) {
    if ((errno != EWOULDBLOCK && errno != EINTR) || std::chrono::steady_clock::now() > deadline) return Descriptor();
    std::this_thread::sleep_for(kStep);
  }
  return own;
}

bool ProfileStore::is_denied() const {
  if (directory_ < 0) return true; // not even the directory could be opened
  const auto temporary = temporary_name(process_ + "probe");
  const Descriptor file(
      openat(directory_, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.ok()) return errno == EACCES || errno == EPERM || errno == EROFS;
  unlinkat(directory_, temporary.c_str(), 0);
  return false;
}

Status ProfileStore::write(const std::string &name, std::string_view bytes) const {
  const auto temporary = temporary_name(name);
  Descriptor file(make_new(directory_, temporary, [&] {
    return openat(directory_, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  }));
  if (!file.ok()) return failed("cannot create", name, errno);
  int error = write_all(file.get(), bytes);
  if (error == 0 && renameat(directory_, temporary.c_str(), directory_, name.c_str()) != 0) error = errno;
  if (error == 0) return Done{};
  unlinkat(directory_, temporary.c_str(), 0);
  return failed("cannot write", name, error);
}

Status ProfileStore::link(const std::string &target, const std::string &name) const {
  const auto temporary = temporary_name(name);
  if (make_new(directory_, temporary, [&] { return symlinkat(target.c_str(), directory_, temporary.c_str()); }) != 0)
    return failed("cannot link", name, errno);
  if (renameat(directory_, temporary.c_str(), directory_, name.c_str()) == 0) return Done{};
  const int error = errno;
  unlinkat(directory_, temporary.c_str(), 0);
  return failed("cannot link", name, error);
}

// As a rule there is one too many now, and its name is known: the directory may hold the profiles of very many
// processes. All names are looked at where that one or some before this are not there, and now and then.
Status ProfileStore::remove_old(std::string_view kind, uint64_t newest, uint64_t keep) const {
  constexpr uint64_t kNowAndThen = 64;
  bool in_a_row = newest > keep && newest % kNowAndThen != 0;
  for (uint64_t back = 1; in_a_row && back < keep; back *= 2)
    in_a_row = faccessat(directory_, name_of(kind, newest - back).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  if (in_a_row && unlinkat(directory_, name_of(kind, newest - keep).c_str(), 0) == 0) return Done{};
  return remove_all_old(process_ + std::string(kind) + ".", newest, keep);
}

// Safepoints are numbered upwards from 1, so a greater number than the newest is left from an earlier process with the
// same name and pid: it goes first.
Status ProfileStore::remove_all_old(const std::string &prefix, uint64_t newest, uint64_t keep) const {
  std::vector<std::pair<uint64_t, std::string>> by_age; // age in safepoints
  for (auto &name : list(directory_)) {
    if (const auto seq = sequence_of(name, prefix))
      by_age.emplace_back(newest - *seq, std::move(name));
    else if (is_leftover(name, prefix))
      unlinkat(directory_, name.c_str(), 0);
  }
  std::sort(by_age.begin(), by_age.end());
  for (size_t i = keep; i < by_age.size(); i++)
    if (unlinkat(directory_, by_age[i].second.c_str(), 0) != 0 && errno != ENOENT)
      return failed("cannot remove", by_age[i].second, errno);
  return Done{};
}

} // namespace castaway
