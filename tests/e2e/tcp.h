// A little TCP on loopback: free ports, and a client that speaks in lines.
#pragma once

#include <string>
#include <string_view>

namespace e2e {

int free_port();

// Throws when the connection breaks.
class LineClient {
public:
  explicit LineClient(int port);
  ~LineClient();
  LineClient(const LineClient &) = delete;
  LineClient &operator=(const LineClient &) = delete;

  void send(std::string_view text);
  // One line, without its end ("\r\n").
  std::string line();

private:
  int socket_ = -1;
  std::string read_;
};

bool accepts_connections(int port);

} // namespace e2e
