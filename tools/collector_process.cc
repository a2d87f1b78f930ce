#include "tools/collector_process.h"

#include "profile/collector_protocol.h"
#include "tools/collector.h"
#include "tools/failure.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace castaway {

namespace {

constexpr int kBacklog = 128;
constexpr int kFirstFree = 3; // behind standard input, output and error

[[noreturn]] void fail(const std::string &what, int error) {
  throw Failure(kStatusFailed, what + ": " + error_text(error));
}

std::string random_digits() {
  std::array<unsigned char, 16> bytes;
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) fail("getrandom", errno);
  std::string digits;
  for (const unsigned char byte : bytes) {
    digits += "0123456789abcdef"[byte >> 4];
    digits += "0123456789abcdef"[byte & 15];
  }
  return digits;
}

// The same file above the standard descriptors, which a caller may have left closed.
Descriptor raised(const Descriptor &descriptor) {
  return Descriptor(fcntl(descriptor.get(), F_DUPFD_CLOEXEC, kFirstFree));
}

Descriptor listen_at(const std::string &name) {
  const Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1); // behind the zero that makes it abstract
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (!listener.ok() || bind(listener.get(), reinterpret_cast<sockaddr *>(&address), size) != 0 ||
      listen(listener.get(), kBacklog) != 0)
    fail("a socket", errno);
  return raised(listener);
}

Descriptor open_this_process() {
  const Descriptor process(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!process.ok()) fail("pidfd_open", errno);
  return raised(process);
}

// fork without SIGCHLD for the parent, and without the handlers of pthread_atfork: a runtime in this process starts no
// agent in the child.
pid_t clone_silently() { return static_cast<pid_t>(syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr)); }

// Closes the descriptors from `first` on, but for two.
bool close_all_but(unsigned first, unsigned a, unsigned b) {
  const auto close_between = [](unsigned from, unsigned behind) {
    return from >= behind || syscall(SYS_close_range, from, behind - 1, 0) == 0;
  };
  return close_between(first, std::min(a, b)) && close_between(std::min(a, b) + 1, std::max(a, b)) &&
         syscall(SYS_close_range, std::max(a, b) + 1, ~0u, 0) == 0;
}

// Leaves the caller's descriptors, directory and signals. False where it cannot.
bool detach(int listener, int program) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < kFirstFree; ++fd)
    if (null < 0 || dup2(null, fd) < 0) return false;
  if (!close_all_but(kFirstFree, static_cast<unsigned>(listener), static_cast<unsigned>(program))) return false;
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
  umask(077);
  return chdir("/") == 0;
}

// Changes what ps shows: `pkill -f CMD` shall not mean the collector. Its arguments lie between two addresses that
// /proc/self/stat has as its fields 48 and 49; what follows the program's name in parentheses is the third field.
void rename_process(const std::string &title) {
  prctl(PR_SET_NAME, "castaway-collec");
  std::ifstream file("/proc/self/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 3; i < 48; ++i) fields >> skipped;
  uintptr_t begin = 0, end = 0;
  if (!(fields >> begin >> end) || end <= begin) return;
  const std::span<char> arguments(reinterpret_cast<char *>(begin), end - begin);
  std::fill(arguments.begin(), arguments.end(), '\0');
  title.copy(arguments.data(), arguments.size() - 1);
}

[[noreturn]] void become_collector(Descriptor listener, Descriptor program, const CollectorAddress &address,
                                   const std::filesystem::path &output, pid_t program_pid) {
  if (!detach(listener.get(), program.get())) _exit(kStatusFailed);
  try {
    rename_process("castaway: collector of " + std::to_string(program_pid));
    Collector(std::move(listener), std::move(program), address.secret, output).run();
  } catch (const std::exception &) {
    _exit(kStatusFailed); // reporters that find nobody say so
  }
  _exit(0);
}

// Whether orphans become children of this process.
bool adopts_orphans() {
  int is_reaper = 0;
  return getpid() == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &is_reaper) == 0 && is_reaper != 0);
}

void reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, __WALL) < 0)
    if (errno != EINTR) fail("waitpid", errno);
  if (status != 0) throw Failure(kStatusFailed, "no process can be made");
}

CollectorAddress start_collector(const std::filesystem::path &output) {
  CollectorAddress address{random_digits(), random_digits()};
  Descriptor listener = listen_at(address.socket_name());
  Descriptor program = open_this_process();
  const pid_t self = getpid();
  const bool directly = adopts_orphans();
  const pid_t child = clone_silently();
  if (child < 0) fail("a process", errno);
  if (child > 0) {
    if (!directly) reap(child);
    return address;
  }
  setsid();
  const pid_t grandchild = directly ? 0 : clone_silently();
  if (grandchild != 0) _exit(grandchild < 0 ? kStatusFailed : 0);
  become_collector(std::move(listener), std::move(program), address, output, self);
}

} // namespace

void provide_collector(const std::filesystem::path &output) {
  unsetenv("CASTAWAY_COLLECTOR");
  if (geteuid() != 0) return;
  try {
    // Symbolic links are followed now, as root's word, and never again.
    const CollectorAddress address = start_collector(std::filesystem::weakly_canonical(output));
    setenv("CASTAWAY_COLLECTOR", address.text().c_str(), 1);
  } catch (const std::exception &error) {
    complain(std::string("processes that change their user give no profiles: no collector: ") + error.what());
  }
}

} // namespace castaway
