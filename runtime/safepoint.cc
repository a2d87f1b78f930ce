// A safepoint: the tracer's part, and the agent's where threads are stopped by signal; see safepoint.h. Raw system
// calls only: the tracer borrows the agent's thread pointer.
#include "runtime/safepoint.h"

#include "runtime/call_probe.h"
#include "runtime/huge_pages.h"
#include "runtime/injection.h"
#include "runtime/memory.h"
#include "runtime/memory_limits.h"
#include "runtime/stop_ptrace.h"
#include "runtime/stop_signal.h"

#include <algorithm>
#include <csignal>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

namespace castaway {

namespace {

constexpr size_t kStackSize = 512 << 10;
constexpr int kWaitAll = 0x40000000; // __WALL
constexpr int kWaitNoHang = 1;

void offer_to_oom_killer(const Files &files, int pid) {
  int fd = Proc(files.proc, pid).open("oom_score_adj", O_WRONLY);
  if (fd >= 0) sys::write(fd, "1000", 4);
  sys::close(fd);
}

// A fork: memory copied on write. Descriptors: a copy of the agent's few, none of the target's. Returns the snapshot's
// pid, or a negative errno.
int copy_process(Safepoint &safepoint, World &world, const KernelRoots &kernel_roots) {
  if (kernel_roots.fork_would_wait()) {
    safepoint.failure = StopFailure::userfault;
    return -EDEADLK;
  }
  static constinit UncopiedMemory uncopied;
  // Of the tracer's own: the memory is the same, and the main thread's /proc shows none once that has exited.
  Proc own(safepoint.files.proc, sys::process_id());
  if (!uncopied.collect(own, safepoint.files.uncopied)) {
    safepoint.failure = StopFailure::uncopied;
    safepoint.uncopied_bytes = uncopied.bytes();
    uncopied.take_back();
    return -ENOMEM;
  }
  safepoint.maps = {own.open("maps"), own.open("smaps")};
  safepoint.mapped_pages = page_counts(own).mapped;
  safepoint.stopped_wall_ns = sys::now_ns(CLOCK_REALTIME);
  long pid = sys::call(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) snapshot_main(safepoint, world, kernel_roots, uncopied);
  uncopied.take_back();
  sys::close(safepoint.maps.maps);
  sys::close(safepoint.maps.smaps);
  // Before the target can write to what is shared: if memory runs short from here on, it is not the target that ends.
  if (pid > 0) offer_to_oom_killer(safepoint.files, static_cast<int>(pid));
  return static_cast<int>(pid);
}

// From the first thread told to stop to the last let go. `copy` makes the snapshot.
template <typename Copy>
void pause_world(Safepoint &safepoint, World &world, const Proc &proc, KernelRoots &kernel_roots, Copy copy) {
  uint64_t began_ns = sys::now_ns();
  safepoint.failure = world.stop();
  safepoint.stopped_ns = world.first_told_ns() ? world.first_told_ns() : began_ns;
  safepoint.failed_tid = world.failed_tid();
  safepoint.failed_errno = world.failed_errno();
  fault_point(safepoint, "stopped");
  if (safepoint.failure == StopFailure::none) {
    kernel_roots.collect(proc, world);
    if (safepoint.way == StopWay::signal && kernel_roots.incomplete()) // not seen by ptrace's permissions
      safepoint.failure = StopFailure::no_proc;
    else
      safepoint.snapshot_pid = copy();
    fault_point(safepoint, "forked");
    world.resume();
    fault_point(safepoint, "resumed");
  }
  safepoint.pause_ns = sys::now_ns() - safepoint.stopped_ns;
  world.release();
}

void set_handover(Safepoint &safepoint, Handover to) {
  safepoint.handover.store(to, std::memory_order_release);
  sys::futex_wake(&safepoint.handover);
}

// Whether it came to something else than `from`. `alive`: whether the other side is.
template <typename Alive> bool await_handover(Safepoint &safepoint, Handover from, Alive alive) {
  constexpr uint64_t kStep = 50'000'000;
  while (safepoint.handover.load(std::memory_order_acquire) == from) {
    if (!alive()) return false;
    sys::futex_wait(&safepoint.handover, static_cast<uint32_t>(from), kStep);
  }
  return true;
}

// Whether the target is gone: then nobody will use what the tracer could still say.
bool is_orphan(int parent) { return sys::call(SYS_getppid) != parent; }

// How long `margin` lasts at 4 GB/s, which takes two threads that do nothing but write to what is shared.
uint64_t next_look_ns(int64_t margin) {
  constexpr int64_t kBytesPerNs = 4;
  return static_cast<uint64_t>(std::clamp<int64_t>(margin / kBytesPerNs, 1'000'000, 100'000'000));
}

// It is torn down here and now, rather than when a process of low priority gets to it.
void give_way(Safepoint &safepoint) {
  safepoint.gave_way = true;
  sys::call(SYS_kill, safepoint.snapshot_pid, SIGKILL);
  int process = static_cast<int>(sys::call(SYS_pidfd_open, safepoint.snapshot_pid, 0));
  sys::call(SYS_process_mrelease, process, 0);
  sys::close(process);
}

// Once it is over, no process of that number is its any more.
void await_snapshot(Safepoint &safepoint, const MemoryLimits &limits) {
  uint64_t children = sys::signal_bit(SIGCHLD);
  while (sys::call(SYS_wait4, safepoint.snapshot_pid, &safepoint.snapshot_status, kWaitAll | kWaitNoHang, nullptr) ==
         0) {
    if (is_orphan(safepoint.pid)) return;
    int64_t margin = safepoint.gave_way ? INT64_MAX : limits.margin();
    if (margin < 0) give_way(safepoint);
    timespec step = sys::to_timespec(next_look_ns(margin));
    sys::call(SYS_rt_sigtimedwait, &children, nullptr, &step, sizeof children);
  }
  safepoint.snapshot_pid = 0;
}

// In the tracer: whether memory is too short, or a seccomp filter in the way.
bool may_stop(Safepoint &safepoint, const MemoryLimits &limits) {
  constexpr int64_t kLeast = 8 << 20; // for the scan, and for what the target writes to meanwhile
  if (limits.margin() < kLeast) {
    safepoint.failure = StopFailure::too_full;
    return false;
  }
  CallAnswers answers = probe_calls(safepoint.way, safepoint.files.proc);
  safepoint.may_mend = answers.huge_pages;
  if (answers.signal_actions) keep_ended_children();
  if (answers.stop == 0) return true;
  safepoint.failure = StopFailure::denied;
  safepoint.failed_errno = static_cast<int>(-answers.stop);
  return false;
}

void stop_by_ptrace(Safepoint &safepoint, const MemoryLimits &limits) {
  if (!may_stop(safepoint, limits)) return;
  Proc proc(safepoint.files.proc, safepoint.pid);
  PtraceStopper stopper(proc);
  World world(proc, safepoint.agent_tid, stopper);
  KernelRoots kernel_roots;
  fault_point(safepoint, "tracer");
  kernel_roots.prepare(proc);
  pause_world(safepoint, world, proc, kernel_roots, [&] {
    std::span<const StoppedThread> threads = world.threads();
    safepoint.main_alone = threads.size() == 1 && threads[0].tid == safepoint.pid;
    if (safepoint.main_alone) safepoint.main_faults = thread_stat(proc, safepoint.pid).faults;
    int pid = copy_process(safepoint, world, kernel_roots);
    if (safepoint.main_alone) stopper.copy_sequences_page(threads[0]);
    return pid;
  });
}

// In the agent. The tracer makes the copy, so that it is the snapshot's parent.
void stop_by_signal(Safepoint &safepoint) {
  auto tracer_lives = [&] { return safepoint.tracer_tid.load(std::memory_order_acquire) != 0; };
  if (!await_handover(safepoint, Handover::none, tracer_lives) || safepoint.failure != StopFailure::none) return;
  Proc proc(safepoint.files.proc, safepoint.pid);
  SignalStopper stopper(proc);
  World world(proc, safepoint.agent_tid, stopper);
  KernelRoots kernel_roots;
  kernel_roots.prepare(proc);
  safepoint.world = &world;
  safepoint.kernel_roots = &kernel_roots;
  pause_world(safepoint, world, proc, kernel_roots, [&] {
    set_handover(safepoint, Handover::stopped);
    return await_handover(safepoint, Handover::stopped, tracer_lives) ? safepoint.snapshot_pid : -ESRCH;
  });
  if (safepoint.failure != StopFailure::none) set_handover(safepoint, Handover::given_up);
}

// The tracer's part of that.
void copy_on_demand(Safepoint &safepoint, const MemoryLimits &limits) {
  bool may = may_stop(safepoint, limits);
  set_handover(safepoint, may ? Handover::ready : Handover::given_up);
  if (!may || !await_handover(safepoint, Handover::ready, [&] { return !is_orphan(safepoint.pid); })) return;
  if (safepoint.handover.load(std::memory_order_acquire) == Handover::given_up) return;
  safepoint.snapshot_pid = copy_process(safepoint, *safepoint.world, *safepoint.kernel_roots);
  set_handover(safepoint, Handover::copied);
}

int tracer_main(void *argument) {
  Safepoint &safepoint = *static_cast<Safepoint *>(argument);
  MemoryLimits limits;
  limits.open(Proc(safepoint.files.proc, safepoint.pid), safepoint.files.groups);
  if (safepoint.way == StopWay::ptrace)
    stop_by_ptrace(safepoint, limits);
  else
    copy_on_demand(safepoint, limits);
  safepoint.phase.store(Phase::scanning, std::memory_order_release);
  static constinit HugePages huge_pages;
  bool copied = safepoint.failure == StopFailure::none && safepoint.snapshot_pid > 0;
  // At the exit there is no use for them any more.
  bool mends = copied && safepoint.may_mend && safepoint.trigger != Trigger::exit;
  uint64_t began_ns = sys::now_ns();
  if (mends) huge_pages.note(Proc(safepoint.files.proc, safepoint.snapshot_pid));
  if (copied) await_snapshot(safepoint, limits);
  safepoint.phase.store(Phase::done, std::memory_order_release);
  sys::futex_wake(&safepoint.phase);
  if (mends) huge_pages.make_whole({safepoint.files.proc, safepoint.pid, safepoint.agent_tid}, limits, began_ns);
  return 0;
}

// Yama's restricted mode lets only ancestors trace, unless the traced process permits others; for the time of the stop.
bool is_restricted(const Files &files) {
  char scope = '0';
  int fd = sys::open_at(files.proc, "sys/kernel/yama/ptrace_scope", O_RDONLY);
  if (fd >= 0) sys::read(fd, &scope, 1);
  sys::close(fd);
  return scope == '1';
}
void permit_tracing(bool permit) {
  constexpr long kAnybody = -1; // PR_SET_PTRACER_ANY
  sys::call(SYS_prctl, PR_SET_PTRACER, permit ? kAnybody : 0, 0, 0, 0);
}

} // namespace

bool start_safepoint(Safepoint &safepoint) {
  static void *stack = own_memory(kStackSize);
  if (!stack) return false;
  ++safepoint.attempt;
  safepoint.failure = StopFailure::none;
  safepoint.snapshot_pid = 0;
  safepoint.snapshot_status = -1;
  safepoint.gave_way = false;
  safepoint.main_alone = false;
  safepoint.phase.store(Phase::stopping, std::memory_order_release);
  // No exit signal, no thread group: wait(2) of the target does not see it. No CLONE_FILES: descriptors of its own. No
  // CLONE_FS: setns(2) fails where the target's root directory is shared.
  unsigned long flags = CLONE_VM | CLONE_UNTRACED | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  safepoint.handover.store(Handover::none, std::memory_order_relaxed);
  safepoint.restricted = safepoint.way == StopWay::ptrace && is_restricted(safepoint.files);
  if (safepoint.restricted) permit_tracing(true);
  long tid = arch::start_task(flags, static_cast<char *>(stack) + kStackSize, tracer_main, &safepoint,
                              reinterpret_cast<int *>(&safepoint.tracer_tid), nullptr);
  safepoint.tracer = static_cast<int>(tid);
  if (tid < 0) {
    safepoint.phase.store(Phase::done, std::memory_order_relaxed);
    safepoint.failure = StopFailure::no_memory;
    safepoint.failed_errno = static_cast<int>(-tid);
  }
  if (tid >= 0 && safepoint.way == StopWay::signal) stop_by_signal(safepoint);
  return tid >= 0;
}

bool safepoint_done(Safepoint &safepoint) {
  int status;
  rusage used{};
  if (safepoint.restricted && safepoint.phase.load(std::memory_order_acquire) != Phase::stopping) {
    permit_tracing(false);
    safepoint.restricted = false;
  }
  if (sys::call(SYS_wait4, safepoint.tracer, &status, kWaitAll | kWaitNoHang, &used) == 0) return false;
  safepoint.cost_ns = sys::to_ns(used.ru_utime) + sys::to_ns(used.ru_stime); // and of those that it has waited for
  // A tracer that was killed has let the threads go, and left the phase as it was.
  if (safepoint.phase.exchange(Phase::done, std::memory_order_acq_rel) != Phase::done)
    safepoint.failure = StopFailure::tracer_died;
  return true;
}

void abandon_safepoint(Safepoint &safepoint) {
  if (safepoint.snapshot_pid > 0) sys::call(SYS_kill, safepoint.snapshot_pid, SIGKILL);
  if (safepoint.tracer > 0) sys::call(SYS_kill, safepoint.tracer, SIGKILL);
}

} // namespace castaway
