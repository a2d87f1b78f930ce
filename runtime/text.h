// Text without libc: building lines in a buffer of fixed size, reading numbers. Any context; allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace castaway {

// A line being built. What does not fit is cut off; the text is always zero-terminated.
template <size_t N> class Text {
public:
  Text &operator<<(std::string_view part) {
    size_t n = part.size() < N - 1 - size_ ? part.size() : N - 1 - size_;
    if (n == 0) return *this; // data() may be null, which memcpy must not be given
    std::memcpy(text_ + size_, part.data(), n);
    text_[size_ += n] = 0;
    return *this;
  }
  Text &operator<<(const char *part) { return *this << std::string_view(part); }
  Text &operator<<(uint64_t value) {
    char digits[20];
    size_t n = 0;
    do digits[n++] = static_cast<char>('0' + value % 10);
    while (value /= 10);
    while (n > 0) *this << std::string_view(&digits[--n], 1);
    return *this;
  }
  Text &operator<<(int64_t value) {
    if (value < 0) return *this << "-" << (uint64_t{0} - static_cast<uint64_t>(value));
    return *this << static_cast<uint64_t>(value);
  }
  Text &operator<<(int value) { return *this << static_cast<int64_t>(value); }
  Text &operator<<(unsigned value) { return *this << static_cast<uint64_t>(value); }
  Text &hex(uint64_t value) {
    char digits[16];
    size_t n = 0;
    do digits[n++] = "0123456789abcdef"[value % 16];
    while (value /= 16);
    while (n > 0) *this << std::string_view(&digits[--n], 1);
    return *this;
  }
  void clear() { text_[size_ = 0] = 0; }

  const char *c_str() const { return text_; }
  std::string_view view() const { return {text_, size_}; }
  size_t size() const { return size_; }
  bool full() const { return size_ + 1 >= N; }

private:
  char text_[N] = {};
  size_t size_ = 0;
};

// Reads a number in `base` from the front of `text` and removes it; false where there is none or it overflows.
inline bool take_number(std::string_view &text, uint64_t &value, unsigned base = 10) {
  size_t i = 0;
  value = 0;
  for (; i < text.size(); ++i) {
    char c = text[i];
    unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                     : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A') + 10
                                            : 99;
    if (digit >= base) break;
    if (__builtin_mul_overflow(value, uint64_t{base}, &value) || __builtin_add_overflow(value, uint64_t{digit}, &value))
      return false;
  }
  text.remove_prefix(i);
  return i > 0;
}

inline bool take_prefix(std::string_view &text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Removes and returns what stands before the next `end`, or all of it.
inline std::string_view take_until(std::string_view &text, char end) {
  size_t at = text.find(end);
  std::string_view head = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return head;
}

} // namespace castaway
