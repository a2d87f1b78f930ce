// Files in and out, with errors as one line that names the file. Any thread; OFFLINE.
#pragma once

#include "profile/result.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace castaway {

// A descriptor that closes itself.
class Descriptor {
public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor &operator=(Descriptor &&other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

private:
  int fd_;
};

// "No such file or directory".
std::string os_error(int number);

// A regular file, opened for reading. Never waits for a pipe or a device.
Result<Descriptor> open_file(const std::string &path);

// The whole of a regular file as a private mapping; the caller unmaps it. Empty files are an error.
Result<std::span<const std::byte>> map_file(const std::string &path);
Result<std::span<const std::byte>> map_descriptor(int fd);

// The whole of a regular file, at most `limit` bytes.
Result<std::vector<std::byte>> read_file(const std::string &path, size_t limit);
// From where the descriptor stands.
Result<std::vector<std::byte>> read_descriptor(int fd, size_t limit);

// All of `bytes`; the error number if not.
int write_all(int fd, std::string_view bytes);

} // namespace castaway
