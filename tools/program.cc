#include "tools/program.h"

#include "tools/failure.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <elf.h>
#include <fcntl.h>
#include <span>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

namespace castaway {

namespace {

constexpr int kMostInterpreters = 5;         // the kernel follows as many
constexpr size_t kFirstBytes = 256;          // as many as the kernel reads of a script's first line
constexpr size_t kMostProgramHeaders = 1024; // more make no sense
constexpr size_t kLongestInterpreter = 4096;

#if defined(__x86_64__)
constexpr Elf64_Half kMachine = EM_X86_64;
#else
constexpr Elf64_Half kMachine = EM_AARCH64;
#endif

class File {
public:
  explicit File(const std::filesystem::path &path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  File(const File &) = delete;
  File &operator=(const File &) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }

  // What there is of `size` bytes at `offset`.
  std::string read(size_t size, off_t offset) const {
    std::string bytes(size, '\0');
    const ssize_t got = fd_ < 0 ? -1 : pread(fd_, bytes.data(), size, offset);
    bytes.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return bytes;
  }

  // All of `size` bytes at `offset` into `to`; false if the file is shorter.
  bool read_exactly(void *to, size_t size, uint64_t offset) const {
    return fd_ >= 0 && pread(fd_, to, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
  }

private:
  int fd_;
};

// 0, or the errno that execve would give.
int error_of_execution(const std::filesystem::path &path) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) return errno;
  if (!S_ISREG(status.st_mode)) return EACCES;
  return access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

[[noreturn]] void refuse(const std::string &name, int error) {
  const bool is_path = name.find('/') != std::string::npos;
  if (error == ENOENT || error == ENOTDIR)
    throw Failure(kStatusNotFound, in_quotes(name) + ": " + (is_path ? error_text(error) : "command not found"));
  throw Failure(kStatusCannotRun, in_quotes(name) + ": cannot be executed: " + error_text(error));
}

std::string search_path() {
  const char *path = getenv("PATH");
  return path == nullptr ? "/bin:/usr/bin" : path; // execvp's default
}

// The interpreter named by "#! /bin/sh -x"; empty if none is.
std::string interpreter_of(const std::string &first_bytes) {
  const std::string line = first_bytes.substr(2, first_bytes.find('\n') - 2);
  const size_t begin = line.find_first_not_of(" \t");
  return begin == std::string::npos ? "" : line.substr(begin, line.find_first_of(" \t", begin) - begin);
}

// Whether the kernel will start it in secure-execution mode, in which the loader drops LD_PRELOAD.
bool gains_privileges(const std::filesystem::path &path) {
  struct stat status = {};
  struct statvfs mount = {};
  if (stat(path.c_str(), &status) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return false;
  if (statvfs(path.c_str(), &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0) return false;
  const bool other_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != getuid();
  const bool other_group =
      (status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 && status.st_gid != getgid();
  const bool capable = getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
  return other_user || other_group || capable;
}

// What follows from the path of the program's loader: only glibc's takes a library that is made for glibc.
std::string judge_loader(const std::string &loader) {
  const std::string name = std::filesystem::path(loader).filename();
  return name.starts_with("ld-linux") ? "" : "uses another C library (its loader is " + in_quotes(loader) + ")";
}

std::string judge_program_headers(const File &file, const Elf64_Ehdr &header, const std::filesystem::path &path) {
  for (size_t i = 0; i < header.e_phnum && i < kMostProgramHeaders; ++i) {
    Elf64_Phdr segment = {};
    if (!file.read_exactly(&segment, sizeof segment, header.e_phoff + i * sizeof segment)) return "";
    if (segment.p_type != PT_INTERP) continue;
    const std::string loader =
        file.read(std::min<uint64_t>(segment.p_filesz, kLongestInterpreter), static_cast<off_t>(segment.p_offset));
    return judge_loader(loader.c_str()); // up to its zero
  }
  const bool is_loader = path.filename().native().starts_with("ld-linux"); // started as a program: it obeys LD_PRELOAD
  return is_loader ? "" : "is statically linked";
}

std::string judge_elf(const File &file, const std::filesystem::path &path) {
  Elf64_Ehdr header = {};
  if (!file.read_exactly(&header, sizeof(Elf32_Ehdr), 0)) return "";
  if (header.e_ident[EI_CLASS] == ELFCLASS32) return "is a 32-bit program";
  if (!file.read_exactly(&header, sizeof header, 0) || header.e_phentsize != sizeof(Elf64_Phdr)) return "";
  if (header.e_machine != kMachine) return "is made for another processor";
  if (gains_privileges(path)) return "gains privileges when it starts (set-user-id, set-group-id or capabilities)";
  return judge_program_headers(file, header, path);
}

std::string judge(const std::filesystem::path &path, int interpreters) {
  const File file(path);
  const std::string start = file.read(kFirstBytes, 0);
  if (start.starts_with(ELFMAG)) {
    const std::string why = judge_elf(file, path);
    return why.empty() || interpreters == 0 ? why
                                            : "is a script whose interpreter " + in_quotes(path.native()) + " " + why;
  }
  if (!start.starts_with("#!") || interpreters == kMostInterpreters) return "";
  return judge(interpreter_of(start), interpreters + 1);
}

} // namespace

std::filesystem::path find_program(const std::string &name) {
  if (name.find('/') != std::string::npos) {
    if (const int error = error_of_execution(name); error != 0) refuse(name, error);
    return name;
  }
  int worst = ENOENT;
  std::string path = name.empty() ? "" : search_path() + ":";
  for (size_t end = path.find(':'); end != std::string::npos; path.erase(0, end + 1), end = path.find(':')) {
    std::filesystem::path candidate = (end == 0 ? "." : path.substr(0, end)) + "/" + name;
    const int error = error_of_execution(candidate);
    if (error == 0) return candidate;
    if (error == EACCES) worst = error;
  }
  refuse(name, worst);
}

std::string why_not_preloadable(const std::filesystem::path &path) { return judge(path, 0); }

} // namespace castaway
