// Result: a value, or one line that says why there is none.
//
// What std::expected<T, std::string> would be (GCC 12 has none). The text names what was wrong and where, ends without
// a full stop or a newline, and can be shown to a user as it is. Any thread; OFFLINE.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace castaway {

struct Error {
  std::string text;
};

template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : value_(std::move(error)) {}

  bool ok() const { return std::holds_alternative<T>(value_); }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T &operator*() & { return std::get<T>(value_); }
  const T &operator*() const & { return std::get<T>(value_); }
  T &&operator*() && { return std::get<T>(std::move(value_)); }
  T *operator->() { return &std::get<T>(value_); }
  const T *operator->() const { return &std::get<T>(value_); }

  // REQUIRES: !ok().
  const std::string &error() const { return std::get<Error>(value_).text; }

private:
  std::variant<T, Error> value_;
};

// For what gives nothing back.
struct Done {};
using Status = Result<Done>;

} // namespace castaway
