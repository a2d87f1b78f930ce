// Where blocks are lost: in a library that has been closed since, in a forked child.
#include "blocks.h"
#include "plugin.h"

#include <cstdlib>
#include <dlfcn.h>
#include <unistd.h>

namespace blocks {
namespace {

using support::Mode;

void in_closed_library(Mode mode) {
  void *handle;
  plugin::load(&handle); // once more than needed: two unloads of the same place
  dlclose(handle);
  const plugin::Interface *library = plugin::load(&handle);
  library->lose(mode == Mode::fixed ? 0 : 4);
  for (int i = 0; i < 4; ++i) support::count(plugin::kLostSize);
  dlclose(handle);
}

[[gnu::noinline]] void *lose_in_child(void *mode) {
  void *memory = support::take(555);
  if (*static_cast<Mode *>(mode) == Mode::held) support::kept = memory;
  if (*static_cast<Mode *>(mode) == Mode::fixed) free(memory);
  return nullptr;
}

// The child loses a block and then waits for the end of input as its parent does. Writes "child PID".
void in_child(Mode mode) {
  int ready[2];
  support::require(pipe(ready) == 0, "pipe");
  pid_t child = fork();
  if (child == 0) {
    pthread_t thread; // so that nothing of it is left on the stack of the one that waits
    support::require(pthread_create(&thread, nullptr, lose_in_child, &mode) == 0, "pthread_create");
    pthread_join(thread, nullptr);
    support::require(write(ready[1], "1", 1) == 1, "write");
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    _exit(0);
  }
  char byte;
  support::require(child > 0 && read(ready[0], &byte, 1) == 1, "fork");
  support::say("child", child);
}

constexpr support::Case kCases[] = {{"closed_library", in_closed_library}, {"child", in_child}};

} // namespace

const std::span<const support::Case> kPlaces = kCases;

} // namespace blocks
