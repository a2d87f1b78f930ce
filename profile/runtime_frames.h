// Frames that are nobody's fault: the C and C++ libraries' own and this profiler's. Pure; any thread; OFFLINE.
#pragma once

#include <string_view>

namespace castaway {

// libcastaway.so: its frames are in the way of every allocation stack.
bool is_own_module(std::string_view module);

// malloc and its kin, operator new.
bool is_allocation_function(std::string_view function);

// The C or C++ library, the loader, a sanitizer's; `module` is a path.
bool is_runtime_module(std::string_view module);

// A function of the C or C++ library, the loader, the profiler or a sanitizer; `module` is a path.
bool is_runtime_frame(std::string_view function, std::string_view module);

// The part behind the last slash.
std::string_view file_name(std::string_view path);

} // namespace castaway
