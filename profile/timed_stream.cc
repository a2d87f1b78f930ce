#include "profile/timed_stream.h"

#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

namespace castaway {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPiece = size_t{1} << 20; // memory is taken as bytes come, not as the peer announces them

// 0 when the socket is ready for `events`, else the error's number.
int await(int socket, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return ETIMEDOUT;
    pollfd item{socket, events, 0};
    const int ready = poll(&item, 1, static_cast<int>(left));
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return errno;
  }
}

bool is_temporary(int error) { return error == EAGAIN || error == EINTR; }

// As many bytes as there are, at most `size`, appended; 0 or the error's number, EPIPE where the peer has hung up.
int receive_some(int socket, std::string &bytes, size_t size, Clock::time_point deadline) {
  const size_t before = bytes.size();
  bytes.resize(before + size);
  ssize_t count = -1;
  int error = EAGAIN;
  while (count < 0 && is_temporary(error)) {
    error = await(socket, POLLIN, deadline);
    if (error != 0) break;
    count = recv(socket, bytes.data() + before, size, MSG_DONTWAIT);
    error = count < 0 ? errno : count == 0 ? EPIPE : 0;
  }
  bytes.resize(before + static_cast<size_t>(std::max<ssize_t>(count, 0)));
  return error;
}

} // namespace

Status TimedStream::send(std::string_view bytes, std::chrono::milliseconds limit) const {
  const auto deadline = Clock::now() + limit;
  while (!bytes.empty()) {
    if (const int error = await(socket_.get(), POLLOUT, deadline); error != 0) return Error{os_error(error)};
    const auto count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && !is_temporary(errno)) return Error{os_error(errno)};
    if (count > 0) bytes.remove_prefix(static_cast<size_t>(count));
  }
  return Done{};
}

Result<std::string> TimedStream::receive(size_t size, std::chrono::milliseconds limit) const {
  const auto deadline = Clock::now() + limit;
  std::string bytes;
  while (bytes.size() < size) {
    const size_t piece = std::min(size - bytes.size(), kPiece);
    if (const int error = receive_some(socket_.get(), bytes, piece, deadline); error != 0)
      return Error{os_error(error)};
  }
  return bytes;
}

Result<std::string> TimedStream::receive_line(size_t most, std::chrono::milliseconds limit) const {
  const auto deadline = Clock::now() + limit;
  std::string line;
  while (line.empty() || line.back() != '\n') {
    if (line.size() == most) return Error{os_error(EMSGSIZE)};
    if (const int error = receive_some(socket_.get(), line, 1, deadline); error != 0) return Error{os_error(error)};
  }
  return line;
}

} // namespace castaway
