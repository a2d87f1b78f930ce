// Threads that wait, but can still go on, are live: with a timeout, just woken, for input or a signal, for a lock whose
// owner is live, on memory of other processes. Each holds a block on its stack alone, which therefore is no leak.
#include "support.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

using support::Mode;

// A dropped block that holds all that a case may wait on.
struct Waited {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
  sem_t sem{};
  std::atomic<int> word{0};
};

timespec in_an_hour(clockid_t clock) {
  timespec until;
  clock_gettime(clock, &until);
  until.tv_sec += 3600;
  return until;
}

void timed_cond(Waited *waited) {
  timespec until = in_an_hour(CLOCK_REALTIME);
  pthread_mutex_lock(&waited->mutex);
  pthread_cond_timedwait(&waited->cond, &waited->mutex, &until);
}
void timed_sem(Waited *waited) {
  sem_init(&waited->sem, 0, 0);
  timespec until = in_an_hour(CLOCK_REALTIME);
  sem_timedwait(&waited->sem, &until);
}
void timed_futex(Waited *waited) {
  timespec span{3600, 0};
  syscall(SYS_futex, &waited->word, FUTEX_WAIT_PRIVATE, 0, &span, nullptr, 0);
}
void raw_futex(Waited *waited) { syscall(SYS_futex, &waited->word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0); }

void read_pipe(Waited *) {
  int ends[2];
  char byte;
  support::require(pipe(ends) == 0 && read(ends[0], &byte, 1) >= 0, "pipe");
}
void poll_pipe(Waited *) {
  int ends[2];
  support::require(pipe(ends) == 0, "pipe");
  pollfd one{ends[0], POLLIN, 0};
  poll(&one, 1, -1);
}
void select_pipe(Waited *) {
  int ends[2];
  support::require(pipe(ends) == 0, "pipe");
  fd_set set;
  FD_ZERO(&set);
  FD_SET(ends[0], &set);
  select(ends[0] + 1, &set, nullptr, nullptr, nullptr);
}
void epoll_forever(Waited *) {
  epoll_event event;
  epoll_wait(epoll_create1(0), &event, 1, -1);
}
void accept_socket(Waited *) {
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  support::require(listen(listener, 1) == 0 && accept(listener, nullptr, nullptr) >= 0, "accept");
}
void sigwait_usr1(Waited *) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  int got;
  sigwait(&set, &got);
}
void sleep_long(Waited *) {
  timespec span{3600, 0};
  nanosleep(&span, nullptr);
}
void pause_thread(Waited *) { pause(); }
void wait_child(Waited *) {
  pid_t child = fork();
  if (child == 0) {
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}
void lock_file(Waited *) {
  char path[] = "/tmp/castaway-flock-XXXXXX";
  int held = mkstemp(path), wanted = open(path, O_RDWR);
  unlink(path);
  flock(held, LOCK_EX);
  flock(wanted, LOCK_EX);
}

// The block is dropped by all but the waiter's stack.
template <void (*wait)(Waited *)> void *waiter(void *argument) {
  void *volatile only = argument;
  wait(static_cast<Waited *>(only));
  support::park(); // a wait that ended early would otherwise turn the block into a leak
  return only;
}
template <void (*wait)(Waited *)> void one_waiter(Mode) {
  support::start_blocked(waiter<wait>, support::make<Waited>());
}

// The word was changed, but the waiter not yet woken: it is on its way out.
void just_signalled(Mode) {
  auto *waited = support::make<Waited>();
  support::start_blocked(waiter<raw_futex>, waited);
  waited->word = 1;
}

// A condition and a semaphore in memory that other processes map.
template <bool file> void shared_memory(Mode) {
  int fd = file ? memfd_create("shared", 0) : -1;
  support::require(!file || ftruncate(fd, 4096) == 0, "memfd");
  int flags = MAP_SHARED | (file ? 0 : MAP_ANONYMOUS);
  auto *sem = static_cast<sem_t *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, flags, fd, 0));
  support::require(sem != MAP_FAILED && sem_init(sem, 1, 0) == 0, "shared semaphore");
  auto body = [](void *argument) -> void * {
    sem_wait(static_cast<sem_t *>(argument));
    return nullptr;
  };
  support::start_blocked(body, sem);
}

pthread_mutex_t global_mutex = PTHREAD_MUTEX_INITIALIZER;

void *lock_and(void *waited) {
  auto *mutex = waited ? &static_cast<Waited *>(waited)->mutex : &global_mutex;
  pthread_mutex_lock(mutex);
  support::park();
  return nullptr;
}
void *want(void *waited) {
  pthread_mutex_lock(waited ? &static_cast<Waited *>(waited)->mutex : &global_mutex);
  return nullptr;
}

// The owner is blocked in poll(), which can end: so can the waits of two others.
template <bool heap> void owner_alive(Mode) {
  Waited *waited = heap ? support::make<Waited>() : nullptr;
  support::start_blocked(lock_and, waited);
  for (int i = 0; i < 2; ++i) support::start_blocked(want, waited);
}

// Joins a thread that sleeps.
void join_live(Mode) {
  pthread_t sleeper;
  support::start_joinable(waiter<sleep_long>, support::make<Waited>(), &sleeper);
  auto join = [](void *thread) -> void * {
    pthread_join(reinterpret_cast<pthread_t>(thread), nullptr);
    return nullptr;
  };
  support::start_blocked(join, reinterpret_cast<void *>(sleeper));
}

constexpr support::Case kCases[] = {
    {"timed_cond", one_waiter<timed_cond>},
    {"timed_sem", one_waiter<timed_sem>},
    {"timed_futex", one_waiter<timed_futex>},
    {"just_signalled", just_signalled},
    {"shared_anonymous", shared_memory<false>},
    {"shared_file", shared_memory<true>},
    {"owner_alive_global", owner_alive<false>},
    {"owner_alive_heap", owner_alive<true>},
    {"join_live", join_live},
    {"read", one_waiter<read_pipe>},
    {"poll", one_waiter<poll_pipe>},
    {"select", one_waiter<select_pipe>},
    {"epoll_wait", one_waiter<epoll_forever>},
    {"accept", one_waiter<accept_socket>},
    {"sigwait", one_waiter<sigwait_usr1>},
    {"nanosleep", one_waiter<sleep_long>},
    {"pause", one_waiter<pause_thread>},
    {"waitpid", one_waiter<wait_child>},
    {"flock", one_waiter<lock_file>},
};

} // namespace

int main(int argc, char **argv) { return support::run(argc, argv, {kCases}); }
