// libplugin.so: see plugin.h.
#include "plugin.h"

#include <cstdlib>

namespace {

void *volatile in_bss;
thread_local void *volatile in_tls;
thread_local char padding[8000]; // too much for the static block: this module's storage is allocated on first use

[[gnu::noinline]] void lose_in_plugin() { asm volatile("" : : "r"(calloc(1, plugin::kLostSize))); }

const plugin::Interface interface = {&in_bss, []() -> void *volatile *{padding[1] = 1;
return &in_tls;
} // namespace
, [](int blocks) {
  for (int i = 0; i < blocks; ++i) lose_in_plugin();
},
}
;

} // namespace

extern "C" const plugin::Interface *castaway_test_plugin() { return &interface; }
