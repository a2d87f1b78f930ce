// A slow leak of blocks beside much other traffic: `drip leak SIZE`, or `drip fixed SIZE`. Ends when its input does.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <unistd.h>

namespace {

void *volatile kept;

[[gnu::noinline]] void drip(bool leak, size_t size) {
  kept = malloc(size);
  if (!leak) free(kept);
  kept = nullptr;
}

[[gnu::noinline]] void traffic() {
  void *blocks[100];
  for (void *&block : blocks) block = malloc(512);
  for (void *block : blocks) free(block);
  memset(blocks, 0, sizeof blocks);
  asm volatile("" ::"r"(blocks) : "memory");
}

} // namespace

int main(int argc, char **argv) {
  bool leak = argc > 1 && strcmp(argv[1], "leak") == 0;
  const size_t size = argc > 2 ? strtoul(argv[2], nullptr, 10) : 64;
  std::thread([leak, size] {
    while (true) {
      drip(leak, size);
      traffic();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }).detach();
  puts("READY");
  fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  _exit(0);
}
