// A slow leak of small blocks beside much other traffic: `drip leak`, or `drip fixed`. Ends when its input does.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <unistd.h>

namespace {

void *volatile kept;

[[gnu::noinline]] void drip(bool leak) {
  kept = malloc(64);
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
  std::thread([leak] {
    while (true) {
      drip(leak);
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
