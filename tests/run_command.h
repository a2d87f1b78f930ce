// Runs a program to its end and keeps what it wrote: the frame of all tests of the castaway command.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace castaway {

struct Finished {
  int status = -1; // exit status, 128 + signal after a signal
  std::string out;
  std::string err;

  // Lines of standard error; a last one without newline counts.
  size_t error_lines() const;
};

// argv[0] without a slash is looked for beside the running test, where the build puts all programs, then along PATH.
Finished run_command(const std::vector<std::string> &argv);

// Shell text; $CASTAWAY is the command. For what needs pipes, background jobs or other descriptors.
Finished run_shell(const std::string &text);

// The file NAME in the build's bin directory.
std::filesystem::path built(const std::string &name);

// A directory of a test's own, removed with all that is in it.
class TestDirectory {
public:
  TestDirectory();
  TestDirectory(const TestDirectory &) = delete;
  TestDirectory &operator=(const TestDirectory &) = delete;
  ~TestDirectory();

  std::filesystem::path operator/(const std::string &name) const { return path_ / name; }
  const std::filesystem::path &path() const { return path_; }
  // Makes a file with these bytes and mode.
  std::filesystem::path write(const std::string &name, const std::string &bytes, int mode = 0600) const;

private:
  std::filesystem::path path_;
};

} // namespace castaway
