#include "profile/file.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace castaway {
namespace {

Result<size_t> regular_size(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return Error{os_error(errno)};
  if (!S_ISREG(status.st_mode)) return Error{"not a regular file"};
  return static_cast<size_t>(status.st_size);
}

} // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

std::string os_error(int number) { return std::generic_category().message(number); }

Result<Descriptor> open_file(const std::string &path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.ok()) return Error{path + ": " + os_error(errno)};
  const auto size = regular_size(file.get());
  if (!size) return Error{path + ": " + size.error()};
  return file;
}

Result<std::span<const std::byte>> map_descriptor(int fd) {
  const auto size = regular_size(fd);
  if (!size) return Error{size.error()};
  if (*size == 0) return Error{"empty"};
  void *at = mmap(nullptr, *size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) return Error{os_error(errno)};
  return std::span<const std::byte>(static_cast<const std::byte *>(at), *size);
}

Result<std::span<const std::byte>> map_file(const std::string &path) {
  const auto file = open_file(path);
  if (!file) return Error{file.error()};
  auto bytes = map_descriptor(file->get());
  if (!bytes) return Error{path + ": " + bytes.error()};
  return bytes;
}

Result<std::vector<std::byte>> read_file(const std::string &path, size_t limit) {
  const auto file = open_file(path);
  if (!file) return Error{file.error()};
  auto bytes = read_descriptor(file->get(), limit);
  if (!bytes) return Error{path + ": " + bytes.error()};
  return bytes;
}

Result<std::vector<std::byte>> read_descriptor(int fd, size_t limit) {
  std::vector<std::byte> bytes;
  std::array<std::byte, 64 << 10> part; // of what is to be read: to clear room for more takes longer than to read it
  for (;;) {
    const auto count = read(fd, part.data(), part.size());
    if (count < 0) return Error{os_error(errno)};
    if (count == 0) return bytes;
    bytes.insert(bytes.end(), part.begin(), part.begin() + count);
    if (bytes.size() > limit) return Error{"larger than " + std::to_string(limit) + " bytes"};
  }
}

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto count = write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return 0;
}

} // namespace castaway
