// A safepoint: all threads stopped, a copy-on-write snapshot taken, all threads let go; the rest happens in the copy.
//
//   agent ──clone──► tracer ──stop, clone──► snapshot process: scan, capture, execve ► reporter
//
// The tracer shares the target's memory but is no thread of it and has the agent's descriptors, not the target's. It
// stays until the snapshot process, its child, has ended as the reporter, and a little longer where huge pages have to
// be mended (huge_pages.h): the target itself never has a child that it did not start. Where ptrace is denied the agent
// stops the threads, by a signal, and the tracer only makes the copy: as a thread of the target, the agent may send
// signals and read /proc where another task, the tracer, may not. All of it is bounded in time; a safepoint that cannot
// be made is given up, with the reason.
#pragma once

#include "runtime/config.h"
#include "runtime/kernel_roots.h"
#include "runtime/proc.h"
#include "runtime/stop.h"
#include "runtime/uncopied.h"
#include "scanner/scanner.h"

#include <atomic>
#include <cstdint>

namespace castaway {

enum class Trigger : uint8_t { periodic, demand, exit };

// Descriptors of the agent, which snapshot and reporter inherit. Negative: not there.
struct Files {
  int proc = -1;     // /proc
  int reporter = -1; // bin/castaway
  int output = -1;   // the output directory
  int history = -1;  // memfd
  int result = -1;   // memfd: what the reporter says
  int uncopied = -1; // memfd: uncopied.h
  int groups = -1;   // /sys/fs/cgroup
};

// Of the stopped world, from the agent to the tracer that is to copy it, and back. ready: the tracer is.
enum class Handover : uint32_t { none, ready, stopped, copied, given_up };

enum class Phase : uint32_t { idle, stopping, scanning, done };

// One safepoint, in memory that agent, tracer and snapshot share or copy.
struct Safepoint {
  // From the agent.
  const Config *config;
  const char *name; // of the process, for files
  int pid;
  bool forked; // the process is a copy of one that had an agent
  int agent_tid;
  Trigger trigger;
  uint64_t number;
  Question question; // what the snapshot is to explain, if anything
  uint64_t attempt;  // counts every stop, also those that gave nothing
  Files files;
  StopWay way;
  // From the tracer.
  std::atomic<Phase> phase;
  std::atomic<int> tracer_tid; // cleared by the kernel at its end
  int tracer;                  // its tid, or a negative errno
  bool restricted;             // tracing had to be permitted and is to be forbidden again
  StopFailure failure;
  int failed_tid;
  int failed_errno;
  TargetMaps maps;       // for the snapshot
  uint64_t mapped_pages; // of the target, when it was copied
  size_t uncopied_bytes; // with StopFailure::uncopied
  uintptr_t status_page;
  uint64_t pause_ns;
  uint64_t stopped_wall_ns;
  uint64_t stopped_ns;
  bool main_alone;      // was stopped, by ptrace:
  uint64_t main_faults; // idle.h
  // Between the agent and the tracer, with StopWay::signal.
  std::atomic<Handover> handover; // a futex
  World *world;
  const KernelRoots *kernel_roots;
  int snapshot_pid;    // negative errno if it could not be made; 0 before and after
  int snapshot_status; // as of wait4(2)
  bool gave_way;       // the snapshot was ended because memory ran short
  bool may_mend;       // huge pages
  uint64_t cost_ns;    // processor time of tracer, snapshot and reporter
};

// Starts one; false if the tracer could not be created. `safepoint` stays as it is until phase == done.
bool start_safepoint(Safepoint &safepoint);
// Whether it is over. `abandon`: give it up, ending tracer and snapshot.
bool safepoint_done(Safepoint &safepoint);
void abandon_safepoint(Safepoint &safepoint);

// In the snapshot process.
[[noreturn]] void snapshot_main(Safepoint &safepoint, World &world, const KernelRoots &kernel_roots,
                                const UncopiedMemory &uncopied);

} // namespace castaway
