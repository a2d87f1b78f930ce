#include "process.h"

#include "profile/text.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <poll.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>

extern char **environ;

namespace e2e {

namespace {

[[noreturn]] void fail(const std::string &what) { throw std::system_error(errno, std::generic_category(), what); }

struct Pipe {
  int read, write;
};
Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
  return {ends[0], ends[1]};
}

std::vector<std::string> environment_with(const std::vector<std::string> &added) {
  std::map<std::string, std::string> all;
  auto add = [&all](const std::string &setting) { all[setting.substr(0, setting.find('='))] = setting; };
  for (char **each = environ; *each; ++each) add(*each);
  for (const std::string &each : added) add(each);
  std::vector<std::string> list;
  for (const auto &[name, setting] : all) list.push_back(setting);
  return list;
}

std::vector<char *> pointers(const std::vector<std::string> &texts) {
  std::vector<char *> list;
  for (const std::string &text : texts) list.push_back(const_cast<char *>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

// In the child: becomes the command. Nothing is inherited but the three standard descriptors.
[[noreturn]] void become(const Command &command, int input, int output, int errors) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(errors, STDERR_FILENO);
  closefrom(STDERR_FILENO + 1);
  std::vector<std::string> environment = environment_with(command.environment);
  if (command.directory.empty() || chdir(command.directory.c_str()) == 0)
    execvpe(command.arguments[0].c_str(), pointers(command.arguments).data(), pointers(environment).data());
  dprintf(STDERR_FILENO, "cannot run %s: %s\n", command.arguments[0].c_str(), strerror(errno));
  _exit(127);
}

} // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = std::filesystem::temp_directory_path() / "castaway-e2e-XXXXXX";
  if (!mkdtemp(pattern.data())) fail(pattern);
  path_ = pattern;
}

// A reporter that outlives its target may write into it meanwhile.
TemporaryDirectory::~TemporaryDirectory() {
  auto remove = [this] {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
    return !error;
  };
  eventually(remove, Seconds(0.25));
}

std::string TemporaryDirectory::file(const std::string &name, std::string_view text) const {
  std::ofstream(path_ / name) << text;
  return path_ / name;
}

Process::Process(const Command &command) {
  Pipe input = make_pipe(), output = make_pipe();
  errors_ = memfd_create("errors", MFD_CLOEXEC);
  if (errors_ < 0) fail("memfd_create");
  fcntl(errors_, F_SETFL, O_APPEND);
  pid_ = fork();
  if (pid_ < 0) fail("fork");
  if (pid_ == 0) become(command, input.read, output.write, errors_);
  close(input.read);
  close(output.write);
  input_ = input.write;
  output_ = output.read;
}

Process::~Process() {
  if (!reaped_) {
    kill(pid_, SIGKILL);
    reap(true);
  }
  for (int file : {input_, output_, errors_})
    if (file >= 0) close(file);
}

bool Process::read_some(Seconds most) {
  pollfd one{output_, POLLIN, 0};
  if (poll(&one, 1, static_cast<int>(most.count() * 1000)) != 1) return false;
  char text[4096];
  ssize_t got = read(output_, text, sizeof text);
  if (got <= 0) return false;
  read_.append(text, static_cast<size_t>(got));
  return true;
}

std::string Process::read_until(std::string_view last, Seconds most) {
  auto end = std::chrono::steady_clock::now() + most;
  std::string line = std::string(last) + "\n";
  while (true) {
    size_t at = read_.rfind(line);
    if (at != std::string::npos && (at == 0 || read_[at - 1] == '\n')) {
      std::string before = read_.substr(0, at);
      read_.erase(0, at + line.size());
      return before;
    }
    Seconds left = end - std::chrono::steady_clock::now();
    if (left.count() <= 0 || !read_some(left))
      throw std::runtime_error("no line '" + std::string(last) + "' but: " + read_ + errors());
  }
}

void Process::close_input() {
  if (input_ >= 0) close(input_);
  input_ = -1;
}

void Process::signal(int number) { kill(pid_, number); }

bool Process::reap(bool wait) {
  while (!reaped_) {
    pid_t got = waitpid(pid_, &status_, wait ? 0 : WNOHANG);
    if (got == 0) return false;
    if (got == pid_)
      reaped_ = true;
    else if (errno != EINTR)
      fail("waitpid");
  }
  return true;
}

bool Process::is_running() { return !reap(false); }

Ended Process::finish(Seconds most) {
  close_input();
  auto end = std::chrono::steady_clock::now() + most;
  bool in_time = false;
  while (!(in_time = reap(false)) && std::chrono::steady_clock::now() < end) read_some(Seconds(0.02));
  if (!in_time) {
    kill(pid_, SIGKILL);
    reap(true);
  }
  while (read_some(Seconds(2))) {
  } // descendants may still write
  std::string how = !in_time             ? "still running"
                    : WIFEXITED(status_) ? "exit " + std::to_string(WEXITSTATUS(status_))
                                         : "signal " + std::to_string(WTERMSIG(status_));
  return {how, read_, errors()};
}

std::string Process::errors() const {
  std::string all(static_cast<size_t>(lseek(errors_, 0, SEEK_END)), '\0');
  ssize_t got = pread(errors_, all.data(), all.size(), 0);
  all.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return all;
}

Ended run(const Command &command, Seconds most) { return Process(command).finish(most); }

void sleep_for(Seconds span) { std::this_thread::sleep_for(span); }

std::string text_of(const std::filesystem::path &path) {
  // Not with a stream: reading /proc of a process that has just ended is an error, which a stream's buffer throws.
  std::string text;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char buffer[16384];
  for (ssize_t got; fd >= 0 && (got = read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  if (fd >= 0) close(fd);
  return text;
}

std::string stat_of(pid_t task) {
  std::string stat = text_of("/proc/" + std::to_string(task) + "/stat");
  size_t name_end = stat.rfind(')');
  return name_end == stat.npos ? "" : stat.substr(name_end + 1);
}

std::vector<pid_t> helpers_of(pid_t pid) {
  std::vector<pid_t> all = {pid};
  for (size_t i = 0; i < all.size(); ++i)
    for (const std::filesystem::directory_entry &entry : std::filesystem::directory_iterator("/proc")) {
      auto number = castaway::parse_decimal(entry.path().filename().native());
      if (!number) continue;
      pid_t task = static_cast<pid_t>(*number), parent = 0;
      if (sscanf(stat_of(task).c_str(), " %*c %d", &parent) == 1 && parent == all[i]) all.push_back(task);
    }
  all.erase(all.begin());
  return all;
}

static bool runs(pid_t pid, std::string_view part) {
  return text_of("/proc/" + std::to_string(pid) + "/cmdline").find(part) != std::string::npos;
}

pid_t find_helper(pid_t target, std::string_view part) {
  for (pid_t helper : helpers_of(target))
    if (text_of("/proc/" + std::to_string(helper) + "/oom_score_adj") == "1000\n" && runs(helper, part)) return helper;
  return 0;
}

// Whether it has stopped, or is gone: before that it can be in the middle of an exec.
static bool stops(pid_t pid) {
  return eventually([&] {
    std::string stat = stat_of(pid);
    return stat.empty() || stat.starts_with(" T");
  });
}

pid_t hold_snapshot(pid_t target, std::string_view program) {
  pid_t helper = find_helper(target, program);
  if (helper == 0) return 0;
  kill(helper, SIGSTOP);
  if (stops(helper) && runs(helper, program)) return helper;
  kill(helper, SIGCONT); // it has become the reporter, which shares nothing
  return 0;
}

} // namespace e2e
