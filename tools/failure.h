// How a command ends early: it throws a Failure, and main prints it as one line and exits with its status.
//
// Every line of the tool on standard error has one shape, "castaway: ...", and stays one line whatever the arguments
// contain. Statuses: 2 for a wrong argument, 1 for a right one that could not be done, 126 and 127 as env(1).
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace castaway {

inline constexpr int kStatusFailed = 1;
inline constexpr int kStatusUsage = 2;
inline constexpr int kStatusLeaked = 23;
inline constexpr int kStatusCannotRun = 126;
inline constexpr int kStatusNotFound = 127;

class Failure : public std::runtime_error {
public:
  Failure(int status, const std::string &line) : std::runtime_error(line), status_(status) {}

  int status() const { return status_; }

private:
  int status_;
};

// The text with control characters escaped as in C.
std::string one_line(std::string_view text);

// The same, cut to a length that a terminal can take.
std::string escaped(std::string_view text);

// The same in single quotes, for values that a message names.
std::string in_quotes(std::string_view text);

// Writes "castaway: LINE\n" to standard error in one piece.
void complain(std::string_view line);

// "No such file or directory" for ENOENT, and so on.
std::string error_text(int error_number);

} // namespace castaway
