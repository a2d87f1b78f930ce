// Stopping the world; see stop.h.
#include "runtime/stop.h"

#include "runtime/births.h"
#include "runtime/libc_facts.h"
#include "runtime/memory.h"
#include "runtime/real.h"
#include "runtime/restart.h"
#include "runtime/tracking.h"

namespace castaway {

namespace {

constexpr size_t kIndexSlots = 2 * kMostThreads;
constexpr size_t kVectorBytes = size_t{128} << 20; // reserved
constexpr size_t kVectorArea = 16 << 10;           // of one thread; AMX needs 11 KiB

// How long a stop may take: a thread in the kernel (vfork, a page from disk) can be late, and all others wait for it.
constexpr uint64_t kStopLimit = 200'000'000;
constexpr uint64_t kStopLimitPerThread = 100'000;
// A debugger or strace looks at every signal before the thread gets it.
constexpr uint64_t kSignalledLimitPerThread = 1'000'000;
constexpr uint64_t kRunOnStep = 30'000;
constexpr uint64_t kInsistAfter = 2'000'000; // when a thread that has not stopped is looked at closer

// One set of tables for all safepoints, of which there is one at a time. They are no roots: own memory.
constexpr size_t kIndexBytes = kIndexSlots * sizeof(uint32_t);
GrowingMemory index_memory(kIndexBytes), thread_memory(kMostThreads * sizeof(StoppedThread)),
    vector_memory(kVectorBytes);

void clear_tables() {
  index_memory.clear();
  thread_memory.clear();
  vector_memory.clear();
}

int late_tid; // the thread that was too late for the last stop; 0: none was

} // namespace

bool waits_in_call(const StoppedThread &thread) {
  return !thread.interrupted_by_signal && arch::call_number(thread.registers) >= 0 &&
         restarts(arch::call_result(thread.registers));
}

ThreadStat thread_stat(const Proc &proc, int tid) {
  constexpr int kState = 3, kFlags = 9, kMinorFaults = 10, kMajorFaults = 12;
  Text<64> path;
  char buffer[256];
  std::string_view text = proc.read((path << "task/" << tid << "/stat").view(), buffer, sizeof buffer);
  auto number = [text](int field) {
    std::string_view digits = stat_field(text, field);
    uint64_t value = 0;
    take_number(digits, value);
    return value;
  };
  std::string_view state = stat_field(text, kState);
  ThreadStat stat;
  if (!state.empty()) stat.state = state[0];
  stat.flags = number(kFlags);
  stat.faults = number(kMinorFaults) + number(kMajorFaults);
  return stat;
}

StopFailure World::stop() {
  if (!reserve()) return StopFailure::no_memory;
  if (is_still_late()) return fail(StopFailure::late, late_tid);
  if (StopFailure failure = stopper_.begin(); failure != StopFailure::none) return failure;
  bool found_new = true;
  while (found_new) {
    StopFailure failure = stop_round(found_new);
    if (failure == StopFailure::none) continue;
    prepare_to_go_on();
    let_all_go(false);
    let_stragglers_go();
    return failure;
  }
  prepare_to_go_on(); // before anybody looks at the registers
  for (size_t i = 0; i < count_; ++i)
    if (!threads_[i].gone && (arch::kVectorsKeptOverCalls || !waits_in_call(threads_[i])) && !fetch_vectors(i)) {
      let_all_go(false);
      return StopFailure::no_memory;
    }
  return StopFailure::none;
}

// Whether the thread that was too late for the last stop still sleeps, for as long as a stop would have waited for it.
// Then nobody else has to stop in vain.
bool World::is_still_late() const {
  constexpr uint64_t kStep = 5'000'000;
  uint64_t deadline = sys::now_ns() + kStopLimit;
  while (late_tid != 0 && thread_stat(proc_, late_tid).sleeps_deeply()) {
    if (sys::now_ns() > deadline) return true;
    sys::sleep_ns(kStep);
  }
  late_tid = 0;
  return false;
}

// One listing of the threads: new ones appear until the last that could start them is stopped.
StopFailure World::stop_round(bool &found_new) {
  size_t first = count_;
  StopFailure failure = seize_new();
  found_new = count_ > first;
  if (failure == StopFailure::no_proc) return failure;
  // What has been seized can only be let go after it has stopped. A signal that was not sent needs nothing.
  if (failure != StopFailure::none && way() == StopWay::signal)
    for (size_t i = first; i < count_; ++i) threads_[i].gone = true;
  uint64_t per_thread = way() == StopWay::signal ? kSignalledLimitPerThread : kStopLimitPerThread;
  uint64_t now = sys::now_ns();
  uint64_t deadline = now + kStopLimit + per_thread * count_;
  if (first == 0) first_told_ns_ = now;
  auto keep_first = [&failure](StopFailure next) { failure = failure == StopFailure::none ? next : failure; };
  // The main thread comes last: as long as it runs, signals to the process reach it first, as they always do.
  for (bool main : {false, true}) {
    keep_first(interrupt_from(first, main));
    keep_first(await(deadline));
  }
  return failure == StopFailure::none ? run_out_of_transitions(deadline) : failure;
}

// All that are new, main last: once it is traced, an ignored signal to the process wakes somebody, and who is woken
// must be traced as well, so that it is seen.
StopFailure World::seize_new() {
  StopFailure failure = StopFailure::none;
  StoppedThread *main = nullptr;
  bool listed = proc_.for_each_number("task", [&](int tid) {
    if (tid == spared_ || failure != StopFailure::none || find(tid)) return;
    StoppedThread *thread = add(tid);
    if (!thread)
      failure = fail(StopFailure::no_memory, tid);
    else if (tid == proc_.pid())
      main = thread;
    else
      failure = seize(*thread);
  });
  if (main && failure == StopFailure::none) failure = seize(*main);
  if (main && failure != StopFailure::none) main->gone = true; // nothing was done to it
  return listed ? failure : StopFailure::no_proc;
}

StopFailure World::seize(StoppedThread &thread) {
  long result = stopper_.seize(static_cast<size_t>(&thread - threads_), thread);
  thread.gone = result != 0; // or nothing was done to it
  if (result == 0 || result == -ESRCH) return StopFailure::none;
  return fail(result == -EBUSY ? StopFailure::blocked : StopFailure::denied, thread.tid, static_cast<int>(-result));
}

// Tells the main thread, or all others, to stop.
StopFailure World::interrupt_from(size_t first, bool main) {
  StopFailure failure = StopFailure::none;
  for (size_t i = first; i < count_; ++i) {
    StoppedThread &thread = threads_[i];
    if (thread.gone || (thread.tid == proc_.pid()) != main) continue;
    long result = stopper_.interrupt(i, thread);
    thread.gone = result < 0;
    thread.pending = result == 0;
    if (result == 0) ++pending_;
    if (result < 0 && result != -ESRCH && failure == StopFailure::none)
      failure = fail(StopFailure::denied, thread.tid, static_cast<int>(-result));
  }
  return failure;
}

// Takes note of a thread that was told to stop, if it has.
bool World::has_come(size_t place, bool insist) {
  if (!stopper_.has_stopped(place, threads_[place], insist)) return false;
  threads_[place].pending = false;
  --pending_;
  return true;
}

// When the time is over it still takes note of all that have stopped: only those can be let go.
StopFailure World::await(uint64_t deadline_ns) {
  StopFailure failure = StopFailure::none;
  uint64_t insist_at = sys::now_ns() + kInsistAfter;
  for (size_t i = 0; i < count_ && pending_ > 0; ++i)
    while (threads_[i].pending) {
      uint64_t now = sys::now_ns();
      if (has_come(i, now > insist_at)) continue;
      if (now > deadline_ns) {
        if (failure == StopFailure::none) failure = fail(StopFailure::late, late_tid = threads_[i].tid);
        break;
      }
      stopper_.await_event();
    }
  return failure;
}

bool World::in_transition(const StoppedThread &thread) const {
  uintptr_t pointer = arch::thread_pointer(thread.registers);
  if (pointer == 0) return false;
  ThreadState state;
  uintptr_t at = pointer + static_cast<uintptr_t>(thread_state_offset());
  // Threads that pthread_create made have our thread-local storage; of others it must be asked whether it is there.
  if (pointer == tracking.main_thread_pointer || births::find(descriptor_of(pointer)))
    return reinterpret_cast<const ThreadState *>(at)->in_transition != 0;
  return sys::read_own_memory(proc_.pid(), at, &state, sizeof state) && state.in_transition == 1;
}

// Threads in mid-realloc go on, alone, until they are through: their block is in the map under no address.
StopFailure World::run_out_of_transitions(uint64_t deadline_ns) {
  for (size_t i = 0; i < count_; ++i)
    if (StopFailure failure = run_through(i, deadline_ns); failure != StopFailure::none) return failure;
  return StopFailure::none;
}

StopFailure World::run_through(size_t place, uint64_t deadline_ns) {
  StoppedThread &thread = threads_[place];
  while (!thread.gone && in_transition(thread)) {
    if (sys::now_ns() > deadline_ns) return fail(StopFailure::transition, thread.tid);
    if (!stopper_.run_on(place, thread)) return fail(StopFailure::late, thread.tid);
    thread.pending = true; // let go now, and not to be let go again before it has stopped again
    ++pending_;
    sys::sleep_ns(kRunOnStep);
    if (stopper_.interrupt(place, thread) < 0) {
      thread.gone = true, thread.pending = false, --pending_;
      return StopFailure::none;
    }
    if (StopFailure failure = await(deadline_ns); failure != StopFailure::none) return failure;
  }
  return StopFailure::none;
}

void World::prepare_to_go_on() {
  begin_unseen();
  for (StoppedThread &thread : threads())
    if (!thread.gone && !thread.pending) make_unseen(thread, proc_, way());
}

bool World::fetch_vectors(size_t place) {
  if (!vector_memory.grow(vector_words_ * sizeof(uintptr_t) + kVectorArea)) return false;
  StoppedThread &thread = threads_[place];
  size_t bytes = stopper_.fetch_vectors(place, thread, vectors_ + vector_words_, kVectorArea);
  thread.vector_offset = static_cast<uint32_t>(vector_words_);
  thread.vector_words = static_cast<uint32_t>(bytes / sizeof(uintptr_t));
  vector_words_ += thread.vector_words;
  return true;
}

void World::resume() { let_all_go(true); }

// Main goes first, as it was stopped last. Last come those whose calls any wakeup ends: as long as another thread is
// held, an ignored signal that is meant for it (SIGCHLD for the one that forked) wakes one that is not.
void World::let_all_go(bool complete) {
  stopper_.before_resume(complete);
  for (size_t i = 0; i < count_; ++i)
    if (threads_[i].tid == proc_.pid()) let_go(i);
  for (size_t i = 0; i < count_; ++i)
    if (!threads_[i].was_interrupted) let_go(i);
  for (size_t i = 0; i < count_; ++i) let_go(i);
  stopper_.flush();
}

void World::let_go(size_t place) {
  StoppedThread &thread = threads_[place];
  // A thread that was told to stop and has not yet cannot be let go before it has.
  if (thread.gone || thread.pending || thread.let_go) return;
  if (thread.calls_again) make_again(thread, way());
  thread.let_go = true;
  stopper_.let_go(place, thread);
}

// Those that were too late for a stop that was given up, while all others run. What they were told has woken them: when
// they get a processor their calls come back, which they would notice if nobody held them then. So they are waited for;
// but one that sleeps deeply (in vfork) notices nothing, and is let go when the tracer ends, at once, or finds that
// nobody holds it any more.
void World::let_stragglers_go() {
  constexpr uint64_t kPatience = 10'000'000'000;
  uint64_t deadline = sys::now_ns() + kPatience;
  for (bool any_comes = true; any_comes && pending_ > 0 && sys::now_ns() < deadline;) {
    any_comes = false;
    for (size_t i = 0; i < count_; ++i) {
      StoppedThread &thread = threads_[i];
      if (!thread.pending) continue;
      if (!has_come(i, true)) {
        any_comes = any_comes || stopper_.is_on_its_way(thread);
        continue;
      }
      if (thread.gone) continue;
      make_unseen(thread, proc_, way());
      let_go(i);
    }
    stopper_.flush();
    if (any_comes) stopper_.await_event();
  }
}

bool World::reserve() {
  index_ = static_cast<uint32_t *>(index_memory.grow(kIndexBytes));
  threads_ = static_cast<StoppedThread *>(thread_memory.grow(sizeof(StoppedThread)));
  vectors_ = static_cast<uintptr_t *>(vector_memory.grow(kVectorArea));
  clear_tables(); // the last tracer may not have come to that
  return index_ && threads_ && vectors_;
}

void World::release() {
  stopper_.after_resume(threads());
  clear_tables();
}

StoppedThread *World::find(int tid) {
  for (size_t slot = static_cast<uint32_t>(tid) * 2654435761u % kIndexSlots; index_[slot] != 0;
       slot = (slot + 1) % kIndexSlots)
    if (threads_[index_[slot] - 1].tid == tid) return &threads_[index_[slot] - 1];
  return nullptr;
}

StoppedThread *World::add(int tid) {
  if (!thread_memory.grow((count_ + 1) * sizeof(StoppedThread))) return nullptr;
  size_t slot = static_cast<uint32_t>(tid) * 2654435761u % kIndexSlots;
  while (index_[slot] != 0) slot = (slot + 1) % kIndexSlots;
  threads_[count_].tid = tid;
  index_[slot] = static_cast<uint32_t>(++count_);
  return &threads_[count_ - 1];
}

StopFailure World::fail(StopFailure failure, int tid, int error) {
  failed_tid_ = tid;
  failed_errno_ = error;
  return failure;
}

} // namespace castaway
