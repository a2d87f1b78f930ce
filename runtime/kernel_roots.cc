// Pointers that the kernel holds for the target; see kernel_roots.h.
// Sources: proc_pid_fdinfo(5) (lines "tfd: ... data: HEX"), proc_pid_timers(5) ("signal: NUMBER/HEX"), Linux'
// io_uring/fdinfo.c ("SqHead:"), fs/userfaultfd.c ("API: VERSION:FEATURES:KNOWN"), fs/aio.c (struct aio_ring).
#include "runtime/kernel_roots.h"

#include "runtime/kernel_queues.h"
#include "runtime/memory.h"
#include "runtime/tracking.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <linux/ptrace.h>

namespace castaway {

namespace {

constexpr size_t kDescriptors = size_t{1} << 20;
constexpr size_t kValues = size_t{1} << 20;
constexpr size_t kText = size_t{64} << 20; // reserved; an epoll with half a million descriptors

enum : uint8_t { kUnseen, kOther, kEpoll, kPipe, kSocket, kRing, kUserfault };

uint8_t kind_of(const Proc &proc, int fd) {
  Text<64> path;
  path << proc.pid() << "/fd/" << fd;
  char link[64] = {};
  long size = proc.read_link(path.c_str(), link, sizeof link - 1);
  std::string_view text(link, size > 0 ? static_cast<size_t>(size) : 0);
  if (text == "anon_inode:[eventpoll]") return kEpoll;
  if (text == "anon_inode:[io_uring]") return kRing;
  if (text == "anon_inode:[userfaultfd]") return kUserfault;
  if (text.substr(0, 5) == "pipe:") return kPipe;
  return text.substr(0, 7) == "socket:" ? kSocket : kOther;
}

// Notifications of message queues: few, and never taken back but by another one on the same queue.
struct Notification {
  std::atomic<int> queue; // descriptor + 1
  std::atomic<uintptr_t> value, function_value;
};
Notification notifications[64];
std::atomic<bool> too_many_notifications;

// An AIO context that has completed something, going by its ring; which has to be assumed where it cannot be read. One
// that has not is taken for unused, as every worker of nginx has one: its very first requests are not thought of.
bool has_completed(const Vma &ring) {
  struct { // struct aio_ring
    uint32_t id, events, head, tail, magic;
  } header;
  constexpr uint32_t kMagic = 0xa10a10a1;
  if (!ring.readable) return true;
  std::memcpy(&header, reinterpret_cast<const void *>(ring.range.begin), sizeof header);
  return header.magic != kMagic || header.head != 0 || header.tail != 0;
}

} // namespace

bool KernelRoots::reserve() {
  // One set for all safepoints.
  static char *memory;
  constexpr size_t kBytes = kDescriptors + kValues * sizeof(uintptr_t) + kText;
  if (!memory) memory = static_cast<char *>(own_memory(kBytes));
  if (!memory) return false;
  clear_own_memory(memory, kBytes);
  values_ = reinterpret_cast<uintptr_t *>(memory);
  kinds_ = reinterpret_cast<uint8_t *>(memory + kValues * sizeof(uintptr_t));
  text_ = memory + kValues * sizeof(uintptr_t) + kDescriptors;
  count_ = 0;
  return true;
}

void KernelRoots::prepare(const Proc &proc) {
  if (!reserve()) return;
  proc.for_each_number("fd", [&](int fd) {
    if (static_cast<size_t>(fd) < kDescriptors) kinds_[fd] = kind_of(proc, fd);
  });
}

void KernelRoots::collect(const Proc &proc, World &world) {
  incomplete_ = kinds_ == nullptr;
  if (incomplete_) return;
  KernelQueues queues(proc.pid());
  std::span<char> room(text_, KernelQueues::kMostBytes);
  bool listed = proc.for_each_number("fd", [&](int fd) {
    if (static_cast<size_t>(fd) >= kDescriptors) return;
    if (kinds_[fd] == kUnseen) kinds_[fd] = kind_of(proc, fd);
    if (kinds_[fd] == kEpoll) collect_epoll(proc, fd);
    if (kinds_[fd] == kPipe) collect_bytes({text_, queues.peek_pipe(fd, room)});
    if (kinds_[fd] == kSocket) collect_bytes({text_, queues.peek_socket(fd, room)});
    if (kinds_[fd] == kRing) collect_ring(proc, fd);
    if (kinds_[fd] == kUserfault) collect_userfault(proc, fd);
  });
  if (!listed || too_many_notifications.load()) incomplete_ = true;
  collect_timers(proc);
  collect_signals(proc, world);
  for (const Notification &notification : notifications) add(notification.value), add(notification.function_value);
}

void KernelRoots::add(uint64_t value) {
  if (value == 0) return;
  if (count_ < kValues)
    values_[count_++] = value;
  else
    incomplete_ = true;
}

void KernelRoots::collect_epoll(const Proc &proc, int fd) {
  Text<64> path;
  std::string_view text = proc.read((path << "fdinfo/" << fd).view(), text_, kText);
  if (text.size() == kText) incomplete_ = true;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    size_t at = line.find("data:");
    if (at == line.npos) continue;
    line.remove_prefix(at + 5);
    while (!line.empty() && line[0] == ' ') line.remove_prefix(1);
    uint64_t value;
    if (take_number(line, value, 16)) add(value);
  }
}

// Messages have any length, so a pointer can begin at any byte. Most of what is sent is none.
void KernelRoots::collect_bytes(std::string_view bytes) {
  for (size_t at = 0; at + sizeof(uintptr_t) <= bytes.size(); ++at) {
    uintptr_t value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    if (value >> HeapMap::kAddressBits == 0 && heap_map.leaf_at(value)) add(value);
  }
}

void KernelRoots::collect_timers(const Proc &proc) {
  std::string_view text = proc.read("timers", text_, kText);
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (!take_prefix(line, "signal:")) continue;
    take_until(line, '/');
    take_prefix(line, "0x");
    uint64_t value;
    if (take_number(line, value, 16)) add(value);
  }
}

// Whether anything was ever submitted. What has been, may be in flight for ever; there is no telling.
void KernelRoots::collect_ring(const Proc &proc, int fd) {
  Text<64> path;
  std::string_view text = proc.read((path << "fdinfo/" << fd).view(), text_, kText);
  std::string_view head = line_value(text, "SqHead:"), tail = line_value(text, "SqTail:");
  std::string_view inode = line_value(text, "ino:");
  uint64_t taken = 1, given = 1, number = 0;
  bool known = take_number(head, taken) && take_number(tail, given) && take_number(inode, number);
  if (known && taken == 0 && given == 0 && idle_count_ < kMostIdle)
    idle_rings_[idle_count_++] = number;
  else
    used_rings_ = true;
}

void KernelRoots::collect_userfault(const Proc &proc, int fd) {
  constexpr uint64_t kEventFork = 2; // UFFD_FEATURE_EVENT_FORK
  Text<64> path;
  std::string_view text = proc.read((path << "fdinfo/" << fd).view(), text_, kText);
  std::string_view api = line_value(text, "API:");
  uint64_t features = kEventFork;
  take_until(api, ':');
  if (!take_number(api, features, 16) || (features & kEventFork)) fork_would_wait_ = true;
}

// Signals that were queued with a value, and wait to be taken; and those that were on their way to a handler.
void KernelRoots::collect_signals(const Proc &proc, World &world) {
  std::string_view queued = line_value(proc.read("status", text_, kText), "SigQ:");
  uint64_t number = 1;
  bool any = !take_number(queued, number) || number > 0; // of this user's: none at all in the usual case
  bool first = true;
  for (const StoppedThread &thread : world.threads()) {
    if (thread.gone) continue;
    if (world.way() == StopWay::signal) {
      if (any) doubt_signals(proc, thread.tid);
      continue;
    }
    uintptr_t info[sizeof(siginfo_t) / sizeof(uintptr_t)] = {};
    if (thread.interrupted_by_signal &&
        sys::call(SYS_ptrace, PTRACE_GETSIGINFO, thread.tid, 0, reinterpret_cast<uintptr_t>(info)) == 0)
      for (uintptr_t word : info) add(word);
    if (!any) continue;
    if (first) collect_queue(thread.tid, true);
    first = false;
    collect_queue(thread.tid, false);
  }
}

// Their values are for tracers to see; that there are some is not.
void KernelRoots::doubt_signals(const Proc &proc, int tid) {
  Text<64> path;
  std::string_view text = proc.read((path << "task/" << tid << "/status").view(), text_, kText);
  for (const char *key : {"SigPnd:", "ShdPnd:"}) {
    std::string_view line = line_value(text, key);
    uint64_t pending = 1;
    if (!take_number(line, pending, 16) || pending != 0) unseen_signals_ = true;
  }
}

void KernelRoots::collect_queue(int tid, bool shared) {
  constexpr size_t kAtOnce = 16;
  constexpr size_t kValue = 3; // si_value, psABI for x86-64 and aarch64
  static siginfo_t infos[kAtOnce];
  ptrace_peeksiginfo_args arguments{0, shared ? uint32_t{1} : 0, kAtOnce}; // PTRACE_PEEKSIGINFO_SHARED
  for (long got; (got = sys::call(SYS_ptrace, PTRACE_PEEKSIGINFO, tid, &arguments, infos)) > 0;
       arguments.off += static_cast<uint64_t>(got))
    for (long i = 0; i < got; ++i) add(reinterpret_cast<const uintptr_t *>(&infos[i])[kValue]);
}

bool KernelRoots::holds_hidden(const Vmas &vmas) const {
  if (used_rings_ || unseen_signals_) return true;
  for (const Vma &vma : vmas.all()) {
    // A ring whose descriptor is gone, or registered, still works.
    bool ring = vma.path == "anon_inode:[io_uring]";
    if (ring && std::find(idle_rings_, idle_rings_ + idle_count_, vma.inode) == idle_rings_ + idle_count_) return true;
    if (vma.path.substr(0, 6) == "/[aio]" && has_completed(vma)) return true;
  }
  return false;
}

void note_queue_notification(int queue, uintptr_t value, uintptr_t function_value) {
  for (Notification &notification : notifications) {
    int there = notification.queue.load();
    if (there == 0 && !notification.queue.compare_exchange_strong(there, queue + 1) && there != queue + 1) continue;
    if (there != 0 && there != queue + 1) continue;
    notification.value = value;
    notification.function_value = function_value;
    return;
  }
  too_many_notifications = true;
}

} // namespace castaway
