// TimedStream: a connected socket, and how long the peer may take: each call has a limit for all of it, so that a peer
// who sends a byte now and then gains nothing. A peer that hangs up is an error, never SIGPIPE. One thread; OFFLINE.
#pragma once

#include "profile/file.h"
#include "profile/result.h"

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace castaway {

class TimedStream {
public:
  explicit TimedStream(Descriptor socket) : socket_(std::move(socket)) {}

  int descriptor() const { return socket_.get(); }
  Status send(std::string_view bytes, std::chrono::milliseconds limit) const;
  // Exactly so many bytes.
  Result<std::string> receive(size_t size, std::chrono::milliseconds limit) const;
  // Up to a newline, which comes with it; at most so many bytes.
  Result<std::string> receive_line(size_t most, std::chrono::milliseconds limit) const;

private:
  Descriptor socket_;
};

} // namespace castaway
