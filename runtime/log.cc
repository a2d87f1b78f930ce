// The runtime's own lines; see log.h.
#include "runtime/log.h"

#include "runtime/sys.h"

#include <csignal>

namespace castaway {

namespace {

void write_line(int fd, std::string_view line) {
  Text<1400> text;
  text << "castaway: " << line.substr(0, 1380) << "\n";
  sys::write_all(fd, text.c_str(), text.size());
}

// On a thread of the target, the signal of a pipe without readers or a file that is too long would be the target's.
template <typename Write> void without_signals(Write write) {
  uint64_t mine = sys::signal_bit(SIGPIPE) | sys::signal_bit(SIGXFSZ), before = 0, pending = 0;
  sys::call(SYS_rt_sigprocmask, SIG_BLOCK, &mine, &before, sizeof mine);
  sys::call(SYS_rt_sigpending, &pending, sizeof pending);
  write();
  mine &= ~pending; // what was pending before is not ours
  timespec now{};
  while (mine != 0 && sys::call(SYS_rt_sigtimedwait, &mine, nullptr, &now, sizeof mine) > 0) {
  }
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
}

bool write_to_file(const Config &config, std::string_view line) {
  if (config.log != LogTo::file) return false;
  int fd = sys::open_at(AT_FDCWD, config.log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  if (fd >= 0) write_line(fd, line);
  sys::close(fd);
  return true;
}

} // namespace

void log_from_target(const Config &config, std::string_view line) {
  if (config.log == LogTo::nowhere) return;
  without_signals([&] {
    if (!write_to_file(config, line)) write_line(2, line);
  });
}

void log_from_agent(const Config &config, int pid, std::string_view line) {
  if (config.log == LogTo::nowhere || write_to_file(config, line)) return;
  long process = sys::call(SYS_pidfd_open, pid, 0);
  if (process < 0) return;
  long fd = sys::call(SYS_pidfd_getfd, process, 2, 0);
  if (fd >= 0) write_line(static_cast<int>(fd), line);
  sys::close(static_cast<int>(fd));
  sys::close(static_cast<int>(process));
}

} // namespace castaway
