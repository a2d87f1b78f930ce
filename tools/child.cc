#include "tools/child.h"

#include "tools/failure.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <sys/wait.h>
#include <unistd.h>

namespace castaway {

namespace {

constexpr std::array kForwarded = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

// Set before the handler is there, constant until it is gone.
volatile pid_t child_pid = 0;

void forward(int signal, siginfo_t *info, void * /*context*/) {
  const int saved = errno;
  if (info->si_code != SI_KERNEL) kill(child_pid, signal); // the kernel sends a key's signal to the child as well
  errno = saved;
}

// The forwarding handlers, for as long as it lives. What is ignored stays ignored, here and in the child.
class Forwarding {
public:
  Forwarding() {
    struct sigaction action = {};
    action.sa_sigaction = forward;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    for (size_t i = 0; i < kForwarded.size(); ++i) {
      sigaction(kForwarded[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) sigaction(kForwarded[i], &action, nullptr);
    }
  }
  Forwarding(const Forwarding &) = delete;
  Forwarding &operator=(const Forwarding &) = delete;
  ~Forwarding() {
    for (size_t i = 0; i < kForwarded.size(); ++i) sigaction(kForwarded[i], &before_[i], nullptr);
  }

private:
  std::array<struct sigaction, kForwarded.size()> before_ = {};
};

// Blocks the forwarded signals, so that none is lost or kills us between fork and the handlers.
class Blocking {
public:
  Blocking() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : kForwarded) sigaddset(&set, signal);
    sigprocmask(SIG_BLOCK, &set, &before_);
  }
  Blocking(const Blocking &) = delete;
  Blocking &operator=(const Blocking &) = delete;
  ~Blocking() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

private:
  sigset_t before_ = {};
};

[[noreturn]] void become(const Launch &launch) {
  try {
    launch.execute();
  } catch (const Failure &failure) {
    complain(failure.what());
    _exit(failure.status());
  }
}

int wait_status(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw Failure(kStatusFailed, "waiting for CMD: " + error_text(errno));
  }
  return status;
}

} // namespace

ChildEnd run_child(const Launch &launch) {
  std::optional<Blocking> blocking(std::in_place);
  const pid_t pid = fork();
  if (pid < 0) throw Failure(kStatusFailed, "no process can be made: " + error_text(errno));
  if (pid == 0) {
    blocking.reset();
    become(launch);
  }
  child_pid = pid;
  const Forwarding forwarding;
  blocking.reset();
  const int status = wait_status(pid);
  if (WIFSIGNALED(status)) return {pid, WTERMSIG(status), 128 + WTERMSIG(status)};
  return {pid, 0, WEXITSTATUS(status)};
}

} // namespace castaway
