#include "profile/demangle.h"

#include <cstdlib>
#include <cxxabi.h>
#include <memory>

namespace castaway {
namespace {

// The demangler's time and result can grow exponentially with a hostile name.
constexpr size_t kLongestSymbol = 8192;
constexpr std::string_view kAnonymous = "(anonymous namespace)";
constexpr std::string_view kOperator = "operator";

bool part_of_name(char c) {
  return c == '_' || c == '$' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool take_suffix(std::string_view &text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// What may follow the parameters.
std::string_view without_qualifiers(std::string_view text) {
  for (;;) {
    if (text.ends_with(']') && text.rfind(" [") != std::string_view::npos) {
      text = text.substr(0, text.rfind(" [")); // [clone .cold]
      continue;
    }
    if (take_suffix(text, " const") || take_suffix(text, " volatile") || take_suffix(text, " &&") ||
        take_suffix(text, " &"))
      continue;
    return text;
  }
}

// Position of the '(' that the ')' at the end closes; npos if none does.
size_t matching_parenthesis(std::string_view text) {
  int depth = 0;
  for (size_t i = text.size(); i-- > 0;) {
    if (text[i] == ')') depth++;
    if (text[i] == '(' && --depth == 0) return i;
  }
  return std::string_view::npos;
}

bool is_operator_at(std::string_view text, size_t i) {
  return text.substr(i).starts_with(kOperator) && (i == 0 || !part_of_name(text[i - 1])) &&
         (i + kOperator.size() == text.size() || !part_of_name(text[i + kOperator.size()]));
}

// Whether the bracket at `i` belongs to operator<, >, <<, >>, <=, >=, <=> or ->.
bool is_operator_before(std::string_view text, size_t i) {
  if (i > 0 && text[i] == '>' && text[i - 1] == '-') return true;
  while (i > 0 && (text[i - 1] == '<' || text[i - 1] == '>' || text[i - 1] == '=')) i--;
  return i >= kOperator.size() && is_operator_at(text.substr(0, i), i - kOperator.size());
}

// Where the name starts: behind the last blank outside of all brackets and before any `operator`.
size_t start_of_name(std::string_view text) {
  size_t start = 0;
  int depth = 0;
  for (size_t i = 0; i < text.size(); i++) {
    const char c = text[i];
    if (depth == 0 && is_operator_at(text, i)) break;
    if (c == '(' || c == '<' || c == '[' || c == '{') depth++;
    if (c == ')' || c == '>' || c == ']' || c == '}') depth--;
    if (c == ' ' && depth == 0) start = i + 1;
  }
  return start;
}

} // namespace

std::string_view without_signature(std::string_view demangled) {
  auto name = without_qualifiers(demangled);
  if (name.ends_with(')') && !name.ends_with(kAnonymous)) {
    const auto open = matching_parenthesis(name);
    if (open == std::string_view::npos || open == 0) return demangled;
    // "operator()" without parameters is all name.
    if (!(name.ends_with("operator()") && open == name.size() - 2)) name = name.substr(0, open);
  }
  name.remove_prefix(start_of_name(name));
  return name.empty() ? demangled : name;
}

std::string without_template_arguments(std::string_view name) {
  std::string text;
  int depth = 0;
  for (size_t i = 0; i < name.size(); i++) {
    const bool bracket = (name[i] == '<' || name[i] == '>') && !is_operator_before(name, i);
    if (bracket && name[i] == '<' && depth++ == 0) text += name.substr(i).starts_with("<lambda") ? "<lambda" : "<...";
    if (bracket && name[i] == '>' && depth > 0) depth--;
    if (depth == 0) text += name[i];
  }
  return depth == 0 ? text : std::string(name);
}

std::string function_name(const std::string &symbol) {
  if (!symbol.starts_with("_Z") || symbol.size() > kLongestSymbol) return symbol;
  int status = 0;
  const std::unique_ptr<char, decltype(&free)> text(abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status),
                                                    &free);
  if (status != 0 || text == nullptr) return symbol;
  return std::string(without_signature(text.get()));
}

} // namespace castaway
