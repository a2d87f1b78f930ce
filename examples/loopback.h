// TCP on the loopback interface: just enough of it for a server and its clients in one program.
//
// Lines end in '\n'. Trouble with a peer ends the conversation (false, nothing); trouble with the machine (no sockets,
// no ports) ends the program.
#pragma once

#include "examples/service.h"

#include <arpa/inet.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace examples {

class Socket {
public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket &operator=(Socket &&other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() { close(); }

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void close() {
    if (is_open()) ::close(std::exchange(fd_, -1));
  }

  // Ends the conversation; the descriptor stays valid for whoever still uses it.
  void hang_up() const { ::shutdown(fd_, SHUT_RDWR); }

  bool write(std::string_view text) const {
    while (!text.empty()) {
      ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  std::optional<std::string> read_line() const {
    std::string line;
    for (char c; ::recv(fd_, &c, 1, 0) == 1;) {
      if (c == '\n') return line;
      if (c != '\r') line.push_back(c);
    }
    return std::nullopt;
  }

  // Whether the peer has closed its end.
  bool peer_has_left() const {
    char c;
    return ::recv(fd_, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }

private:
  int fd_;
};

[[noreturn]] inline void give_up(const char *what) {
  std::perror(what);
  std::exit(1);
}

// A listening socket on a free port, and a thread that accepts: each connection is served on a thread of its own.
class Listener {
public:
  template <typename Serve> explicit Listener(Serve serve) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto *generic = reinterpret_cast<sockaddr *>(&address);
    if (::bind(socket_.fd(), generic, size) || ::listen(socket_.fd(), 128)) give_up("listen");
    if (::getsockname(socket_.fd(), generic, &size)) give_up("getsockname");
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this, serve] { accept_connections(serve); });
  }
  ~Listener() {
    socket_.hang_up();
    acceptor_.join();
  }

  uint16_t port() const { return port_; }

private:
  template <typename Serve> void accept_connections(Serve serve) {
    name_this_thread("acceptor");
    for (int fd; (fd = ::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0;)
      std::thread(serve, Socket(fd)).detach();
  }

  Socket socket_;
  uint16_t port_ = 0;
  std::thread acceptor_;
};

inline Socket connect_to(uint16_t port) {
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::connect(socket.fd(), reinterpret_cast<sockaddr *>(&address), sizeof address)) give_up("connect");
  return socket;
}

} // namespace examples
