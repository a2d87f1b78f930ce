// Where this library is; see place.h.
#include "runtime/place.h"

#include "runtime/config.h"
#include "runtime/memory.h"
#include "runtime/sys.h"

#include <dlfcn.h>

namespace castaway {

namespace {

char reporter[kPathSize];

} // namespace

void learn_place() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void *>(&learn_place), &info) || !info.dli_fname) return;
  Text<kPathSize> path;
  if (info.dli_fname[0] != '/') {
    char here[kPathSize];
    if (sys::call(SYS_getcwd, here, sizeof here) > 0) path << static_cast<const char *>(here) << "/";
  }
  std::string_view library = info.dli_fname;
  size_t slash = library.rfind('/');
  path << library.substr(0, slash == library.npos ? 0 : slash) << "/../bin/castaway";
  // A library directory may have one more level, lib/x86_64-linux-gnu.
  if (sys::call(SYS_faccessat, AT_FDCWD, path.c_str(), 1 /* X_OK */) != 0) {
    Text<kPathSize> deeper;
    deeper << path.view().substr(0, path.size() - std::string_view("bin/castaway").size()) << "../bin/castaway";
    if (sys::call(SYS_faccessat, AT_FDCWD, deeper.c_str(), 1) == 0) path = deeper;
  }
  std::memcpy(reporter, path.c_str(), path.size() + 1);
}

const char *reporter_path() { return reporter; }

} // namespace castaway
