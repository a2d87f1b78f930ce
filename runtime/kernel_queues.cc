// Looking into pipes and sockets; see kernel_queues.h. Sources: pidfd_getfd(2), tee(2), socket(7) (SO_PEEK_OFF).
#include "runtime/kernel_queues.h"

#include "runtime/sys.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace castaway {

namespace {

constexpr long kPidfdOpen = 434, kPidfdGetfd = 438; // not in all headers

int option(int fd, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return sys::call(SYS_getsockopt, fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}
bool set_option(int fd, int name, int value) {
  return sys::call(SYS_setsockopt, fd, SOL_SOCKET, name, &value, sizeof value) == 0;
}

} // namespace

KernelQueues::KernelQueues(int pid) : process_(static_cast<int>(sys::call(kPidfdOpen, pid, 0))) {}

KernelQueues::~KernelQueues() {
  sys::close(process_);
  for (int end : own_) sys::close(end);
}

int KernelQueues::borrow(int fd) const {
  return process_ < 0 ? -1 : static_cast<int>(sys::call(kPidfdGetfd, process_, fd, 0));
}

size_t KernelQueues::peek_pipe(int fd, std::span<char> room) {
  int pipe = borrow(fd);
  if (pipe < 0) return 0;
  int waiting = 0;
  bool can_be_read = (sys::call(SYS_fcntl, pipe, F_GETFL) & O_ACCMODE) != O_WRONLY;
  size_t got = 0;
  if (can_be_read && sys::call(SYS_ioctl, pipe, FIONREAD, &waiting) == 0 && waiting > 0) {
    if (own_[0] < 0 && sys::call(SYS_pipe2, own_, O_CLOEXEC | O_NONBLOCK) == 0)
      sys::call(SYS_fcntl, own_[1], F_SETPIPE_SZ, kMostBytes);
    long copied = sys::call(SYS_tee, pipe, own_[1], room.size(), 0x02 /* SPLICE_F_NONBLOCK */);
    while (copied > static_cast<long>(got)) {
      long part = sys::call(SYS_read, own_[0], room.data() + got, static_cast<size_t>(copied) - got);
      if (part <= 0) break;
      got += static_cast<size_t>(part);
    }
  }
  sys::close(pipe);
  return got;
}

// Messages behind the first one show only while the socket has an offset for looking, which is put back as it was.
size_t KernelQueues::peek_socket(int fd, std::span<char> room) {
  if (sockets_ >= kMostSockets) return 0;
  int socket = borrow(fd);
  if (socket < 0) return 0;
  ++sockets_;
  size_t got = 0;
  int waiting = 0;
  if (option(socket, SO_DOMAIN) == AF_UNIX && sys::call(SYS_ioctl, socket, FIONREAD, &waiting) == 0 && waiting > 0) {
    int before = option(socket, SO_PEEK_OFF);
    bool moves = set_option(socket, SO_PEEK_OFF, 0);
    long part;
    do {
      part = sys::call(SYS_recvfrom, socket, room.data() + got, room.size() - got, MSG_PEEK | MSG_DONTWAIT, nullptr,
                       nullptr);
      if (part > 0) got += static_cast<size_t>(part);
    } while (moves && part > 0 && got < room.size());
    if (moves) set_option(socket, SO_PEEK_OFF, before);
  }
  sys::close(socket);
  return got;
}

} // namespace castaway
