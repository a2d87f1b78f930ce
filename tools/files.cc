#include "tools/files.h"

#include "tools/failure.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace castaway {

namespace {

// The path itself if it is there, else the nearest directory above it that is.
std::filesystem::path nearest_existing(std::filesystem::path path) {
  struct stat status = {};
  while (lstat(path.c_str(), &status) != 0 && errno == ENOENT && path.has_relative_path()) path = path.parent_path();
  return path;
}

// Tries a nameless file, as only the kernel knows about read-only mounts, quotas and access lists. Where a file system
// has no such files, the permissions have to do.
int error_of_new_file(const std::filesystem::path &directory) {
  const int fd = open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (fd >= 0) return close(fd), 0;
  if (errno != EOPNOTSUPP && errno != EISDIR) return errno;
  return access(directory.c_str(), W_OK | X_OK) == 0 ? 0 : errno;
}

} // namespace

std::filesystem::path absolute_path(const std::filesystem::path &path) {
  std::error_code error;
  std::filesystem::path full = std::filesystem::absolute(path, error);
  return error ? path : full;
}

std::string trouble_writing_directory(const std::filesystem::path &directory) {
  const int error = error_of_new_file(nearest_existing(directory));
  return error == 0 ? "" : error_text(error);
}

std::string trouble_writing_file(const std::filesystem::path &file) {
  struct stat status = {};
  if (stat(file.c_str(), &status) != 0) {
    const bool can_be_made = errno == ENOENT && stat(file.parent_path().c_str(), &status) == 0;
    return can_be_made ? trouble_writing_directory(file.parent_path()) : error_text(errno);
  }
  if (S_ISDIR(status.st_mode)) return error_text(EISDIR);
  return access(file.c_str(), W_OK) == 0 ? "" : error_text(errno);
}

} // namespace castaway
