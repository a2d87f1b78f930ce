#include "profile/analysis.h"

#include "profile/runtime_frames.h"
#include "profile/waits.h"

#include <unordered_set>

namespace castaway {
namespace {

constexpr uint64_t kDefaultConfirm = 2;
// Modules that are named one by one in the notes when their files are missing.
constexpr size_t kMostMissingNamed = 8;

// A return address as an address within its call.
uint64_t call_address(uint64_t return_address) { return return_address == 0 ? 0 : return_address - 1; }

std::vector<uint64_t> call_addresses(std::span<const uint64_t> return_addresses) {
  std::vector<uint64_t> addresses;
  for (const auto address : return_addresses.first(std::min(return_addresses.size(), kMostFrames)))
    addresses.push_back(call_address(address));
  return addresses;
}

} // namespace

Analysis::Analysis(const Capture &capture, const Modules &modules, Symbolizer &symbols)
    : capture_(capture), modules_(modules), symbols_(symbols) {
  notes_.assign(capture.notes().begin(), capture.notes().end());
  if (!reports_unconfirmed()) symbols_.spare_runtime_lines();
  Unwinder unwinder(capture, modules);
  size_t cut_stacks = 0;
  threads_.reserve(capture.threads().size());
  for (const auto &record : capture.threads()) {
    auto stack = unwinder.unwind(record);
    cut_stacks += stack.cut;
    AnalysedThread thread;
    thread.record = &record;
    thread.addresses = std::move(stack.addresses);
    thread.stack_pointers = std::move(stack.stack_pointers);
    thread.wait = wait_of(record, thread.addresses);
    thread.created_by = creator(record.created_stack);
    thread.leaked = (record.flags & kThreadLeaked) != 0 && (record.flags & kThreadMain) == 0;
    thread.confirmed = thread.leaked && confirmed(record.first_safepoint);
    threads_.push_back(std::move(thread));
  }
  note_missing(cut_stacks);
  if (!reports_unconfirmed()) spare_running();
}

// A thread that runs stands somewhere else each time, and no report of a leak needs its lines.
void Analysis::spare_running() {
  const auto runs = [](const AnalysedThread &thread) {
    return (thread.record->flags & kThreadWaiter) == 0 && thread.record->system_call < 0;
  };
  std::unordered_set<uint64_t> spared;
  for (const auto &thread : threads_)
    if (runs(thread)) spared.insert(thread.addresses.begin(), thread.addresses.end());
  if (spared.empty()) return;
  for (const auto &thread : threads_)
    if (!runs(thread))
      for (const auto address : thread.addresses) spared.erase(address);
  for (const auto address : capture_.all_call_stacks()) spared.erase(call_address(address));
  symbols_.spare_lines_of(std::move(spared));
}

WaitKind Analysis::wait_of(const ThreadRecord &record, const std::vector<uint64_t> &addresses) {
  if (record.wait != WaitKind::futex) return record.wait;
  std::vector<std::string_view> functions;
  for (const auto address : addresses)
    for (const auto &frame : symbols_.at(address).frames) functions.push_back(frame.function);
  return refine_wait(record.wait, functions);
}

// The first function of the creation stack that is not the library's way from std::thread to clone.
std::string Analysis::creator(uint32_t stack) {
  for (const auto address : call_addresses(capture_.call_stack(stack)))
    for (const auto &frame : symbols_.at(address).frames)
      if (!is_runtime_frame(frame.function, module_path(address))) return frame.function;
  return "";
}

std::vector<uint64_t> Analysis::allocation(uint32_t stack) {
  auto addresses = call_addresses(capture_.call_stack(stack));
  size_t leaf = 0;
  while (leaf + 1 < addresses.size() && (is_own_module(module_path(addresses[leaf])) ||
                                         is_allocation_function(symbols_.at(addresses[leaf]).frames.back().function)))
    leaf++;
  addresses.erase(addresses.begin(), addresses.begin() + static_cast<ptrdiff_t>(leaf));
  return addresses;
}

bool Analysis::confirmed(uint64_t first_safepoint) const {
  const auto now = capture_.number_or("safepoint", 0);
  if (first_safepoint == 0 || first_safepoint > now) return false;
  return is_confirmed(first_safepoint, now, capture_.number_or("confirm", kDefaultConfirm));
}

std::string_view Analysis::module_path(uint64_t address) const {
  const auto *module = modules_.at(address);
  return module == nullptr ? std::string_view() : std::string_view(module->path);
}

void Analysis::note_missing(size_t cut_stacks) {
  if (cut_stacks != 0) notes_.push_back(std::to_string(cut_stacks) + " thread stacks are incomplete");
  // What is needed to name allocations is opened only later.
  for (const auto address : capture_.all_call_stacks()) modules_.at(call_address(address));
  size_t missing = 0;
  for (const auto &module : modules_.opened())
    if (!module.file && ++missing <= kMostMissingNamed) notes_.push_back(module.error);
  if (missing > kMostMissingNamed)
    notes_.push_back(std::to_string(missing - kMostMissingNamed) + " more mapped files cannot be read");
}

} // namespace castaway
