// Calls that wait for signals, time, System V and POSIX messages, futexes, locks and children.
#include "support.h"
#include "waiting_calls.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace calm {
namespace {

using support::require;

timespec span_of(int milliseconds) { return {milliseconds / 1000, milliseconds % 1000 * 1'000'000L}; }
timespec after(clockid_t clock, int milliseconds) {
  timespec until;
  clock_gettime(clock, &until);
  until.tv_sec += milliseconds / 1000;
  until.tv_nsec += milliseconds % 1000 * 1'000'000L;
  until.tv_sec += until.tv_nsec / 1'000'000'000;
  until.tv_nsec %= 1'000'000'000;
  return until;
}
Outcome outcome(bool event, int timeout_error) {
  if (event) return Outcome::event;
  return errno == timeout_error ? Outcome::timeout : Outcome::error;
}

template <int number> class SignalWait : public WaitingCall {
public:
  SignalWait() {
    sigemptyset(&set_);
    sigaddset(&set_, number);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr); // before there are other threads
  }
  void release() override { kill(getpid(), number); }

protected:
  sigset_t set_;
};

class Sigtimedwait : public SignalWait<SIGUSR1> {
public:
  const char *name() const override { return "sigtimedwait"; }
  Outcome wait(int milliseconds) override {
    timespec span = span_of(milliseconds);
    return outcome(sigtimedwait(&set_, nullptr, milliseconds < 0 ? nullptr : &span) > 0, EAGAIN);
  }
};

class Sigwaitinfo : public SignalWait<SIGUSR2> {
public:
  const char *name() const override { return "sigwaitinfo"; }
  bool can_time_out() const override { return false; }
  Outcome wait(int) override { return outcome(sigwaitinfo(&set_, nullptr) > 0, 0); }
};

class Semtimedop : public WaitingCall {
public:
  ~Semtimedop() override { semctl(id_, 0, IPC_RMID); }
  const char *name() const override { return "semtimedop"; }
  Outcome wait(int milliseconds) override {
    sembuf down{0, -1, 0};
    timespec span = span_of(milliseconds);
    return outcome(semtimedop(id_, &down, 1, milliseconds < 0 ? nullptr : &span) == 0, EAGAIN);
  }
  void release() override {
    sembuf up{0, 1, 0};
    require(semop(id_, &up, 1) == 0, "semop");
  }

private:
  int id_ = semget(IPC_PRIVATE, 1, 0600);
};

class Semop : public Semtimedop {
public:
  const char *name() const override { return "semop"; }
  bool can_time_out() const override { return false; }
};

class Msgrcv : public WaitingCall {
public:
  ~Msgrcv() override { msgctl(id_, IPC_RMID, nullptr); }
  const char *name() const override { return "msgrcv"; }
  bool can_time_out() const override { return false; }
  Outcome wait(int) override { return outcome(msgrcv(id_, &message_, 1, 0, 0) == 1, 0); }
  void release() override { require(msgsnd(id_, &sent_, 1, 0) == 0, "msgsnd"); }

private:
  struct Message {
    long type = 1;
    char text[8] = "x";
  };
  int id_ = msgget(IPC_PRIVATE, 0600);
  Message message_, sent_;
};

class MqReceive : public WaitingCall {
public:
  MqReceive() {
    char name[64];
    snprintf(name, sizeof name, "/castaway-%d", getpid());
    mq_attr attributes{0, 2, 16, 0, {}};
    queue_ = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    mq_unlink(name);
  }
  const char *name() const override { return "mq_timedreceive"; }
  bool can_time_out() const override { return queue_ >= 0; } // not in every container
  bool can_be_released() const override { return queue_ >= 0; }
  Outcome wait(int milliseconds) override {
    char text[16];
    timespec until = after(CLOCK_REALTIME, milliseconds < 0 ? 3'600'000 : milliseconds);
    return outcome(mq_timedreceive(queue_, text, sizeof text, nullptr, &until) >= 0, ETIMEDOUT);
  }
  void release() override { mq_send(queue_, "x", 1, 0); }

private:
  mqd_t queue_;
};

class Futex : public WaitingCall {
public:
  const char *name() const override { return "futex"; }
  Outcome wait(int milliseconds) override {
    timespec span = span_of(milliseconds);
    long result = syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, 0, milliseconds < 0 ? nullptr : &span, nullptr, 0);
    return outcome(result == 0 || (errno == EAGAIN && word_), ETIMEDOUT);
  }
  void release() override {
    word_ = 1;
    syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

private:
  std::atomic<int> word_{0};
};

// The same by a number that only a variable has.
class FutexByNumber : public WaitingCall {
public:
  const char *name() const override { return "futex by number"; }
  bool is_named() const override { return false; }
  Outcome wait(int milliseconds) override {
    timespec span = span_of(milliseconds);
    long result = syscall(number_, &word_, FUTEX_WAIT_PRIVATE, 0, milliseconds < 0 ? nullptr : &span, nullptr, 0);
    return outcome(result == 0 || (errno == EAGAIN && word_), ETIMEDOUT);
  }
  void release() override {
    word_ = 1;
    syscall(number_, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

private:
  volatile long number_ = SYS_futex;
  std::atomic<int> word_{0};
};

class SemTimedwait : public WaitingCall {
public:
  SemTimedwait() { sem_init(&sem_, 0, 0); }
  const char *name() const override { return "sem_timedwait"; }
  Outcome wait(int milliseconds) override {
    if (milliseconds < 0) return outcome(sem_wait(&sem_) == 0, 0);
    timespec until = after(CLOCK_REALTIME, milliseconds);
    return outcome(sem_timedwait(&sem_, &until) == 0, ETIMEDOUT);
  }
  void release() override { sem_post(&sem_); }

private:
  sem_t sem_;
};

class Nanosleep : public WaitingCall {
public:
  const char *name() const override { return "nanosleep"; }
  bool can_be_released() const override { return false; }
  Outcome wait(int milliseconds) override {
    timespec span = span_of(milliseconds);
    return nanosleep(&span, nullptr) == 0 ? Outcome::timeout : Outcome::error;
  }
};

class ClockNanosleep : public WaitingCall {
public:
  const char *name() const override { return "clock_nanosleep until"; }
  bool can_be_released() const override { return false; }
  Outcome wait(int milliseconds) override {
    timespec until = after(CLOCK_MONOTONIC, milliseconds);
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
    return errno == 0 ? Outcome::timeout : Outcome::error;
  }
};

// Waits for a lock that another open file has.
class Flock : public WaitingCall {
public:
  Flock() {
    char path[] = "/tmp/castaway-lock-XXXXXX";
    held_ = mkstemp(path);
    wanted_ = open(path, O_RDWR);
    unlink(path);
    require(lock(held_) == 0, "lock");
  }
  const char *name() const override { return "flock"; }
  bool can_time_out() const override { return false; }
  Outcome wait(int) override { return outcome(lock(wanted_) == 0, 0); }
  void release() override { close(held_); }

protected:
  virtual int lock(int file) { return flock(file, LOCK_EX); }

private:
  int held_, wanted_;
};

class WaitChild : public WaitingCall {
public:
  WaitChild() {
    require(pipe(ends_) == 0, "pipe");
    child_ = fork();
    if (child_ != 0) return;
    char byte;
    close(ends_[1]);
    _exit(read(ends_[0], &byte, 1) == 1 ? 7 : 1);
  }
  const char *name() const override { return "waitpid"; }
  bool can_time_out() const override { return false; }
  Outcome wait(int) override {
    int status;
    return outcome(waitpid(child_, &status, 0) == child_ && WEXITSTATUS(status) == 7, 0);
  }
  void release() override { require(write(ends_[1], "x", 1) == 1, "write"); }

private:
  int ends_[2];
  pid_t child_;
};

} // namespace

void add_ipc_calls(std::vector<std::unique_ptr<WaitingCall>> &calls) {
  calls.push_back(std::make_unique<Sigtimedwait>());
  calls.push_back(std::make_unique<Sigwaitinfo>());
  calls.push_back(std::make_unique<Semtimedop>());
  calls.push_back(std::make_unique<Semop>());
  calls.push_back(std::make_unique<Msgrcv>());
  calls.push_back(std::make_unique<MqReceive>());
  calls.push_back(std::make_unique<Futex>());
  calls.push_back(std::make_unique<FutexByNumber>());
  calls.push_back(std::make_unique<SemTimedwait>());
  calls.push_back(std::make_unique<Nanosleep>());
  calls.push_back(std::make_unique<ClockNanosleep>());
  calls.push_back(std::make_unique<Flock>());
  calls.push_back(std::make_unique<WaitChild>());
}

std::vector<std::unique_ptr<WaitingCall>> every_waiting_call() {
  std::vector<std::unique_ptr<WaitingCall>> calls;
  add_file_calls(calls);
  add_ipc_calls(calls);
  return calls;
}

} // namespace calm
