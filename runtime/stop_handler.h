// The signal handler that holds a thread, and what it shares with the stopper (stop_signal.h).
//
// The handler runs on whatever stack the thread has, between any two instructions of it: raw system calls only, no
// thread-local storage, no lock, errno untouched. Each thread has a slot, written by the stopper before the signal is
// sent; the signal carries the slot's place and the number of the stop, so that one that comes late finds that nobody
// waits for it any more.
#pragma once

#include "runtime/seen_calls.h"
#include "scanner/image.h"

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>

namespace castaway {

enum SlotState : uint32_t { kSlotFree, kSlotSent, kSlotArrived, kSlotLeft };

struct StopSlot {
  std::atomic<uint32_t> stop;  // which one; the handler leaves everything alone where it is another
  std::atomic<uint32_t> state; // SlotState
  std::atomic<uint32_t> hold;  // a futex: the thread stays while it is 1
  SeenCall seen;
  // From the handler.
  arch::ThreadRegisters registers;
  const void *vectors;
  size_t vector_bytes;
  Range frame;
  uint64_t blocked; // signals, as the thread itself does
  // For the handler, when it is let go.
  bool is_main;
  bool stands_before_call; // which the kernel has put it back to
  bool changed;            // `registers` are to be taken over
};

// What all slots have in common.
struct StopBoard {
  std::atomic<uint32_t> stop;       // the number of the stop that is under way
  std::atomic<uint32_t> arrivals;   // a futex: threads that have come or left
  std::atomic<uint32_t> awaited;    // somebody sleeps on it
  std::atomic<uint64_t> main_takes; // signals that main does not block, once all are stopped; 0 where main is gone
  StopSlot *slots;
  bool reads_thread_pointer; // without a system call
};
extern constinit StopBoard stop_board;

struct KernelAction { // struct kernel_sigaction
  void (*handler)(int, siginfo_t *, void *);
  unsigned long flags;
  void (*restorer)();
  uint64_t mask;
};

// The code that a signal carries: a timer's, as of all that is pending only timers' signals do not outlive an exec(2)
// (flush_itimer_signals() in Linux' signal.c). Where there is no handler any more, it would end the program.
inline constexpr int kStopCode = SI_TIMER;

// The value that a signal carries: which stop, which place.
inline uint64_t stop_ticket(uint32_t stop, size_t place) {
  return uint64_t{0xca57} << 48 | uint64_t{stop & 0xffffff} << 24 | place;
}

// The action to install, which blocks all signals but those in `open`; and the one that was there before: what is not
// for us is handed to it.
KernelAction stop_action(uint64_t open);
void set_next_action(const KernelAction &action);
bool is_stop_handler(const KernelAction &action);

} // namespace castaway
