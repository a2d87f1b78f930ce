#include "tcp.h"

#include <arpa/inet.h>
#include <cerrno>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace e2e {

namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

int connected_to(int port) {
  int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(port);
  if (connect(file, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0) return file;
  close(file);
  return -1;
}

} // namespace

int free_port() {
  int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  bool fine = bind(file, reinterpret_cast<sockaddr *>(&address), size) == 0 &&
              getsockname(file, reinterpret_cast<sockaddr *>(&address), &size) == 0;
  close(file);
  if (!fine) throw std::system_error(errno, std::generic_category(), "no free port");
  return ntohs(address.sin_port);
}

bool accepts_connections(int port) {
  int file = connected_to(port);
  if (file >= 0) close(file);
  return file >= 0;
}

LineClient::LineClient(int port) : socket_(connected_to(port)) {
  if (socket_ < 0) throw std::system_error(errno, std::generic_category(), "connect");
}

LineClient::~LineClient() { close(socket_); }

void LineClient::send(std::string_view text) {
  if (::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    throw std::system_error(errno, std::generic_category(), "send");
}

std::string LineClient::line() {
  size_t end;
  while ((end = read_.find("\r\n")) == std::string::npos) {
    char text[4096];
    ssize_t got = recv(socket_, text, sizeof text, 0);
    if (got <= 0) throw std::system_error(got ? errno : 0, std::generic_category(), "recv");
    read_.append(text, static_cast<size_t>(got));
  }
  std::string line = read_.substr(0, end);
  read_.erase(0, end + 2);
  return line;
}

} // namespace e2e
