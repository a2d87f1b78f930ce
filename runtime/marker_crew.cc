// See marker_crew.h.
#include "runtime/marker_crew.h"

#include "runtime/arch.h"
#include "runtime/sys.h"

#include <algorithm>
#include <sched.h>

namespace castaway {

namespace {

constexpr size_t kMost = 16;
constexpr size_t kStackSize = 64 << 10;

struct Task {
  void (*work)(void *context, size_t number);
  void *context;
  size_t number;
  int tid; // the kernel clears it at the end, and wakes
};

int task_main(void *argument) {
  auto &task = *static_cast<Task *>(argument);
  task.work(task.context, task.number);
  return 0;
}

bool start(Task &task) {
  void *stack = sys::map_memory(kStackSize);
  if (!stack) return false;
  unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                        CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  return arch::start_task(flags, static_cast<char *>(stack) + kStackSize, task_main, &task, &task.tid, nullptr) > 0;
}

void await_end(Task &task) {
  while (int tid = __atomic_load_n(&task.tid, __ATOMIC_ACQUIRE))
    sys::futex_wait(&task.tid, static_cast<uint32_t>(tid), 100'000'000, true);
}

} // namespace

size_t MarkerCrew::size_for(uint64_t heap_bytes) const {
  if (wanted_) return std::min<uint64_t>(wanted_, kMost);
  uint64_t useful = 1 + (heap_bytes >> 28);
  return useful == 1 ? 1 : std::clamp<size_t>(sys::processors() / 2, 1, std::min<uint64_t>(useful, kMost));
}

void MarkerCrew::run(size_t count, void (*work)(void *context, size_t number), void *context) {
  Task tasks[kMost];
  size_t started = 1;
  for (; started < count; ++started) {
    tasks[started] = {work, context, started, 0};
    if (!start(tasks[started])) break;
  }
  work(context, 0);
  for (size_t i = 1; i < started; ++i) await_end(tasks[i]);
}

void MarkerCrew::rest() { sys::sleep_ns(20'000); }

} // namespace castaway
