#include "profile/runtime_frames.h"

#include <algorithm>
#include <array>

namespace castaway {
namespace {

// strdup and its like allocate for their callers too, yet tell more than malloc does: they are no part of this.
constexpr std::array<std::string_view, 11> kAllocationFunctions = {
    "malloc",         "calloc", "realloc", "reallocarray", "memalign",      "aligned_alloc",
    "posix_memalign", "valloc", "pvalloc", "operator new", "operator new[]"};

constexpr std::array<std::string_view, 14> kRuntimeModules = {
    "libc.so",  "libc-2.", "libpthread", "libstdc++.so", "libc++.so", "libc++abi", "libgcc_s.so",
    "ld-linux", "ld-2.",   "ld.so",      "libm.so",      "libasan",   "libtsan",   "[vdso]"};

constexpr std::array<std::string_view, 3> kRuntimeNamespaces = {"std::", "__gnu_cxx::", "__cxxabiv1::"};

template <typename List> bool starts_with_any(std::string_view text, const List &list) {
  return std::any_of(list.begin(), list.end(), [&](auto start) { return text.starts_with(start); });
}

std::string_view without_underscores(std::string_view name) {
  return name.substr(std::min(name.find_first_not_of('_'), name.size()));
}

} // namespace

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool is_own_module(std::string_view module) { return file_name(module).starts_with("libcastaway"); }

bool is_allocation_function(std::string_view function) {
  auto name = without_underscores(function);
  if (name.starts_with("libc_")) name.remove_prefix(5);
  return std::find(kAllocationFunctions.begin(), kAllocationFunctions.end(), name) != kAllocationFunctions.end();
}

bool is_runtime_module(std::string_view module) { return starts_with_any(file_name(module), kRuntimeModules); }

bool is_runtime_frame(std::string_view function, std::string_view module) {
  return is_own_module(module) || is_allocation_function(function) || is_runtime_module(module) ||
         starts_with_any(function, kRuntimeNamespaces);
}

} // namespace castaway
