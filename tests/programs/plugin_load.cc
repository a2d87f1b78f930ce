// Opening libplugin.so: the programs' side of plugin.h.
#include "plugin.h"
#include "support.h"

#include <dlfcn.h>

namespace plugin {

const Interface *load(void **handle) {
  void *library = dlopen(PLUGIN_PATH, RTLD_NOW | RTLD_LOCAL);
  support::require(library, "dlopen of " PLUGIN_PATH);
  if (handle) *handle = library;
  auto get = reinterpret_cast<const Interface *(*)()>(dlsym(library, "castaway_test_plugin"));
  support::require(get, "dlsym");
  return get();
}

} // namespace plugin
