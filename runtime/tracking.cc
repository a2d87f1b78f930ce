// The rare paths of tracking.h: sampled stacks, the loader's blocks, what goes wrong.
#include "runtime/tracking.h"

#include "runtime/call_stacks.h"
#include "runtime/clock.h"
#include "runtime/last_stacks.h"
#include "runtime/memory.h"
#include "runtime/side_table.h"
#include "runtime/sys.h"
#include "runtime/unwind.h"

#include <sys/resource.h>

namespace castaway {

namespace {

uint8_t *new_leaf() { return static_cast<uint8_t *>(own_memory(HeapMap::kLeafBytes)); }

} // namespace

constinit HeapMap heap_map;
constinit Tracking tracking{.on = true,
                            .starting = true,
                            .trouble = Trouble::none,
                            .sample_bytes = 524288,
                            .refuted_blocks = 0,
                            .main_thread_pointer = 0,
                            .main_stack_end = 0,
                            .default_stack_size = size_t{8} << 20};
constinit thread_local ThreadState this_thread [[gnu::tls_model("initial-exec")]];

namespace {

constexpr size_t kPage = 4096;

constexpr int64_t kEach = -1; // as until_sample: each allocation takes the slow path

bool all_recorded() { return tracking.starting || tracking.sample_bytes <= 1; }

// Draws the distance to the next recorded allocation, if not all are.
void draw(sampling::Sampler &sampler) {
  if (all_recorded())
    sampler.until_sample = kEach;
  else
    sampler.draw(tracking.sample_bytes);
}

[[gnu::noinline]] bool is_due_at_first(sampling::Sampler &sampler) {
  sampler.random = (sys::now_ns() ^ reinterpret_cast<uintptr_t>(&sampler)) * 0x9e3779b97f4a7c15u | 1;
  const int64_t cost = sampler.until_sample;
  draw(sampler);
  return (sampler.until_sample += cost) < 0;
}

// Whether the allocation that has just brought until_sample down to where it is may have to be recorded.
[[gnu::always_inline]] inline bool is_due(sampling::Sampler &sampler) {
  if (sampler.until_sample >= 0) return false;
  return sampler.random != 0 || is_due_at_first(sampler);
}

// The stack of an allocation that is_due(), and the time, unless it is passed over; draws the next distance.
[[gnu::always_inline]] inline RecordedStack record_due(sampling::Sampler &sampler, size_t size, uint64_t &now_ns) {
  const uint64_t every = tracking.sample_bytes;
  const bool all = all_recorded();
  if (all)
    sampler.until_sample = kEach;
  else if (!sampler.takes(size, every))
    return {};
  now_ns = coarse_now_ns();
  return {record_own_stack(), all ? 1 : sampler.weight(size, every, now_ns)};
}

// An entry that must not be missing: its shard's lock may be held by a thread that is not running.
bool put_surely(const SideEntry &entry) {
  constexpr int kTries = 100; // of a millisecond or so
  for (int i = 0; i < kTries; ++i)
    if (side_table::put(entry)) return true;
  give_up(Trouble::side_table_full);
  return false;
}

} // namespace

bool has_address_space() {
  // Some 2.5 GiB are reserved at most, and a sixteenth of the heap.
  constexpr uint64_t kEnough = uint64_t{32} << 30;
  for (int resource : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    sys::call(SYS_prlimit64, 0, resource, nullptr, &limit);
    if (limit.rlim_cur < kEnough) return false;
  }
  return true;
}

void start_tracking() {
  if (!tracking.on) return;
  hot.slow_callers_begin = real.loader.begin;
  hot.slow_callers_length = real.loader.size();
}

void stop_tracking() {
  tracking.on = false;
  hot.slow_callers_begin = 0;
  hot.slow_callers_length = SIZE_MAX;
}

void prepare_map() { heap_map.set_source(new_leaf); }

void give_up(Trouble trouble) {
  Trouble none = Trouble::none;
  tracking.trouble.compare_exchange_strong(none, trouble);
}

void disable_here() {
  ++this_thread.disabled;
  this_thread.sampler.until_sample = kEach;
}

void enable_here() {
  ThreadState &thread = this_thread;
  if (thread.disabled == 0 || --thread.disabled > 0) return;
  if (thread.sampler.random != 0) draw(thread.sampler);
}

[[gnu::noinline, gnu::hot]] void *note_rarely(void *block, size_t size, const void *caller) {
  if (!tracking.on) return block;
  uintptr_t begin = reinterpret_cast<uintptr_t>(block);
  if (!heap_map.leaf_at(begin)) prepare_map(); // the first block of each leaf comes this way
  if (begin & (HeapMap::kGranule - 1)) return give_up(Trouble::misaligned), block;
  ThreadState &thread = this_thread;
  SideEntry entry{.begin = begin, .size = size ? size : 1};
  // The loader's blocks, and those that an allocator makes for itself when it starts: nobody's leaks.
  entry.loader = real.loader.contains(reinterpret_cast<uintptr_t>(caller)) ||
                 real.foreign_allocator.contains(reinterpret_cast<uintptr_t>(caller));
  entry.ignored = thread.disabled > 0;
  if (entry.ignored) {
    thread.sampler.until_sample = kEach; // the next one comes this way too
  } else if (!entry.loader && is_due(thread.sampler)) {
    entry.stack = record_due(thread.sampler, size, entry.time_ns);
  }
  bool matters = entry.loader || entry.ignored; // without its entry it could be reported
  bool flagged = matters ? put_surely(entry) : entry.stack.id != 0 && side_table::put(entry);
  if (!heap_map.insert(begin, size, flagged)) give_up(Trouble::map_full);
  return block;
}

namespace {

[[gnu::noinline]] void *note_dense(void *block, size_t size, const void *caller) {
  return note_large(block, size, sampling::cost(size)) ? block : note_rarely(block, size, caller);
}

} // namespace

[[gnu::hot]] void *note_slowly(void *block, size_t size, const void *caller) {
  bool small = sampling::small_class_of(size) < sampling::kSmallClasses;
  if (small || is_slow_caller(caller)) return note_rarely(block, size, caller);
  // A large one is not rare, and an empty one no trouble.
  if (sampling::large_are_dense()) return note_dense(block, size, caller);
  return note_large(block, size, size) ? block : note_rarely(block, size, caller);
}

RecordedStack sample_stack(size_t size) {
  sampling::Sampler &sampler = this_thread.sampler;
  sampler.until_sample -= static_cast<int64_t>(sampling::cost(size));
  uint64_t now_ns;
  return is_due(sampler) ? record_due(sampler, size, now_ns) : RecordedStack{};
}

[[gnu::hot]] void forget_flagged(uintptr_t begin) {
  if (side_table::drop(begin) & SideEntry::kReported) count_refuted();
}

Range own_stack(uintptr_t sp) {
  uintptr_t pointer = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  bool main = pointer == tracking.main_thread_pointer;
  uintptr_t end = main ? tracking.main_stack_end : pointer;
  if (sp < end && end - sp < tracking.default_stack_size) return {sp, end};
  ThreadState &thread = this_thread;
  if (thread.foreign_stack.contains(sp)) return {sp, thread.foreign_stack.end};
  // A coroutine's or another unknown stack: ask how far it is mapped.
  uintptr_t begin = sp & ~(kPage - 1);
  unsigned char residency[64];
  size_t pages = sizeof residency;
  while (pages > 1 && sys::call(SYS_mincore, begin, pages * kPage, residency) != 0) pages /= 2;
  thread.foreign_stack = {begin, begin + pages * kPage};
  return {sp, thread.foreign_stack.end};
}

namespace {

uint32_t record_alone() {
  FrameRegisters registers;
  read_own_registers(registers);
  uintptr_t pcs[call_stacks::kDeepest];
  return call_stacks::intern({pcs, unwind(registers, own_stack(registers.sp()), pcs, call_stacks::kDeepest)});
}

[[gnu::noinline]] uint32_t record_again(LastRecorded &last, uintptr_t caller_sp) {
  FrameRegisters registers;
  read_own_registers(registers);
  uintptr_t pcs[call_stacks::kDeepest];
  bool same;
  FrameRoom::Column fresh = last.room->column(LastRecorded::kStacks);
  size_t depth = unwind_again(registers, own_stack(registers.sp()), last.stacks[last.latest], last.stacks[last.next],
                              fresh, pcs, call_stacks::kDeepest, same);
  uint32_t id = call_stacks::intern({pcs, depth});
  if (!same) { // the same again is one that had no number
    last.latest = last.next;
    last.next = (last.next + 1) % LastRecorded::kStacks;
  }
  size_t at = index_of_frame(last.stacks[last.latest], caller_sp);
  last.keys[last.latest] = {id != 0 ? caller_sp : 0, static_cast<uint32_t>(at), id};
  return id;
}

[[gnu::always_inline]] inline bool is_known(const LastRecorded &last, uint32_t i, const Place &caller) {
  return last.keys[i].sp == caller.sp && is_last_stack(last.stacks[i], last.keys[i].at, caller);
}

// The parts of a Place one by one: a structure would be kept in memory, also where this is not called.
[[gnu::noinline, gnu::hot]] uint32_t record_other(LastRecorded &last, uintptr_t pc, uintptr_t sp,
                                                  uintptr_t frame_pointer) {
  Place caller{pc, sp, frame_pointer};
  for (uint32_t i = 0; i < LastRecorded::kStacks; ++i)
    if (is_known(last, i, caller)) return last.latest = i, last.keys[i].id;
  return record_again(last, caller.sp);
}

} // namespace

// Frames of its own are in the stack too, and always the same: all others are those of its caller.
[[gnu::noinline, gnu::hot]] uint32_t record_own_stack() {
  Place caller = place_of_caller();
  auto thread = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  LastRecorded *&slot = this_thread.last_recorded;
  if (__builtin_expect(!slot, 0)) slot = &last_stacks::claim(thread);
  LastRecorded &last = *slot;
  if (!last_stacks::enter(last, thread)) return record_alone();
  bool again = is_known(last, last.latest, caller);
  uint32_t id = __builtin_expect(again, 1) ? last.keys[last.latest].id
                                           : record_other(last, caller.pc, caller.sp, caller.frame_pointer);
  last_stacks::leave(last);
  return id;
}

void reset_last_stacks() { last_stacks::forget_others(this_thread.last_recorded); }

} // namespace castaway
