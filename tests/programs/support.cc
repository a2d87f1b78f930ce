#include "support.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace support {

void *volatile kept;

namespace {

// Whether take() says each address, for those who ask what keeps a block alive. The environment: SAY_BLOCKS.
bool says_blocks;
// Negative: a number of bytes would look like an address where the heap lies low.
std::atomic<long> taken_objects, taken_bytes;

struct Start {
  ThreadBody body;
  void *argument;
};
Start next_start; // handed from start() to the thread it makes, then cleared
std::atomic<pid_t> started;
pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

// Reads /proc/self/task/TID/NAME into `text`; false when the thread is gone.
bool read_task_file(pid_t tid, const char *name, char *text, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/%s", tid, name);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t got = read(file, text, size - 1);
  close(file);
  text[got > 0 ? got : 0] = '\0';
  return got > 0;
}

bool sleeps_in_call(pid_t tid) {
  char call[128], stat[512];
  if (!read_task_file(tid, "syscall", call, sizeof call) || strncmp(call, "running", 7) == 0 || call[0] == '-')
    return false;
  if (!read_task_file(tid, "stat", stat, sizeof stat)) return false;
  const char *state = strrchr(stat, ')');
  return state && state[2] == 'S';
}

void *trampoline(void *) {
  Start mine = next_start;
  next_start = {};
  started = gettid();
  return mine.body(mine.argument);
}

pid_t launch_thread(ThreadBody body, void *argument, const pthread_attr_t *attributes, pthread_t *thread) {
  pthread_mutex_lock(&starting);
  next_start = {body, argument};
  started = 0;
  require(pthread_create(thread, attributes, trampoline, nullptr) == 0, "pthread_create");
  while (started == 0) usleep(50);
  pid_t tid = started;
  pthread_mutex_unlock(&starting);
  return tid;
}

Mode mode_named(std::string_view name) {
  if (name == "held") return Mode::held;
  if (name == "fixed") return Mode::fixed;
  return Mode::leak;
}

struct Chosen {
  const Case *which;
  Mode mode;
};

void *set_up_on_own_stack(void *argument) {
  auto *chosen = static_cast<Chosen *>(argument);
  chosen->which->set_up(chosen->mode);
  scrub_stack();
  return nullptr;
}

[[gnu::noinline]] void set_up(Chosen chosen) {
  pthread_t thread;
  require(pthread_create(&thread, nullptr, set_up_on_own_stack, &chosen) == 0, "pthread_create");
  pthread_join(thread, nullptr);
}

void await_end_of_input() {
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

} // namespace

int run(int argc, char **argv, std::initializer_list<std::span<const Case>> tables) {
  std::string_view wanted = argc > 1 ? argv[1] : "";
  says_blocks = getenv("SAY_BLOCKS") != nullptr;
  for (std::span<const Case> table : tables)
    for (const Case &each : table) {
      if (wanted == "--list") printf("%s\n", each.name.data());
      if (each.name != wanted) continue;
      set_up({&each, mode_named(argc > 2 ? argv[2] : "")});
      scrub_stack();
      say("objects", -taken_objects);
      say("bytes", -taken_bytes);
      dprintf(STDOUT_FILENO, "READY\n");
      await_end_of_input();
      return 0;
    }
  if (wanted == "--list") return 0;
  dprintf(STDERR_FILENO, "%s: no case '%s'\n", argv[0], argc > 1 ? argv[1] : "");
  return 2;
}

void count(size_t size) {
  --taken_objects;
  taken_bytes -= static_cast<long>(size);
}

void *take(size_t size) {
  count(size);
  void *memory = calloc(1, size);
  if (says_blocks) say("block", reinterpret_cast<long>(memory));
  keep_frame();
  return memory;
}

void say(const char *name, long number) { dprintf(STDOUT_FILENO, "%s %ld\n", name, number); }

pid_t start(ThreadBody body, void *argument, const pthread_attr_t *attributes) {
  pthread_t thread;
  pid_t tid = launch_thread(body, argument, attributes, &thread);
  pthread_detach(thread);
  return tid;
}

pid_t start_joinable(ThreadBody body, void *argument, pthread_t *thread) {
  return launch_thread(body, argument, nullptr, thread);
}

pid_t start_blocked(ThreadBody body, void *argument) {
  pid_t tid = start(body, argument);
  await_blocked(tid);
  return tid;
}

void await_blocked(pid_t tid) {
  for (int seen = 0; seen < 2; usleep(200)) seen = sleeps_in_call(tid) ? seen + 1 : 0;
}

void await_end(pid_t tid) {
  char text[512];
  while (read_task_file(tid, "stat", text, sizeof text)) usleep(200);
}

void park() {
  while (true) poll(nullptr, 0, -1);
}

void scrub_stack() {
  char room[16 << 10];
  memset(room, 0, sizeof room);
  asm volatile("" : : "r"(room) : "memory");
}

namespace {

sigset_t the_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  return signals;
}

const char *said_when_done;

void *await_signals(void *act) {
  const sigset_t signals = the_signal();
  while (true) {
    int signal;
    sigwait(&signals, &signal);
    reinterpret_cast<void (*)()>(act)();
    scrub_stack();
    dprintf(STDOUT_FILENO, "%s\n", said_when_done);
  }
}

} // namespace

void block_signal() {
  const sigset_t signals = the_signal();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void act_at_signal(void (*act)(), const char *done) {
  said_when_done = done;
  await_blocked(start(await_signals, reinterpret_cast<void *>(act)));
}

void make_child() {
  const pid_t child = fork();
  if (child == 0) {
    scrub_stack();
    park();
  }
  dprintf(STDOUT_FILENO, "child %d\n", child);
}

void **map_shared(size_t bytes) {
  void *shared = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(shared != MAP_FAILED, "mmap");
  *static_cast<void **>(shared) = nullptr; // now there is something to read
  return static_cast<void **>(shared);
}

void add_filter(sock_filter *code, size_t count) {
  sock_fprog program{static_cast<unsigned short>(count), code};
  require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
  require(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0, "seccomp");
}

void require(bool fine, const char *what) {
  if (fine) return;
  dprintf(STDERR_FILENO, "set-up failed: %s: %m\n", what);
  _exit(3);
}

} // namespace support
