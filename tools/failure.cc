#include "tools/failure.h"

#include <cstring>
#include <unistd.h>

namespace castaway {

namespace {

constexpr size_t kLongestText = 1000; // bytes of one value in a message

bool is_plain(unsigned char c) { return c >= 0x20 && c != 0x7f; }

std::string escape_of(unsigned char c) {
  if (c == '\n') return "\\n";
  if (c == '\t') return "\\t";
  if (c == '\r') return "\\r";
  static const char digits[] = "0123456789abcdef";
  return {'\\', 'x', digits[c >> 4], digits[c & 15]};
}

} // namespace

std::string one_line(std::string_view text) {
  std::string out;
  for (const unsigned char c : text) out += is_plain(c) ? std::string(1, static_cast<char>(c)) : escape_of(c);
  return out;
}

std::string escaped(std::string_view text) {
  std::string out = one_line(text.substr(0, kLongestText));
  return text.size() > kLongestText ? out + "..." : out;
}

std::string in_quotes(std::string_view text) { return "'" + escaped(text) + "'"; }

void complain(std::string_view line) {
  const std::string out = "castaway: " + one_line(line) + "\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, out.data(), out.size());
}

std::string error_text(int error_number) {
  char buffer[128];
  return strerror_r(error_number, buffer, sizeof buffer); // GNU's: returns the text, which may not be in the buffer
}

} // namespace castaway
