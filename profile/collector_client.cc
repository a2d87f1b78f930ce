#include "profile/collector_client.h"

#include "profile/timed_stream.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

namespace castaway {
namespace {

// The collector serves one after the other, each within seconds.
constexpr std::chrono::seconds kPatience(20);

Error unreachable(const std::string &why) { return {"the collector cannot be reached: " + why}; }

Result<Descriptor> connect_to(const std::string &socket_name) {
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.ok()) return unreachable(os_error(errno));
  const timeval limit{kPatience.count(), 0}; // for a full queue; a nonblocking connect would have to be repeated
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path + 1, socket_name.data(), socket_name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + socket_name.size());
  if (connect(socket.get(), reinterpret_cast<const sockaddr *>(&address), size) != 0)
    return unreachable(os_error(errno));
  return socket;
}

} // namespace

Result<StoredProfile> hand_to_collector(const CollectorAddress &address, CollectorRequest request,
                                        std::string_view bytes) {
  request.secret = address.secret;
  request.size = bytes.size();
  const auto header = encode_request(request);
  if (!header) return Error{header.error()};
  auto socket = connect_to(address.socket_name());
  if (!socket) return Error{socket.error()};
  const TimedStream stream(std::move(*socket));
  auto sent = stream.send(*header, kPatience);
  if (sent) sent = stream.send(bytes, kPatience);
  // One that refuses the header answers and hangs up before it has read all.
  const auto answer = stream.receive_line(kMostCollectorAnswer, kPatience);
  if (answer) return decode_answer(*answer);
  return unreachable(sent ? answer.error() : sent.error());
}

} // namespace castaway
