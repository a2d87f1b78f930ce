// Processes made and waited for: no stranger among the children, and every way to make one works.
#include "calm.h"
#include "support.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

extern char **environ;

namespace calm {
namespace {

using support::require;

// There is no child, so there is none to wait for.
int no_children(int argc, char **argv) {
  repeat(span_of(argc, argv), [] {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    usleep(100);
    return expect(pid == -1 && errno == ECHILD, "waitpid: %d, %s", pid, strerror(errno));
  });
  return done(argv);
}

// A child exists, and never another one is reported; no SIGCHLD but its own.
std::atomic<int> child_signals;
int own_child_only(int argc, char **argv) {
  signal(SIGCHLD, [](int) { ++child_signals; });
  pid_t child = fork();
  if (child == 0) {
    std::this_thread::sleep_for(span_of(argc, argv));
    _exit(9);
  }
  int status;
  pid_t pid;
  do pid = wait(&status);
  while (pid < 0 && errno == EINTR);
  expect(pid == child && WEXITSTATUS(status) == 9, "wait: %d instead of %d, status %x", pid, child, status);
  expect(child_signals == 1, "%d SIGCHLD", child_signals.load());
  return done(argv);
}

int exit_status(pid_t child) {
  int status = -1;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The child works with the heap for a while, as its parent does.
void use_heap(Milliseconds span) {
  std::vector<std::string> texts;
  repeat(span, [&texts] {
    texts.emplace_back(300, 'x');
    if (texts.size() > 1000) texts.clear();
    return true;
  });
}

int fork_and_go_on(int argc, char **argv) {
  Milliseconds span = span_of(argc, argv, 800);
  pid_t child = fork();
  use_heap(span);
  if (child == 0) {
    std::thread([span] { use_heap(span / 4); }).join();
    exit(5); // with all handlers
  }
  int status = exit_status(child);
  expect(status == 5, "child: %d", status);
  return done(argv);
}

int fork_storm(int argc, char **argv) {
  std::atomic<bool> stop{false};
  std::thread other([&stop] {
    while (!stop) use_heap(Milliseconds(5));
  });
  repeat(span_of(argc, argv), [] {
    pid_t child = fork();
    if (child == 0) {
      free(malloc(1000));
      _exit(3);
    }
    int status = exit_status(child);
    return expect(status == 3, "child: %d", status);
  });
  stop = true;
  other.join();
  return done(argv);
}

pid_t vfork_shell(const char *command) {
  pid_t child = vfork();
  if (child != 0) return child;
  execl("/bin/sh", "sh", "-c", command, static_cast<char *>(nullptr));
  _exit(127);
}

pid_t spawn_shell(const char *command) {
  char *arguments[] = {const_cast<char *>("sh"), const_cast<char *>("-c"), const_cast<char *>(command), nullptr};
  pid_t child = -1;
  posix_spawn(&child, "/bin/sh", nullptr, nullptr, arguments, environ);
  return child;
}

std::string popen_output(const char *command) {
  FILE *pipe = popen(command, "r");
  char text[64] = "";
  char *line = fgets(text, sizeof text, pipe);
  return std::string(line ? line : "") + std::to_string(WEXITSTATUS(pclose(pipe)));
}

int spawn_all_ways(int argc, char **argv) {
  repeat(span_of(argc, argv), [] {
    int by_vfork = exit_status(vfork_shell("exit 21")), by_spawn = exit_status(spawn_shell("exit 22"));
    int by_system = WEXITSTATUS(system("exit 23"));
    std::string by_popen = popen_output("echo out; exit 24");
    return expect(by_vfork == 21, "vfork: %d", by_vfork) && expect(by_spawn == 22, "posix_spawn: %d", by_spawn) &&
           expect(by_system == 23, "system: %d", by_system) &&
           expect(by_popen == "out\n24", "popen: %s", by_popen.c_str());
  });
  return done(argv);
}

// A thread sits in vfork until its child has slept; the process goes on.
int long_vfork(int argc, char **argv) {
  std::atomic<bool> stop{false};
  std::thread other([&stop] {
    while (!stop) use_heap(Milliseconds(5));
  });
  pid_t child = vfork();
  if (child == 0) {
    execl("/bin/sleep", "sleep", "0.01", static_cast<char *>(nullptr));
    _exit(127);
  }
  pid_t slow = vfork();
  if (slow == 0) {
    struct timespec span = {1, 0};
    nanosleep(&span, nullptr);
    _exit(6);
  }
  int first = exit_status(child), second = exit_status(slow);
  expect(first == 0 && second == 6, "children: %d %d", first, second);
  use_heap(span_of(argc, argv, 500));
  stop = true;
  other.join();
  return done(argv);
}

// Replaces itself ten times; argv[3] counts.
int exec_itself(int argc, char **argv) {
  int round = argc > 3 ? atoi(argv[3]) : 0;
  pid_t first = argc > 4 ? atoi(argv[4]) : getpid();
  expect(getpid() == first, "pid %d became %d", first, getpid());
  use_heap(Milliseconds(100));
  if (round == 10) return done(argv);
  std::string next = std::to_string(round + 1), pid = std::to_string(first);
  execl("/proc/self/exe", argv[0], argv[1], "0", next.c_str(), pid.c_str(), static_cast<char *>(nullptr));
  return 1;
}

// As daemons do it; the grandchild reports through a pipe that is its standard output.
int daemonize(int argc, char **argv) {
  int ends[2];
  require(pipe(ends) == 0, "pipe");
  if (fork() == 0) {
    setsid();
    if (fork() != 0) _exit(0);
    umask(0);
    require(chdir("/") == 0, "chdir");
    dup2(ends[1], STDOUT_FILENO);
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    closefrom(3);
    std::thread([argc, argv] { use_heap(span_of(argc, argv, 1000)); }).join();
    exit(write(STDOUT_FILENO, "alive", 5) == 5 ? 0 : 1);
  }
  close(ends[1]);
  char text[16] = "";
  ssize_t got = read(ends[0], text, sizeof text - 1);
  expect(got == 5 && strcmp(text, "alive") == 0, "daemon said '%s'", text);
  wait(nullptr);
  return done(argv);
}

// Stopped and continued from outside, again and again.
int stop_and_continue(int argc, char **argv) {
  pid_t self = getpid(), child = fork();
  if (child == 0) {
    repeat(span_of(argc, argv), [self] {
      kill(self, SIGSTOP);
      usleep(60'000);
      kill(self, SIGCONT);
      usleep(60'000);
      return true;
    });
    _exit(0);
  }
  use_heap(span_of(argc, argv));
  int status = exit_status(child);
  expect(status == 0, "child: %d", status);
  return done(argv);
}

constexpr uid_t kNobody = 65534;

int set_user(int argc, char **argv) {
  use_heap(Milliseconds(200));
  if (getuid() == 0) expect(setgid(kNobody) == 0 && setuid(kNobody) == 0, "setuid: %s", strerror(errno));
  use_heap(span_of(argc, argv, 1000));
  return done(argv);
}

int change_root(int argc, char **argv) {
  char path[] = "/tmp/castaway-root-XXXXXX";
  require(mkdtemp(path), "mkdtemp");
  use_heap(Milliseconds(200));
  if (getuid() == 0) expect(chroot(path) == 0 && chdir("/") == 0, "chroot: %s", strerror(errno));
  use_heap(span_of(argc, argv, 1000));
  return done(argv);
}

// Works only while there is one thread.
int unshare_user(int argc, char **argv) {
  expect(unshare(CLONE_NEWUSER) == 0, "unshare: %s", strerror(errno));
  use_heap(span_of(argc, argv, 300));
  return done(argv);
}

// The same again and again, by children that have an agent each, while safepoints are being scanned.
int children_unshare_user(int argc, char **argv) {
  repeat(span_of(argc, argv, 1000), [] {
    pid_t child = fork();
    if (child == 0) {
      use_heap(Milliseconds(60 + rand() % 60));
      _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : errno);
    }
    int status = exit_status(child);
    return expect(status == 0, "unshare: %s", strerror(status));
  });
  return done(argv);
}

// As container runtimes do it, again and again, while safepoints are being scanned.
int set_namespaces(int argc, char **argv) {
  if (getuid() != 0) return done(argv);
  int own[] = {open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
               open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC)};
  repeat(span_of(argc, argv, 1000), [&own] {
    bool fine = true;
    for (int fd : own) {
      int result = setns(fd, 0), error = errno;
      fine = fine && expect(result == 0, "setns: %s", strerror(error));
    }
    use_heap(Milliseconds(60 + rand() % 60));
    return fine;
  });
  return done(argv);
}

int unshare_others(int argc, char **argv) {
  use_heap(Milliseconds(200));
  if (getuid() == 0)
    for (int what : {CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_FILES, CLONE_FS})
      expect(unshare(what) == 0, "unshare %x: %s", what, strerror(errno));
  use_heap(span_of(argc, argv, 1000));
  return done(argv);
}

// Children that are number one of their own namespace, below a /proc that knows them by another number.
int unshare_pid(int argc, char **argv) {
  if (getuid() == 0) expect(unshare(CLONE_NEWPID) == 0, "unshare: %s", strerror(errno));
  pid_t child = fork();
  if (child == 0) {
    expect(getuid() != 0 || getpid() == 1, "pid %d", getpid());
    use_heap(span_of(argc, argv, 1000));
    exit(5);
  }
  use_heap(span_of(argc, argv, 1000));
  int status = exit_status(child);
  expect(status == 5, "child: %d", status);
  return done(argv);
}

constexpr Case kCases[] = {
    {"no_children", no_children},
    {"own_child_only", own_child_only},
    {"fork", fork_and_go_on},
    {"fork_storm", fork_storm},
    {"spawn", spawn_all_ways},
    {"long_vfork", long_vfork},
    {"exec_itself", exec_itself},
    {"daemonize", daemonize},
    {"stop_and_continue", stop_and_continue},
    {"set_user", set_user},
    {"change_root", change_root},
    {"unshare_user", unshare_user},
    {"children_unshare_user", children_unshare_user},
    {"set_namespaces", set_namespaces},
    {"unshare_others", unshare_others},
    {"unshare_pid", unshare_pid},
};

} // namespace

const std::span<const Case> kProcesses = kCases;

} // namespace calm
