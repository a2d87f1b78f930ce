// A thread that loses as much before a torrent of allocations as after it; of those of the torrent, and after it, few
// are recorded. Ends when its input does.
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <unistd.h>

namespace {

constexpr size_t kSize = 64 << 10;
constexpr int kLost = 20'000;

void *volatile kept;
int some;

[[gnu::noinline]] void lose_before() {
  for (int i = 0; i < kLost; ++i) kept = malloc(kSize);
  kept = nullptr;
}

[[gnu::noinline]] void lose_after() {
  for (int i = 0; i < kLost; ++i) kept = malloc(kSize);
  kept = &some; // not the same code as the other one, which would be merged with it
  kept = nullptr;
}

[[gnu::noinline]] void torrent() {
  constexpr int kBlocks = 400'000; // 25 GiB
  for (int i = 0; i < kBlocks; ++i) {
    kept = malloc(kSize);
    free(kept);
  }
  kept = nullptr;
}

} // namespace

int main() {
  std::thread([] {
    lose_before();
    torrent();
    lose_after();
  }).join();
  puts("READY");
  fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  _exit(0);
}
