// A library that the target programs load with dlopen (libplugin.so beside the program's build, path by PLUGIN_PATH).
#pragma once

namespace plugin {

struct Interface {
  void *volatile *bss;
  void *volatile *(*thread_local_slot)(); // in dynamic thread-local storage
  void (*lose)(int blocks);               // leaks as many blocks of kLostSize bytes
};
inline constexpr int kLostSize = 77;

// Opens the library; the handle goes to *handle where one is asked for.
const Interface *load(void **handle = nullptr);

} // namespace plugin
