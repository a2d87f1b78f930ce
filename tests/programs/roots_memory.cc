// Roots in the memory of modules and of the C library: variables, the environment, exit handlers.
#include "plugin.h"
#include "roots.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

extern char **environ;
extern "C" int __cxa_atexit(void (*)(void *), void *, void *);

namespace roots {
namespace {

using support::Mode;

void *volatile global;
void in_global(Mode mode) { global = secret(mode); }

void in_static_local(Mode mode) {
  static void *volatile local = nullptr;
  if (!local) local = secret(mode);
}

void in_plugin_bss(Mode mode) { *plugin::load()->bss = secret(mode); }

// A block that ends in a string "NAME=value", with the second block before it.
char *variable(Mode mode) {
  static char nothing[] = "CASTAWAY_EMPTY=1";
  auto *text = static_cast<char *>(secret(Mode::held));
  strcpy(text, "CASTAWAY_TEST=1");
  return mode == Mode::held ? text : nothing;
}
void in_environment(Mode mode) { putenv(variable(mode)); }
void in_set_environment(Mode mode) {
  // setenv copies: its copy, and the array that it grows, are the C library's own blocks.
  setenv("CASTAWAY_SET", "a value of some length", 1);
  in_environment(mode);
}

// Overwrites the last pointer of the environment's array on main's stack, above main's frame.
void in_initial_stack(Mode mode) {
  char **last = environ;
  while (last[0] && last[1]) ++last;
  *last = variable(mode);
}

void in_on_exit(Mode mode) {
  on_exit([](int, void *) {}, secret(mode));
}
void in_atexit(Mode mode) {
  __cxa_atexit([](void *) {}, secret(mode), nullptr);
}

void in_stdio_buffer(Mode mode) {
  FILE *file = fopen("/dev/null", "r");
  support::require(file && setvbuf(file, static_cast<char *>(secret(mode)), _IOFBF, kSecretSize) == 0, "setvbuf");
  global = file;
}

constexpr support::Case kCases[] = {
    {"global", in_global},
    {"static_local", in_static_local},
    {"plugin_bss", in_plugin_bss},
    {"putenv", in_environment},
    {"setenv", in_set_environment},
    {"initial_stack", in_initial_stack},
    {"on_exit", in_on_exit},
    {"atexit", in_atexit},
    {"stdio_buffer", in_stdio_buffer},
};

} // namespace

const std::span<const support::Case> kMemory = kCases;

} // namespace roots
