// The agent's descriptors, none of which the target ever sees; see agent.h.
#include "runtime/agent_state.h"
#include "runtime/log.h"
#include "runtime/place.h"

#include <algorithm>
#include <sys/stat.h>

namespace castaway {

namespace {

// A descriptor table without the target's descriptors, from which nothing of the target's is closed.
bool leave_descriptor_table() {
  constexpr long kCloseRange = 436;
  constexpr unsigned kUnshare = 2; // CLOSE_RANGE_UNSHARE, Linux 5.9
  return sys::call(kCloseRange, 0, ~0u, kUnshare) == 0;
}

// 0, or a negative errno. `made` tells whether the last part is new.
long make_directories(const char *path, bool &made) {
  Text<kPathSize> part;
  std::string_view rest = path;
  long result = 0;
  made = false;
  while (!rest.empty()) {
    part << take_until(rest, '/');
    if (part.size() > 0) {
      result = sys::call(SYS_mkdirat, AT_FDCWD, part.c_str(), 0700);
      made = result == 0;
    }
    part << "/";
  }
  return result == -EEXIST ? 0 : result;
}

// The error behind a failed system call, in words where users meet it.
std::string_view words(long error) {
  switch (-error) {
  case EACCES:
    return "permission denied";
  case EPERM:
    return "operation not permitted";
  case ENOENT:
    return "no such file or directory";
  case ENOTDIR:
    return "not a directory";
  case ENOSPC:
    return "no space left on device";
  case EROFS:
    return "read-only file system";
  case ENOMEM:
    return "not enough memory";
  default:
    return {};
  }
}

Text<512> &say(Text<512> &text, long error) {
  if (!words(error).empty()) return text << ": " << words(error);
  return text << ": errno " << static_cast<int>(-error);
}

long open_output(AgentState &agent) {
  const char *path = agent.config->output.c_str();
  bool made = false;
  long result = make_directories(path, made);
  int fd = sys::open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  bool collected = agent.config->collector.size() > 0; // the collector writes for a user who may not
  if (fd == -EACCES && collected) return 0;
  if (fd < 0) return result < 0 ? result : fd;
  if (made) agent.made_output = true;
  constexpr int kWrite = 2, kSearch = 1;
  result = sys::call(SYS_faccessat2, fd, ".", kWrite | kSearch, AT_EACCESS);
  if (result < 0 && result != -ENOSYS && !(result == -EACCES && collected)) return sys::close(fd), result;
  agent.files.output = fd;
  return 0;
}

// Status pages that programs left behind which this process has been before an exec.
void remove_earlier_pages(int output, int pid) {
  Text<64> suffix;
  suffix << "." << pid << kStatusSuffix;
  int fd = sys::open_at(output, ".", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  for_each_entry(fd, [&](std::string_view name) {
    if (name.size() <= suffix.size() || name[0] != '.') return;
    std::string_view end = name;
    end.remove_prefix(name.size() - suffix.size());
    if (end == suffix.view()) sys::call(SYS_unlinkat, output, name.data(), 0);
  });
  sys::close(fd);
}

// The process' name as file names have it: letters, digits, dot, dash and underscore.
void take_name(AgentState &agent, const Proc &target) {
  char comm[64];
  std::string_view name = target.read("comm", comm, sizeof comm);
  name = take_until(name, '\n');
  agent.name.clear();
  for (char c : name) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                 (c == '.' && agent.name.size() > 0);
    agent.name << std::string_view(plain ? &c : "_", 1);
  }
  if (agent.name.size() == 0) agent.name << "process";
}

// Whether /proc counts as this process does. In a new pid namespace below an old /proc, /proc/PID is somebody else.
bool shows_process(int proc, int pid) {
  char link[32] = {};
  std::string_view text(link, static_cast<size_t>(std::max(sys::call(SYS_readlinkat, proc, "self", link, 31), 0l)));
  uint64_t number = 0;
  return take_number(text, number) && text.empty() && number == static_cast<uint64_t>(pid);
}

} // namespace

bool open_files(AgentState &agent) {
  Text<512> trouble;
  if (!leave_descriptor_table()) return switch_off(agent, "the kernel has no close_range(2), Linux 5.9"), false;
  int pid = sys::process_id();
  Files &files = agent.files;
  files = {};
  files.proc = sys::open_at(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
  if (files.proc < 0) return switch_off(agent, (say(trouble << "/proc cannot be opened", files.proc)).view()), false;
  if (!shows_process(files.proc, pid)) return switch_off(agent, "/proc is that of another pid namespace"), false;
  files.groups = sys::open_at(AT_FDCWD, "/sys/fs/cgroup", O_PATH | O_DIRECTORY);
  files.reporter = sys::open_at(AT_FDCWD, reporter_path(), O_PATH);
  if (files.reporter < 0) {
    trouble << "the reporter " << reporter_path() << " cannot be opened";
    return switch_off(agent, say(trouble, files.reporter).view()), false;
  }
  if (long error = open_output(agent); error < 0) {
    trouble << "the output directory " << agent.config->output.c_str() << " cannot be written";
    return switch_off(agent, say(trouble, error).view()), false;
  }
  files.history = static_cast<int>(sys::call(SYS_memfd_create, "castaway-history", 1 /* MFD_CLOEXEC */));
  files.result = static_cast<int>(sys::call(SYS_memfd_create, "castaway-result", 1));
  files.uncopied = static_cast<int>(sys::call(SYS_memfd_create, "castaway-uncopied", 1));
  take_name(agent, Proc(files.proc, pid));
  agent.status_name.clear();
  agent.status_name << "." << agent.name.view() << "." << pid << kStatusSuffix;
  remove_earlier_pages(files.output, pid);
  agent.status.open(files.output, agent.status_name.c_str(), pid);
  agent.served_requests = 0;
  return true;
}

void renew_memory_files(AgentState &agent) {
  constexpr size_t kMost = size_t{1} << 30;
  int history = static_cast<int>(sys::call(SYS_memfd_create, "castaway-history", 1));
  int64_t from = 0;
  while (history >= 0 && sys::call(SYS_sendfile, history, agent.files.history, &from, kMost) > 0) {
  }
  sys::close(agent.files.history);
  agent.files.history = history;
  sys::close(agent.files.result);
  agent.files.result = static_cast<int>(sys::call(SYS_memfd_create, "castaway-result", 1));
}

bool reopen_output(AgentState &agent) {
  struct stat status {};
  if (agent.files.output < 0) return true;
  if (sys::call(SYS_fstat, agent.files.output, &status) == 0 && status.st_nlink > 0) return true;
  sys::close(agent.files.output);
  agent.files.output = -1;
  return open_output(agent) == 0;
}

void leave_files(AgentState &agent) {
  agent.status.remove(agent.files.output, agent.status_name.c_str());
  // What was never used goes again; a directory that anybody else writes to is not empty.
  if (agent.made_output && !agent.wrote_profile)
    sys::call(SYS_unlinkat, AT_FDCWD, agent.config->output.c_str(), AT_REMOVEDIR);
}

void adopt_credentials(AgentState &agent) {
  static char buffer[65536];
  Proc target(agent.files.proc, sys::process_id());
  std::string_view status = target.read("status", buffer, sizeof buffer);
  auto numbers = [&](const char *key, uint32_t *out, size_t most) {
    std::string_view line = line_value(status, key);
    size_t count = 0;
    uint64_t value;
    while (count < most && take_number(line, value)) {
      out[count++] = static_cast<uint32_t>(value);
      while (!line.empty() && (line[0] == ' ' || line[0] == '\t')) line.remove_prefix(1);
    }
    return count;
  };
  static uint32_t groups[4096];
  uint32_t uid[4], gid[4];
  if (numbers("Uid:", uid, 4) != 4 || numbers("Gid:", gid, 4) != 4) return;
  sys::call(SYS_setgroups, numbers("Groups:", groups, 4096), groups);
  sys::call(SYS_setresgid, gid[0], gid[1], gid[2]);
  sys::call(SYS_setresuid, uid[0], uid[1], uid[2]);
}

} // namespace castaway
