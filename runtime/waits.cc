// What a stopped thread waits for; see waits.h.
// Sources: futex(2), FUTEX_LOCK_PI(2const), include/uapi/linux/futex.h; the layout of pthread_mutex_t is glibc's public
// ABI (bits/struct_mutex.h), unchanged on 64-bit machines since 2.4.
#include "runtime/waits.h"

#include "runtime/libc_facts.h"
#include "runtime/restart.h"
#include "runtime/unwind.h"

namespace castaway {

namespace {

constexpr long kFutexWaitv = 449, kFutexWait2 = 455;
constexpr uint32_t kPrivate2 = 128; // FUTEX2_PRIVATE
constexpr size_t kFrames = 6;       // of libc, between the system call and the application

template <typename T> T load(uintptr_t at) { return *reinterpret_cast<const volatile T *>(at); }

bool has_timeout(int operation, uintptr_t timeout, const WaitContext &context) {
  if (timeout == 0) return false;
  if (!context.readable(context.context, {timeout, timeout + sizeof(timespec)})) return true;
  return !is_far(operation, *reinterpret_cast<const timespec *>(timeout));
}

bool is_lock_pi(int command) { return command == FUTEX_LOCK_PI || command == 13 /* FUTEX_LOCK_PI2 */; }

void read_futex(const StoppedThread &thread, const WaitContext &context, Wait &wait) {
  auto argument = [&](int i) { return arch::call_argument(thread.registers, i); };
  int operation = static_cast<int>(argument(1));
  int command = operation & FUTEX_CMD_MASK;
  bool waits =
      command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET || command == FUTEX_WAIT_REQUEUE_PI || is_lock_pi(command);
  if (!waits || has_timeout(operation, argument(3), context)) return;
  WaitWord &word = wait.words[wait.count++];
  word = {argument(0), static_cast<uint32_t>(argument(2)), !(operation & FUTEX_PRIVATE_FLAG)};
  if (!is_lock_pi(command) || !context.readable(context.context, {word.address, word.address + 4})) return;
  // The kernel's own protocol: the word holds the owner's tid, and only its owner or the kernel changes it.
  word.expected = load<uint32_t>(word.address);
  wait.kind = WaitKind::mutex;
  if (!(word.expected & FUTEX_OWNER_DIED)) wait.mutex_owner = static_cast<int32_t>(word.expected & FUTEX_TID_MASK);
}

void read_futex_wait2(const StoppedThread &thread, const WaitContext &context, Wait &wait) {
  auto argument = [&](int i) { return arch::call_argument(thread.registers, i); };
  uint32_t flags = static_cast<uint32_t>(argument(3));
  if ((flags & 3) != 2 || has_timeout(FUTEX_WAIT_BITSET, argument(4), context)) return; // 2: 32 bits
  wait.words[wait.count++] = {argument(0), static_cast<uint32_t>(argument(1)), !(flags & kPrivate2)};
}

void read_futex_waitv(const StoppedThread &thread, const WaitContext &context, Wait &wait) {
  struct Waiter { // struct futex_waitv
    uint64_t value, address;
    uint32_t flags, reserved;
  };
  uintptr_t at = arch::call_argument(thread.registers, 0);
  size_t count = arch::call_argument(thread.registers, 1);
  if (count > kMostWords || has_timeout(FUTEX_WAIT_BITSET, arch::call_argument(thread.registers, 3), context)) return;
  if (!context.readable(context.context, {at, at + count * sizeof(Waiter)})) return;
  const auto *waiters = reinterpret_cast<const Waiter *>(at);
  for (size_t i = 0; i < count; ++i)
    wait.words[wait.count++] = {waiters[i].address, static_cast<uint32_t>(waiters[i].value),
                                !(waiters[i].flags & kPrivate2)};
}

// The owner of a mutex that a thread waits for inside pthread_mutex_lock. Every field must look as glibc leaves it.
int32_t owner_of(uintptr_t mutex, uint32_t expected, const WaitContext &context) {
  struct Mutex { // struct __pthread_mutex_s
    int32_t lock;
    uint32_t count;
    int32_t owner;
    uint32_t users;
    int32_t kind;
  };
  constexpr int32_t kKindBits = 0x3 | 0x10 | 0x20 | 0x100 | 0x200; // type, robust, inherit, elision
  if (!context.readable(context.context, {mutex, mutex + sizeof(Mutex)})) return 0;
  Mutex m = *reinterpret_cast<const Mutex *>(mutex);
  if ((m.kind & ~kKindBits) != 0) return 0;
  if (m.kind & 0x10) { // robust: the word itself names the owner
    if (expected & FUTEX_OWNER_DIED) return 0;
    return static_cast<int32_t>(expected & FUTEX_TID_MASK);
  }
  constexpr uint32_t kLockedWithWaiters = 2;
  return expected == kLockedWithWaiters && m.lock == 2 && m.owner > 0 ? m.owner : 0;
}

// A thread that waits for another's end sleeps on the tid field of that thread's descriptor, which the kernel clears.
bool read_join(const WaitContext &context, Wait &wait) {
  if (wait.count != 1) return false;
  WaitWord &word = wait.words[0];
  int32_t tid = context.descriptor_owner(context.context, word.address);
  if (tid == 0 || word.expected != static_cast<uint32_t>(tid)) return false;
  wait.kind = WaitKind::join;
  wait.joined = tid;
  word.shared = false; // the kernel wakes it as if it were shared; it is this process' own
  return true;
}

void read_kind(const StoppedThread &thread, const WaitContext &context, Wait &wait) {
  wait.kind = WaitKind::futex;
  uintptr_t pcs[kFrames];
  size_t depth = unwind(arch::frame_registers(thread.registers), context.stack, pcs, kFrames);
  for (size_t i = 0; i < depth; ++i) {
    uintptr_t pc = i == 0 ? pcs[i] : pcs[i] - 1;
    if (!libc_facts.code.contains(pc)) return;
    WaitKind kind = wait_function_at(pc);
    if (kind == WaitKind::none) continue;
    wait.kind = kind;
    if (in_mutex_lock(pc) && wait.count == 1 && !wait.words[0].shared)
      wait.mutex_owner = owner_of(wait.words[0].address, wait.words[0].expected, context);
    return;
  }
}

} // namespace

bool is_far(int operation, const timespec &timeout) {
  int64_t seconds = timeout.tv_sec;
  if ((operation & FUTEX_CMD_MASK) != FUTEX_WAIT) { // absolute
    int clock = (operation & FUTEX_CLOCK_REALTIME) || (operation & FUTEX_CMD_MASK) == FUTEX_LOCK_PI ? CLOCK_REALTIME
                                                                                                    : CLOCK_MONOTONIC;
    seconds -= static_cast<int64_t>(sys::now_ns(clock) / 1'000'000'000);
  }
  return seconds >= kFarTimeout;
}

void read_wait(const StoppedThread &thread, const WaitContext &context, Wait &wait) {
  if (!waits_in_call(thread)) return;
  long call = arch::call_number(thread.registers);
  if (call == SYS_futex)
    read_futex(thread, context, wait);
  else if (call == kFutexWaitv)
    read_futex_waitv(thread, context, wait);
  else if (call == kFutexWait2)
    read_futex_wait2(thread, context, wait);
  for (size_t i = 0; i < wait.count; ++i)
    if (!context.readable(context.context, {wait.words[i].address, wait.words[i].address + 4})) wait.count = 0;
  if (wait.count == 0 || wait.kind != WaitKind::none) return;
  if (!read_join(context, wait)) read_kind(thread, context, wait);
}

} // namespace castaway
