// The analysis: what a capture says once its stacks have names. Both profiles are made from it.
//
// Unwinds every thread, names what it waits on and who created it, turns allocation stacks into addresses of code, and
// decides which leaks are confirmed. Owner: one thread, OFFLINE. What is missing (files, stacks) becomes a note.
#pragma once

#include "profile/capture_reader.h"
#include "profile/modules.h"
#include "profile/symbolizer.h"
#include "profile/unwinder.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace castaway {

struct AnalysedThread {
  const ThreadRecord *record;
  std::vector<uint64_t> addresses, stack_pointers; // as UnwoundStack
  WaitKind wait;                                   // refined
  std::string created_by;                          // function, empty if not known
  bool leaked;
  bool confirmed;

  std::string_view name() const { return record->name; }
};

class Analysis {
public:
  // All outlive it.
  Analysis(const Capture &capture, const Modules &modules, Symbolizer &symbols);

  const Capture &capture() const { return capture_; }
  const Modules &modules() const { return modules_; }
  Symbolizer &symbols() { return symbols_; }
  const std::vector<AnalysedThread> &threads() const { return threads_; }
  // What made the result incomplete: the capture's own notes and what was found missing here.
  const std::vector<std::string> &notes() const { return notes_; }
  void add_note(std::string note) { notes_.push_back(std::move(note)); }

  // Addresses of a recorded allocation, from the function that called malloc or new on. Empty if nothing is known.
  std::vector<uint64_t> allocation(uint32_t stack);
  // Whether a leak whose uninterrupted row began at this safepoint is confirmed.
  bool confirmed(uint64_t first_safepoint) const;
  // Whether leaks that are not confirmed are reported as well: only what somebody asked for right now.
  bool reports_unconfirmed() const { return capture_.fact("trigger") != "periodic"; }
  // Path of the module at `address`, empty if there is none.
  std::string_view module_path(uint64_t address) const;

private:
  WaitKind wait_of(const ThreadRecord &record, const std::vector<uint64_t> &addresses);
  std::string creator(uint32_t stack);
  void note_missing(size_t cut_stacks);
  void spare_running();

  const Capture &capture_;
  const Modules &modules_;
  Symbolizer &symbols_;
  std::vector<AnalysedThread> threads_;
  std::vector<std::string> notes_;
};

} // namespace castaway
