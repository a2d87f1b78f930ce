// Roots that the kernel holds for the program: epoll data, timer values, values of signals and of notifications,
// requests in flight, what was sent and not received yet.
#include "roots.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace roots {
namespace {

using support::Mode;

void in_epoll_data(Mode mode) {
  int ends[2], poller = epoll_create1(0);
  support::require(poller >= 0 && pipe(ends) == 0, "pipe");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = secret(mode);
  support::require(epoll_ctl(poller, EPOLL_CTL_ADD, ends[0], &event) == 0, "epoll_ctl");
}

void in_timer_value(Mode mode) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  event.sigev_value.sival_ptr = secret(mode);
  timer_t timer;
  support::require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create");
  itimerspec far{};
  far.it_value.tv_sec = 3600;
  timer_settime(timer, 0, &far, nullptr);
}

// Behind a few other bytes, which are messages of their own in some sockets.
template <size_t before> void send(int to, Mode mode) {
  void *pointer = secret(mode);
  for (size_t i = 0; i < before; ++i) support::require(write(to, "x", 1) == 1, "write");
  support::require(write(to, &pointer, sizeof pointer) == sizeof pointer, "write");
}
template <size_t before> void in_pipe(Mode mode) {
  int ends[2];
  support::require(pipe(ends) == 0, "pipe");
  send<before>(ends[1], mode);
}
template <int type> void in_socket(Mode mode) {
  int ends[2];
  support::require(socketpair(AF_UNIX, type, 0, ends) == 0, "socketpair");
  send<3>(ends[0], mode);
}

mqd_t open_queue() {
  char name[64];
  snprintf(name, sizeof name, "/castaway-test-%d", getpid());
  mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, nullptr);
  support::require(queue >= 0 && mq_unlink(name) == 0, "mq_open");
  return queue;
}

void in_queue_notification(Mode mode) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  event.sigev_value.sival_ptr = secret(mode);
  support::require(mq_notify(open_queue(), &event) == 0, "mq_notify");
}

// Blocked in its thread, as for signalfd(2): it waits to be taken.
[[gnu::noinline]] void send_handed() {
  sigval value{};
  value.sival_ptr = handed;
  support::require(pthread_sigqueue(pthread_self(), SIGRTMIN, value) == 0, "pthread_sigqueue");
  support::keep_frame();
}
void *queue_signal(void *) {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGRTMIN);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  send_handed();
  handed = nullptr;
  support::scrub_stack();
  support::park();
  return nullptr;
}
// Stopped by signal, castaway sees that signals wait, not their values, and all counts as reached: none without `held`.
void in_queued_signal(Mode mode) {
  if (mode != Mode::held) {
    secret(mode);
    return;
  }
  park_with(queue_signal, secret(mode));
}

struct Ring {
  io_uring_params parameters{};
  int fd;
  char *queue;
  io_uring_sqe *entries;

  Ring() : fd(static_cast<int>(syscall(SYS_io_uring_setup, 2, &parameters))) {
    support::require(fd >= 0, "io_uring_setup");
    size_t size = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
    queue = static_cast<char *>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING));
    size = parameters.sq_entries * sizeof *entries;
    entries = static_cast<io_uring_sqe *>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES));
  }
  void submit(uint8_t operation, int file, uint64_t user_data) {
    auto *tail = reinterpret_cast<uint32_t *>(queue + parameters.sq_off.tail);
    uint32_t slot = *tail & (parameters.sq_entries - 1);
    memset(&entries[slot], 0, sizeof *entries);
    entries[slot].opcode = operation;
    entries[slot].fd = file;
    entries[slot].poll32_events = operation == IORING_OP_POLL_ADD ? 1 /* POLLIN */ : 0;
    entries[slot].user_data = user_data;
    reinterpret_cast<uint32_t *>(queue + parameters.sq_off.array)[slot] = slot;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    support::require(syscall(SYS_io_uring_enter, fd, 1, 0, 0, nullptr, 0) == 1, "io_uring_enter");
  }
};

// A request that waits for data that never comes, whose slot in the ring has been used for others since.
void in_ring_request(Mode mode) {
  Ring ring;
  int ends[2];
  support::require(pipe(ends) == 0, "pipe");
  if (mode != Mode::held) { // a ring that nobody uses: all is seen
    secret(mode);
    return;
  }
  ring.submit(IORING_OP_POLL_ADD, ends[0], reinterpret_cast<uintptr_t>(secret(mode)));
  for (int i = 0; i < 3; ++i) ring.submit(IORING_OP_NOP, -1, 0);
}

// The same for kernel AIO, where also the request itself may be with the kernel only.
void in_aio_request(Mode mode) {
  aio_context_t context = 0;
  int ends[2];
  support::require(syscall(SYS_io_setup, 8, &context) == 0 && pipe(ends) == 0, "io_setup");
  if (mode != Mode::held) {
    secret(mode);
    return;
  }
  auto *request = static_cast<iocb *>(secret(mode));
  char byte;
  int zeros = open("/dev/zero", O_RDONLY);
  iocb first{}, *both = &first;
  first.aio_lio_opcode = IOCB_CMD_PREAD;
  first.aio_fildes = zeros;
  first.aio_buf = reinterpret_cast<uintptr_t>(&byte);
  first.aio_nbytes = 1;
  io_event event;
  support::require(syscall(SYS_io_submit, context, 1, &both) == 1, "io_submit");
  support::require(syscall(SYS_io_getevents, context, 1, 1, &event, nullptr) == 1, "io_getevents");
  // The pointer to the second block stays where it is: behind what the request uses.
  static_assert(offsetof(iocb, aio_buf) == 24);
  request->aio_data = reinterpret_cast<uint64_t *>(request)[3];
  request->aio_lio_opcode = IOCB_CMD_POLL;
  request->aio_fildes = static_cast<uint32_t>(ends[0]);
  request->aio_buf = 1; // POLLIN
  support::require(syscall(SYS_io_submit, context, 1, &request) == 1, "io_submit");
  request->aio_data = 0;
}

constexpr support::Case kCases[] = {
    {"epoll_data", in_epoll_data},
    {"timer_value", in_timer_value},
    {"pipe", in_pipe<0>},
    {"pipe_at_odd_byte", in_pipe<3>},
    {"stream_socket", in_socket<SOCK_STREAM>},
    {"message_socket", in_socket<SOCK_DGRAM>},
    {"queue_notification", in_queue_notification},
    {"queued_signal", in_queued_signal},
    {"ring_request", in_ring_request},
    {"aio_request", in_aio_request},
};

} // namespace

const std::span<const support::Case> kKernel = kCases;

} // namespace roots
