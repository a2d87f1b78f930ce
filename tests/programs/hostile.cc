// Surroundings in which a safepoint is hard to make, or impossible: see tests/e2e/hostile_test.cc.
#include "include/castaway/castaway.h"
#include "support.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <malloc.h>
#include <semaphore.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

using support::Mode;

// A thread that waits for good on a semaphore that nobody else knows.
[[gnu::noinline]] void *wait_on_lost(void *) {
  auto *lost = support::make<sem_t>();
  sem_init(lost, 0, 0);
  while (sem_wait(lost) != 0) {
  }
  return nullptr;
}
void *park(void *) {
  support::park();
  return nullptr;
}

void lost_waiter(Mode) { support::start_blocked(wait_on_lost, nullptr); }

// The kernel then removes children that have ended at once.
void ignored_children(Mode mode) {
  signal(SIGCHLD, SIG_IGN);
  lost_waiter(mode);
}

// Somebody wants to be told of each fork before it goes on, and is stopped with all the others.
void userfault(Mode) {
  int fd = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
  support::require(fd >= 0, "userfaultfd");
  uffdio_api api{UFFD_API, UFFD_FEATURE_EVENT_FORK, 0};
  support::require(ioctl(fd, UFFDIO_API, &api) == 0, "UFFDIO_API");
  void *memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uffdio_register area{{reinterpret_cast<uintptr_t>(memory), 4096}, UFFDIO_REGISTER_MODE_MISSING, 0};
  support::require(ioctl(fd, UFFDIO_REGISTER, &area) == 0, "UFFDIO_REGISTER");
  std::thread([fd] {
    uffd_msg message;
    while (read(fd, &message, sizeof message) > 0) {
    }
  }).detach();
}

pid_t start_with_size(support::ThreadBody body, size_t stack_size) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  support::require(pthread_attr_setstacksize(&attributes, stack_size) == 0, "pthread_attr_setstacksize");
  pid_t tid = support::start(body, nullptr, &attributes);
  pthread_attr_destroy(&attributes);
  return tid;
}

void huge_stacks(Mode) {
  for (int i = 0; i < 8; ++i) support::await_blocked(start_with_size(i < 3 ? wait_on_lost : park, size_t{1} << 30));
}

void many_threads(Mode) {
  constexpr int kThreads = 5000, kLost = 50;
  pid_t last = 0;
  for (int i = 0; i < kThreads; ++i) last = start_with_size(i < kLost ? wait_on_lost : park, 64 << 10);
  support::await_blocked(last);
  usleep(200'000);
}

// More memory that a fork leaves out than a stop can copy, where it has to be copied: of what is shared. `held`:
// private.
void much_unforked(Mode mode) {
  constexpr size_t size = size_t{100} << 20;
  int flags = (mode == Mode::held ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS;
  void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
  memset(memory, 1, size);
  support::require(madvise(memory, size, MADV_DONTFORK) == 0, "madvise");
  *static_cast<void **>(memory) = support::take(1001);
}

// The only pointer to a block is in shared memory, which somebody may have swapped out; with `leak` there is none.
void swapped(Mode mode) {
  constexpr size_t kSize = size_t{1} << 20;
  void *memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memset(memory, 1, kSize);
  void *block = support::take(1001);
  if (mode != Mode::leak) *static_cast<void **>(memory) = block;
}

// Rewrites its memory over and over, a quarter of a GB a second: what a snapshot shares has to be copied.
void restless(Mode) {
  lost_waiter(Mode::leak);
  constexpr size_t kSize = size_t{60} << 20;
  auto *memory = static_cast<char *>(malloc(kSize));
  support::kept = memory;
  memset(memory, 1, kSize);
  std::thread([memory] {
    constexpr size_t kStep = size_t{256} << 10;
    for (size_t at = 0;; at = (at + kStep) % kSize) {
      memset(memory + at, static_cast<int>(at / kStep), kStep);
      usleep(1000);
    }
  }).detach();
}

// A list of a million blocks, 80 MB.
void many_blocks(Mode) {
  void **list = nullptr;
  for (int i = 0; i < 1'000'000; ++i) {
    auto **block = static_cast<void **>(malloc(64));
    *block = list;
    list = block;
  }
  support::kept = list;
}

// All memory is in memory, also what is mapped later; threads come and go.
void locked_memory(Mode mode) {
  support::require(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
  if (mode != Mode::fixed) lost_waiter(mode);
  std::thread([] {
    for (;; usleep(1000)) std::thread([] { usleep(2000); }).join();
  }).detach();
}

constexpr support::Case kCases[] = {
    {"lost_waiter", lost_waiter},   {"ignored_children", ignored_children},
    {"userfault", userfault},       {"huge_stacks", huge_stacks},
    {"many_threads", many_threads}, {"much_unforked", much_unforked},
    {"restless", restless},         {"swapped", swapped},
    {"many_blocks", many_blocks},   {"locked_memory", locked_memory},
};

// How much memory there is to be had, in MiB.
int fill() {
  std::thread([] {}).join();
  long got = 0;
  while (void *volatile block = malloc(1 << 20)) got += block != nullptr;
  printf("%ld\n", got);
  return 0;
}

// glibc finds the heap damaged, says so, and aborts. A safepoint has been made by then, where castaway is there.
int damage(const char *how) {
  castaway_snap();
  std::string_view name = how;
  char *volatile block = static_cast<char *>(malloc(24)); // volatile: the compiler knows better than to do this
  char *volatile next = static_cast<char *>(malloc(1400));
  char *volatile last = static_cast<char *>(malloc(24));
  if (name == "garbage") {
    next = next + 8;
    free(next);
  } else if (name == "twice") {
    free(block);
    free(block);
  } else {
    memset(next + malloc_usable_size(next), 0x41, 8);
    free(next);
    free(last);
    block = static_cast<char *>(malloc(100'000));
  }
  return 0;
}

// Loses a block, or does not, and ends without exit handlers, with status 7.
[[noreturn]] void end_now(std::string_view how) {
  if (how == "_Exit") _Exit(7);
  if (how == "quick_exit") quick_exit(7);
  if (how == "raw") syscall(SYS_exit_group, 7);
  if (how == "on_thread") std::thread([] { _exit(7); }).join();
  if (how == "in_handler") {
    signal(SIGTERM, [](int) { _exit(7); });
    kill(getpid(), SIGTERM);
    pause();
  }
  _exit(7);
}
int end(const char *how, bool lose) {
  std::string_view name = how;
  std::thread([lose] {
    void *block = support::take(1001);
    if (!lose) support::kept = block;
    support::scrub_stack();
  }).join();
  // Children that end so are nobody's business.
  if (name == "after_children") {
    if (vfork() == 0) _exit(3);
    if (fork() == 0) _exit(3);
    while (wait(nullptr) > 0) {
    }
  }
  end_now(name);
}

} // namespace

int main(int argc, char **argv) {
  if (argc > 2 && strcmp(argv[1], "damage") == 0) return damage(argv[2]);
  if (argc > 3 && strcmp(argv[1], "end") == 0) return end(argv[2], strcmp(argv[3], "leak") == 0);
  if (argc > 1 && strcmp(argv[1], "fill") == 0) return fill();
  return support::run(argc, argv, {kCases});
}
