#include "tools/launch.h"

#include "tools/collector_process.h"
#include "tools/failure.h"
#include "tools/files.h"
#include "tools/program.h"

#include <cerrno>
#include <cstdlib>
#include <unistd.h>

namespace castaway {

namespace {

constexpr char kRuntimeName[] = "libcastaway.so";

std::string obstacle_of(const std::filesystem::path &program, const std::filesystem::path &runtime,
                        const std::filesystem::path &output) {
  if (runtime.empty()) return std::string(kRuntimeName) + " is missing beside this command (../lib)";
  if (runtime.native().find_first_of(" :") != std::string::npos)
    return in_quotes(runtime.native()) + " has a space or a colon in its path, which LD_PRELOAD cannot take";
  if (const std::string why = why_not_preloadable(program); !why.empty())
    return in_quotes(program.native()) + " " + why + ": nothing can be preloaded into it";
  if (const std::string trouble = trouble_writing_directory(output); !trouble.empty())
    return "profiles cannot be written to " + in_quotes(output.native()) + ": " + trouble;
  return "";
}

// `first` in front of what is preloaded already.
std::string preload_list(const std::string &first) {
  const char *present = getenv("LD_PRELOAD");
  const std::string list = present == nullptr ? "" : present;
  if (list.empty() || list == first) return first;
  return list.starts_with(first + ":") ? list : first + ":" + list;
}

std::vector<char *> pointers_to(Arguments &arguments) {
  std::vector<char *> pointers;
  for (std::string &argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  return pointers;
}

} // namespace

std::filesystem::path find_runtime() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path lib = self.parent_path().parent_path() / "lib";
  for (const std::filesystem::path &directory : {lib, lib / CASTAWAY_MULTIARCH}) {
    std::filesystem::path candidate = directory / kRuntimeName;
    if (access(candidate.c_str(), R_OK) == 0) return candidate;
  }
  return {};
}

Launch::Launch(const Arguments &command, const Settings &settings)
    : command_(command), settings_(settings), program_(find_program(command.front())), runtime_(find_runtime()),
      obstacle_(obstacle_of(program_, runtime_, settings.output())) {}

void Launch::preload() const {
  settings_.export_to_environment();
  setenv("CASTAWAY_ROOT", std::to_string(getpid()).c_str(), 1);
  setenv("LD_PRELOAD", preload_list(runtime_).c_str(), 1);
  provide_collector(settings_.output());
}

void Launch::execute() const {
  if (obstacle_.empty()) preload();
  Arguments arguments = command_; // argv[0] stays as it was given
  execvp(program_.c_str(), pointers_to(arguments).data());
  const int error = errno;
  throw Failure(error == ENOENT ? kStatusNotFound : kStatusCannotRun,
                in_quotes(command_.front()) +
                    ": cannot be executed: " + (error == ENOENT ? "its interpreter is missing" : error_text(error)));
}

} // namespace castaway
