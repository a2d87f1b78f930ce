// A program that has huge pages: 64 MiB that it asked for, to which a thread writes all the time, a byte in each of
// them.
//
// Waits for its input to end, then looks whether its memory holds what it has written: exit status 0 if it does. With
// `filtered`, it has a seccomp filter that ends whoever asks for a look at huge pages; with `shared`, it
// writes to the same small pages always, and makes a child at SIGUSR1 that has all of that memory too.
#include "support.h"

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr size_t kHuge = 2 << 20, kCount = 32;

char *map_huge() {
  void *room = mmap(nullptr, (kCount + 1) * kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  support::require(room != MAP_FAILED, "mmap");
  auto begin = (reinterpret_cast<uintptr_t>(room) + kHuge - 1) & ~(kHuge - 1);
  char *memory = reinterpret_cast<char *>(begin);
  support::require(madvise(memory, kCount * kHuge, MADV_HUGEPAGE) == 0, "MADV_HUGEPAGE");
  for (size_t i = 0; i < kCount * kHuge; ++i) memory[i] = static_cast<char>(i * 7);
  return memory;
}

void filter_scans() {
  constexpr uint32_t kPagemapScan = 0xc0606610;
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])), // the low half, on little-endian machines
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kPagemapScan, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  support::add_filter(filter, std::size(filter));
}

// The byte that changes, in another small page each time.
char *place(char *memory, size_t i, unsigned round) { return memory + i * kHuge + round * 4096 % kHuge; }

std::atomic<bool> wants_child;

} // namespace

int main(int argc, char **argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "filtered") filter_scans();
  signal(SIGUSR1, [](int) { wants_child = true; });
  char *memory = map_huge();
  std::atomic<bool> end = false;
  pid_t child = 0;
  unsigned rounds = 0, step = mode == "shared" ? 0 : 1;
  std::thread writer([&] {
    while (!end) {
      if (wants_child.exchange(false) && (child = fork()) == 0) support::park();
      for (size_t i = 0; i < kCount; ++i) ++*place(memory, i, rounds * step);
      ++rounds;
      usleep(500);
    }
  });
  printf("READY\n");
  fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  end = true;
  writer.join();
  if (child > 0) kill(child, SIGKILL);
  for (unsigned round = 0; round < rounds; ++round)
    for (size_t i = 0; i < kCount; ++i) --*place(memory, i, round * step);
  size_t wrong = 0;
  for (size_t i = 0; i < kCount * kHuge; ++i) wrong += memory[i] != static_cast<char>(i * 7);
  if (wrong) fprintf(stderr, "%zu bytes are wrong\n", wrong);
  return wrong != 0;
}
