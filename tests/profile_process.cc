#include "tests/profile_process.h"

#include "profile/maps.h"

#include <elf.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <pthread.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace castaway {
namespace known {

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
volatile int never = 0;

// Not there at run time: only debug information knows it.
constexpr int kInlined = __LINE__ + 2;
[[gnu::always_inline]] inline void inlined_wait() {
  while (never == 0) pthread_cond_wait(&cond, &mutex);
}

constexpr int kOuter = __LINE__ + 4;
struct Waiter {
  template <typename T> [[gnu::noinline]] void outer_wait(T &count) {
    pthread_mutex_lock(&mutex);
    inlined_wait();
    count++;
  }
};

[[gnu::noinline]] void lock_wait(int &count) {
  pthread_mutex_lock(&held);
  count++;
}

void *run_cond(void *) {
  prctl(PR_SET_NAME, "worker");
  long count = 0;
  Waiter().outer_wait(count);
  return reinterpret_cast<void *>(count);
}

void *run_lock(void *) {
  prctl(PR_SET_NAME, "worker");
  int count = 0;
  lock_wait(count);
  return nullptr;
}

[[noreturn]] void child(int threads) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pthread_mutex_lock(&held);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 << 10);
  for (int i = 0; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, i % 2 == 0 ? run_cond : run_lock, nullptr) != 0) _exit(1);
  }
  for (;;) pause();
}

} // namespace known

const int kLineOfInlinedWait = known::kInlined;
const int kLineOfOuterCall = known::kOuter;
const char kProcessSource[] = "tests/profile_process.cc";

namespace {

std::string slurp(const std::string &path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<pid_t> tasks_of(pid_t pid) {
  std::vector<pid_t> tids;
  for (const auto &entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task"))
    tids.push_back(std::stoi(entry.path().filename()));
  std::sort(tids.begin(), tids.end());
  return tids;
}

bool blocked(pid_t pid, pid_t tid) {
  const auto call = slurp("/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/syscall");
  return call.starts_with("202 ") || call.starts_with("34 ") || call.starts_with("98 ") || call.starts_with("73 ");
}

// In the order of ThreadRecord::registers.
void read_registers(pid_t tid, uint64_t *registers) {
  struct iovec area;
#if defined(__x86_64__)
  uint64_t user[27];
  constexpr int order[] = {10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16}; // of user_regs_struct
  area = {user, sizeof user};
  ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &area);
  for (size_t i = 0; i < std::size(order); i++) registers[i] = user[order[i]];
#else
  area = {registers, kRegisters * 8};
  ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &area);
#endif
}

} // namespace

BlockedProcess::BlockedProcess(int threads) : pid_(fork()) {
  if (pid_ == 0) known::child(threads);
  const auto all_blocked = [&] {
    const auto tids = tasks_of(pid_);
    return tids.size() == static_cast<size_t>(threads) + 1 &&
           std::all_of(tids.begin(), tids.end(), [&](pid_t tid) { return blocked(pid_, tid); });
  };
  while (!all_blocked()) usleep(1000);
}

BlockedProcess::~BlockedProcess() {
  kill(pid_, SIGKILL);
  // Traced threads have to be waited for before their leader.
  while (waitpid(-1, nullptr, __WALL) > 0) {
  }
}

std::string BlockedProcess::maps() const { return slurp("/proc/" + std::to_string(pid_) + "/maps"); }

void BlockedProcess::capture(CaptureBuilder &builder, uint64_t since) const {
  builder.maps(maps());
  builder.fact("exe", std::filesystem::read_symlink("/proc/" + std::to_string(pid_) + "/exe").string());
  for (const auto tid : tasks_of(pid_)) add_thread(builder, tid, since);
}

void BlockedProcess::add_thread(CaptureBuilder &builder, pid_t tid, uint64_t since) const {
  ptrace(PTRACE_SEIZE, tid, 0, 0);
  ptrace(PTRACE_INTERRUPT, tid, 0, 0);
  waitpid(tid, nullptr, __WALL);
  uint64_t registers[kRegisters] = {};
  read_registers(tid, registers);
#if defined(__x86_64__)
  const uint64_t sp = registers[7] - 128;
#else
  const uint64_t sp = registers[31];
#endif
  const auto map = MemoryMap::parse(maps());
  const auto &mapping = map->mappings()[static_cast<size_t>(map->find(sp))];
  std::vector<std::byte> stack(mapping.end - sp);
  const int memory = open(("/proc/" + std::to_string(pid_) + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  if (pread(memory, stack.data(), stack.size(), static_cast<off_t>(sp)) < 0) stack.clear();
  close(memory);
  ptrace(PTRACE_DETACH, tid, 0, 0);

  auto &record = builder.thread(tid, tid == pid_ ? "main" : "worker", stack);
  std::copy(std::begin(registers), std::end(registers), record.registers);
  record.stack_address = sp;
  record.since_ns = 300000000000;
  if (tid == pid_) {
    record.flags = kThreadMain;
    return;
  }
  record.flags = kThreadWaiter | (since != 0 ? kThreadLeaked : 0u);
  record.wait = WaitKind::futex;
  record.reason = since != 0 ? Reason::unreachable : Reason::none;
  record.first_safepoint = since;
  record.retained_bytes = since != 0 ? 1024 : 0;
  record.retained_objects = since != 0 ? 2 : 0;
}

uint64_t address_in_outer_wait() {
  void (known::Waiter::*function)(long &) = &known::Waiter::outer_wait<long>;
  uint64_t address = 0;
  memcpy(&address, &function, sizeof address);
  return address + 8;
}

} // namespace castaway
