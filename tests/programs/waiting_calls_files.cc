// Calls that wait for descriptors: polling in all its forms, pipes, sockets, inotify, kernel AIO.
#include "support.h"
#include "waiting_calls.h"

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <linux/aio_abi.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace calm {
namespace {

using support::require;

timespec span_of(int milliseconds) { return {milliseconds / 1000, milliseconds % 1000 * 1'000'000L}; }
Outcome outcome(long result) { return result > 0 ? Outcome::event : result == 0 ? Outcome::timeout : Outcome::error; }

// What all calls have that wait for a pipe to get readable.
class PipeCall : public WaitingCall {
public:
  PipeCall() { require(pipe(ends_) == 0, "pipe"); }
  void release() override { require(write(ends_[1], "x", 1) == 1, "write"); }

protected:
  int ends_[2];
};

class EpollWait : public PipeCall {
public:
  EpollWait() : poller_(epoll_create1(0)) {
    epoll_event event{};
    event.events = EPOLLIN;
    require(epoll_ctl(poller_, EPOLL_CTL_ADD, ends_[0], &event) == 0, "epoll_ctl");
  }
  const char *name() const override { return "epoll_wait"; }
  Outcome wait(int milliseconds) override {
    epoll_event event;
    return outcome(epoll_wait(poller_, &event, 1, milliseconds));
  }

protected:
  int poller_;
};

class EpollPwait : public EpollWait {
public:
  const char *name() const override { return "epoll_pwait"; }
  Outcome wait(int milliseconds) override {
    epoll_event event;
    sigset_t mask; // the same as it is: signals that others wait for stay blocked
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return outcome(epoll_pwait(poller_, &event, 1, milliseconds, &mask));
  }
};

class EpollPwait2 : public EpollWait {
public:
  const char *name() const override { return "epoll_pwait2"; }
  Outcome wait(int milliseconds) override {
    epoll_event event;
    timespec span = span_of(milliseconds);
    return outcome(epoll_pwait2(poller_, &event, 1, milliseconds < 0 ? nullptr : &span, nullptr));
  }
};

class Poll : public PipeCall {
public:
  const char *name() const override { return "poll"; }
  Outcome wait(int milliseconds) override {
    pollfd one{ends_[0], POLLIN, 0};
    return outcome(poll(&one, 1, milliseconds));
  }
};

class Ppoll : public PipeCall {
public:
  const char *name() const override { return "ppoll"; }
  Outcome wait(int milliseconds) override {
    pollfd one{ends_[0], POLLIN, 0};
    timespec span = span_of(milliseconds);
    return outcome(ppoll(&one, 1, milliseconds < 0 ? nullptr : &span, nullptr));
  }
};

class Select : public PipeCall {
public:
  const char *name() const override { return "select"; }
  Outcome wait(int milliseconds) override {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends_[0], &set);
    timeval span{milliseconds / 1000, milliseconds % 1000 * 1000L};
    return outcome(select(ends_[0] + 1, &set, nullptr, nullptr, milliseconds < 0 ? nullptr : &span));
  }
};

class Pselect : public PipeCall {
public:
  const char *name() const override { return "pselect"; }
  Outcome wait(int milliseconds) override {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends_[0], &set);
    timespec span = span_of(milliseconds);
    return outcome(pselect(ends_[0] + 1, &set, nullptr, nullptr, milliseconds < 0 ? nullptr : &span, nullptr));
  }
};

class ReadPipe : public PipeCall {
public:
  const char *name() const override { return "read of a pipe"; }
  bool can_time_out() const override { return false; }
  Outcome wait(int) override {
    char byte;
    return outcome(read(ends_[0], &byte, 1));
  }
};

class ReadEventfd : public WaitingCall {
public:
  const char *name() const override { return "read of an eventfd"; }
  bool can_time_out() const override { return false; }
  Outcome wait(int) override {
    uint64_t value;
    return outcome(read(file_, &value, sizeof value));
  }
  void release() override { eventfd_write(file_, 1); }

private:
  int file_ = eventfd(0, 0);
};

class ReadInotify : public WaitingCall {
public:
  ReadInotify() { require(mkdtemp(path_) && inotify_add_watch(file_, path_, IN_ATTRIB | IN_DELETE_SELF) >= 0, path_); }
  const char *name() const override { return "read of inotify"; }
  bool can_time_out() const override { return false; }
  Outcome wait(int) override {
    char events[1024];
    return outcome(read(file_, events, sizeof events));
  }
  void release() override { rmdir(path_); }

private:
  int file_ = inotify_init1(0);
  char path_[32] = "/tmp/castaway-watch-XXXXXX";
};

// Sockets whose timeout is SO_RCVTIMEO.
class ReceiveCall : public WaitingCall {
protected:
  static Outcome received(int file, int milliseconds, auto receive) {
    timeval span{milliseconds < 0 ? 0 : milliseconds / 1000, milliseconds < 0 ? 0 : milliseconds % 1000 * 1000L};
    require(setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &span, sizeof span) == 0, "SO_RCVTIMEO");
    long result = receive();
    return result < 0 && errno == EAGAIN ? Outcome::timeout : outcome(result);
  }
};

class Recv : public ReceiveCall {
public:
  Recv() { require(socketpair(AF_UNIX, SOCK_STREAM, 0, ends_) == 0, "socketpair"); }
  const char *name() const override { return "recv with SO_RCVTIMEO"; }
  Outcome wait(int milliseconds) override {
    char byte;
    return received(ends_[0], milliseconds, [&] { return recv(ends_[0], &byte, 1, 0); });
  }
  void release() override { require(send(ends_[1], "x", 1, 0) == 1, "send"); }

private:
  int ends_[2];
};

class Accept : public ReceiveCall {
public:
  Accept() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    require(listen(listener_, 4) == 0, "listen");
    socklen_t size = sizeof address_;
    getsockname(listener_, reinterpret_cast<sockaddr *>(&address_), &size);
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  const char *name() const override { return "accept with SO_RCVTIMEO"; }
  Outcome wait(int milliseconds) override {
    return received(listener_, milliseconds, [&] { return accept(listener_, nullptr, nullptr); });
  }
  void release() override {
    int client = socket(AF_INET, SOCK_STREAM, 0);
    require(connect(client, reinterpret_cast<sockaddr *>(&address_), sizeof address_) == 0, "connect");
  }

private:
  int listener_;
  sockaddr_in address_{};
};

class IoGetevents : public WaitingCall {
public:
  IoGetevents() { require(syscall(SYS_io_setup, 4, &context_) == 0, "io_setup"); }
  const char *name() const override { return "io_getevents"; }
  bool can_be_released() const override { return false; }
  Outcome wait(int milliseconds) override {
    io_event event;
    timespec span = span_of(milliseconds);
    return outcome(syscall(SYS_io_getevents, context_, 1, 1, &event, &span));
  }

private:
  aio_context_t context_ = 0;
};

} // namespace

void add_file_calls(std::vector<std::unique_ptr<WaitingCall>> &calls) {
  calls.push_back(std::make_unique<EpollWait>());
  calls.push_back(std::make_unique<EpollPwait>());
  calls.push_back(std::make_unique<EpollPwait2>());
  calls.push_back(std::make_unique<Poll>());
  calls.push_back(std::make_unique<Ppoll>());
  calls.push_back(std::make_unique<Select>());
  calls.push_back(std::make_unique<Pselect>());
  calls.push_back(std::make_unique<ReadPipe>());
  calls.push_back(std::make_unique<ReadEventfd>());
  calls.push_back(std::make_unique<ReadInotify>());
  calls.push_back(std::make_unique<Recv>());
  calls.push_back(std::make_unique<Accept>());
  calls.push_back(std::make_unique<IoGetevents>());
}

} // namespace calm
