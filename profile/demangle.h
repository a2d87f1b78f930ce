// C++ names as people say them. Pure; any thread; OFFLINE.
#pragma once

#include <string>
#include <string_view>

namespace castaway {

// `symbol` demangled, without parameters, return type and clone suffixes, as pprof shows names; template arguments
// stay. What is not mangled comes back as it is.
std::string function_name(const std::string &symbol);

// A demangled signature without return type, parameters and what follows them:
// "void a::b<int>(int, char) const [clone .cold]" -> "a::b<int>". As it is where it does not look like one.
std::string_view without_signature(std::string_view demangled);

// For people: "a::b<int, c<d> >::e" -> "a::b<...>::e". Operators and lambdas keep their brackets.
std::string without_template_arguments(std::string_view name);

} // namespace castaway
