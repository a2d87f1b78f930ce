// The snapshot process: from the stopped threads and a copy of the memory to a capture.
//
// Context: SNAPSHOT, one thread, raw system calls; nothing that it does can reach the target. It ends by becoming the
// reporter, or with one of the exit statuses below.
#pragma once

#include "runtime/call_stacks.h"
#include "runtime/capture_writer.h"
#include "runtime/history.h"
#include "runtime/roots.h"
#include "runtime/safepoint.h"
#include "runtime/uncopied.h"
#include "runtime/waits.h"
#include "scanner/scanner.h"

namespace castaway {

// Exit statuses of a snapshot process that could not become the reporter.
enum SnapshotStatus : int {
  kSnapshotNoMemory = 120,
  kSnapshotNoMaps = 121,
  kSnapshotNoCapture = 122,
  kSnapshotNoReporter = 123,
  kSnapshotUncopied = 124,   // memory is missing in the copy; the next safepoint brings it along
  kSnapshotUnreadable = 127, // faults.cc
};

// What is known of a thread of the target besides its ThreadImage, in the same order.
struct ThreadFacts {
  const StoppedThread *stopped;
  ThreadMemory memory;
  Wait *wait;     // null where it does not wait
  uint32_t stack; // of its creation
  int32_t creator;
  char name[16]; // zero-terminated; empty where the thread has ended meanwhile
};

// Page faults of a process for which nothing was read from disk, of all its threads so far: writes to what a copy
// shares are among them. 0 where it is gone.
uint64_t faults_of(const Proc &process);
// Memory of a process that is no file's, shared with others or not; about a quarter of a MiB may be missing or too
// much.
uint64_t anonymous_bytes(const Proc &process);

class Snapshot final : LateRoots {
public:
  Snapshot(Safepoint &safepoint, World &world, const KernelRoots &kernel_roots, const UncopiedMemory &uncopied,
           bool has_all)
      : safepoint_(safepoint), world_(world), kernel_roots_(kernel_roots), uncopied_(uncopied), has_all_(has_all),
        target_(safepoint.files.proc, safepoint.pid) {}

  // Does all of it. Returns the capture's descriptor, or exits.
  int run();

private:
  void read_mappings();
  void complete_memory();
  void wipe_frames();
  void read_threads();
  void read_thread(const StoppedThread &stopped, bool is_main);
  void read_image_wait(ThreadImage &image, ThreadFacts &facts);
  void collect_registers(ThreadImage &image, const StoppedThread &stopped);
  void find_roots();
  bool is_asked() const;
  bool begin_reading_late();
  bool may_spare_late() const;
  LateAnswer bring(std::span<const Range> &found) override;
  uint64_t length_of_row(uint64_t first_safepoint) const;
  uint64_t row_of_length(uint64_t length) const;
  void read_notes();
  void read_past();
  void scan();
  void answer_question();
  void update_history();
  void add_state(size_t i, const PastThread *past, PastThread &now) const;
  PastThread judge(size_t i);
  std::span<PastBlock> judge_blocks();
  bool holds_while_idle() const;
  int write_capture();
  void write_facts(CaptureWriter &writer);
  void write_maps(CaptureWriter &writer);
  void write_threads(CaptureWriter &writer);
  void write_stacks(CaptureWriter &writer);
  void write_call_stacks(CaptureWriter &writer);
  void write_notes(CaptureWriter &writer);
  ThreadRecord make_record(size_t i, size_t stack_limit, size_t &stack_offset);

  Safepoint &safepoint_;
  World &world_;
  const KernelRoots &kernel_roots_;
  const UncopiedMemory &uncopied_;
  bool has_all_; // of the target's mappings, but for the status page
  Proc target_;
  std::string_view maps_text_;
  const Vmas *vmas_ = nullptr;
  std::span<ThreadImage> images_;
  std::span<ThreadFacts> facts_;
  size_t thread_count_ = 0;
  RootFinder *finder_ = nullptr;
  bool pointers_hidden_ = false;
  std::span<BlockNote> notes_;
  History history_;
  std::span<PastLeak> past_;
  std::span<PastThread> judged_; // by tid
  std::span<LeakRecord> leaks_;
  std::span<const ChainLink> chain_;
  Scanner *scanner_ = nullptr;
  uint64_t started_ns_ = sys::now_ns(); // the end of the pause, but for the threads' going on
  uint64_t faults_before_ = faults_of(target_);
  Proc own_{safepoint_.files.proc, sys::process_id()};
  uint64_t memory_before_ = anonymous_bytes(own_);
  uint64_t mark_ns_ = 0;
  uint64_t refuted_threads_ = 0;
  bool all_past_settled_ = true; // of the leaked blocks of the last safepoint
  bool awaits_next_ = false;     // the next safepoint can confirm a leak, whatever it may read
  bool unsettles_ = false;       // HistoryHeader::unsettles
  SharedReadings readings_{};
  bool late_denied_ = false; // late roots may not be read this time
};

// Executes bin/castaway on the capture; exits with kSnapshotNoReporter where that fails.
[[noreturn]] void become_reporter(const Safepoint &safepoint, int capture);

} // namespace castaway
