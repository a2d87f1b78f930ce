#include "tests/run_command.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace castaway {

namespace {

std::string read_file(const std::filesystem::path &path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void redirect(const char *path, int flags, int descriptor) {
  if (freopen(path, flags == 0 ? "r" : "w", descriptor == 0 ? stdin : descriptor == 1 ? stdout : stderr) == nullptr)
    _exit(99);
}

[[noreturn]] void become(const std::vector<std::string> &argv, const std::string &out, const std::string &err) {
  redirect("/dev/null", 0, STDIN_FILENO);
  redirect(out.c_str(), 1, STDOUT_FILENO);
  redirect(err.c_str(), 1, STDERR_FILENO);
  std::vector<char *> pointers;
  for (const std::string &argument : argv) pointers.push_back(const_cast<char *>(argument.c_str()));
  pointers.push_back(nullptr);
  const std::filesystem::path own = built(argv[0]);
  execvp(access(own.c_str(), X_OK) == 0 ? own.c_str() : pointers[0], pointers.data());
  _exit(99);
}

} // namespace

size_t Finished::error_lines() const {
  const auto newlines = static_cast<size_t>(std::count(err.begin(), err.end(), '\n'));
  return newlines + (!err.empty() && err.back() != '\n' ? 1 : 0);
}

std::filesystem::path built(const std::string &name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

Finished run_command(const std::vector<std::string> &argv) {
  const TestDirectory directory;
  const std::string out = directory / "out";
  const std::string err = directory / "err";
  const pid_t pid = fork();
  if (pid == 0) become(argv, out, err);
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid) throw std::runtime_error("no child");
  return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), read_file(out), read_file(err)};
}

Finished run_shell(const std::string &text) {
  setenv("CASTAWAY", built("castaway").c_str(), 1);
  return run_command({"bash", "-c", text});
}

TestDirectory::TestDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "castaway-test.XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no directory");
  path_ = pattern;
}

TestDirectory::~TestDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TestDirectory::write(const std::string &name, const std::string &bytes, int mode) const {
  std::ofstream(path_ / name, std::ios::binary) << bytes;
  chmod((path_ / name).c_str(), static_cast<mode_t>(mode));
  return path_ / name;
}

} // namespace castaway
