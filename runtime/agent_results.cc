// What comes out of safepoints: status page, log lines, and the watch over what was reported; see agent.h.
#include "runtime/agent_state.h"
#include "runtime/api.h"
#include "runtime/history.h"
#include "runtime/log.h"
#include "runtime/side_table.h"
#include "runtime/snapshot.h"
#include "runtime/stop_signal.h"
#include "runtime/tracking.h"

#include <algorithm>
#include <iterator>
#include <unistd.h>

namespace castaway {

namespace {

// Leaked blocks that are watched: each costs an entry in the side table.
constexpr size_t kMostWatched = 65536;

std::string_view describe(Trouble trouble) {
  return trouble == Trouble::misaligned ? "the program's allocator hands out blocks that are not aligned to 16 bytes"
         : trouble == Trouble::side_table_full ? "there is no memory for what is known of blocks"
                                               : "there is no memory for the heap map";
}

// Why there is no profile; empty if there is one.
Text<512> describe_failure(const Safepoint &safepoint, const ReportResult &result) {
  Text<512> text;
  switch (safepoint.failure) {
  case StopFailure::none:
    break;
  case StopFailure::denied:
    return text << "threads cannot be stopped: " << (safepoint.way == StopWay::signal ? "a signal" : "ptrace")
                << " is denied, errno " << safepoint.failed_errno
                << " (a debugger, seccomp, or a process that changed its user)";
  case StopFailure::late:
    return text << "thread " << safepoint.failed_tid << " did not stop in time (it may be in vfork or wait for a disk)";
  case StopFailure::blocked:
    return text << "thread " << safepoint.failed_tid << " blocks signal " << stop_signal_number()
                << ", which would stop it";
  case StopFailure::no_signal:
    return text << "threads cannot be stopped: the program handles all real-time signals";
  case StopFailure::transition:
    return text << "thread " << safepoint.failed_tid << " did not leave realloc in time";
  case StopFailure::no_memory:
    return text << "not enough memory to stop the threads, errno " << safepoint.failed_errno;
  case StopFailure::no_proc:
    return text << "/proc cannot be read";
  case StopFailure::userfault:
    return text
           << "the memory cannot be copied: a userfaultfd of the process waits for forks (UFFD_FEATURE_EVENT_FORK)";
  case StopFailure::uncopied:
    return text << "memory marked MADV_DONTFORK or MADV_WIPEONFORK is too much to be copied in a stop: "
                << uint64_t{safepoint.uncopied_bytes} << " bytes and more";
  case StopFailure::too_full:
    return text << "memory is nearly used up: too little is left for a copy to begin";
  case StopFailure::tracer_died:
    return text << "the tracer was killed";
  }
  if (safepoint.snapshot_pid < 0) return text << "the memory cannot be copied, errno " << -safepoint.snapshot_pid;
  if (safepoint.gave_way) return text << "memory ran short, and the snapshot gave way";
  if (result.trouble.size() > 0) return text << result.trouble.view();
  int status = safepoint.snapshot_status;
  if (status == 0) return text;
  if ((status & 0x7f) != 0) return text << "the snapshot process was ended by signal " << (status & 0x7f);
  switch (status >> 8 & 0xff) {
  case kSnapshotNoMemory:
    return text << "not enough memory to scan";
  case kSnapshotNoMaps:
    return text << "/proc/PID/maps cannot be read";
  case kSnapshotNoCapture:
    return text << "the capture cannot be written";
  case kSnapshotUncopied:
    return text << "memory marked MADV_DONTFORK or MADV_WIPEONFORK is missing in the copy";
  case kSnapshotNoReporter:
    return text << "the reporter cannot be executed";
  case kSnapshotUnreadable:
    return text << "memory cannot be read";
  default:
    return text << "the reporter failed with status " << (status >> 8 & 0xff);
  }
}

void drop_unconfirmed(ReportResult &result) {
  result.unconfirmed_threads = result.unconfirmed_objects = result.unconfirmed_bytes = result.unconfirmed_retained = 0;
}

void add_counts(Text<1400> &line, const ReportResult &result) {
  uint64_t threads = result.threads + result.unconfirmed_threads;
  uint64_t objects = result.objects + result.unconfirmed_objects;
  uint64_t bytes = result.bytes + result.unconfirmed_bytes;
  uint64_t retained = result.retained + result.unconfirmed_retained;
  if (threads)
    line << threads << (threads == 1 ? " leaked thread" : " leaked threads") << " (" << retained << " bytes retained)";
  if (threads && objects) line << ", ";
  if (objects) line << bytes << " leaked bytes in " << objects << (objects == 1 ? " object" : " objects");
  line << "; profile: " << result.profile.view();
}

// Whether the block, which was not watched at the stop, is watched from now on. It may have been freed already, while
// the profile was being made.
bool watch_block(const PastBlock &block) {
  if (!side_table::watch(block.begin, block.size)) return false;
  if (heap_map.set_flag(block.begin, block.size)) return true;
  side_table::unwatch(block.begin);
  if (block.reported == 1) count_refuted();
  return false;
}

// A block that was reported must never be freed: its entry in the side table makes the hooks count it if it is. One
// that was only found leaked is watched so that the next safepoint knows whether it is the same block still. One that
// was watched at the stop still is, or is gone: then there may be another block in its place.
void watch_leaks(const AgentState &agent) {
  History history = read_history(agent.files.history, kMostWatched);
  if (history.header.unsettles) side_table::unsettle_all();
  for (const PastBlock &block : history.blocks) {
    if (!block.watched && !watch_block(block)) continue;
    bool first_time = block.reported == 1;
    bool is_marked = !block.reported || (block.watched && !first_time); // or is not to be
    if (!is_marked && !side_table::mark_reported(block.begin) && first_time) count_refuted();
    if (block.settles) side_table::mark_settled(block.begin);
  }
  sys::unmap_memory(history.blocks.data(), history.blocks.size_bytes());
  sys::unmap_memory(history.threads.data(), history.threads.size_bytes());
}

void say_first_leak(AgentState &agent) {
  if (agent.said_first_leak || (agent.last.threads == 0 && agent.last.objects == 0)) return;
  agent.said_first_leak = true;
  Text<1400> line;
  line << agent.name.view() << "[" << agent.safepoint.pid << "]: first leak confirmed: ";
  ReportResult confirmed = agent.last;
  drop_unconfirmed(confirmed);
  add_counts(line, confirmed);
  log_from_agent(*agent.config, agent.safepoint.pid, line.view());
}

void add_refuted(Text<1400> &line, const AgentState &agent) {
  uint64_t blocks = tracking.refuted_blocks.load(std::memory_order_relaxed);
  line << "refuted: " << agent.refuted_threads << " threads, " << blocks << " blocks";
}

bool has_refuted(const AgentState &agent) {
  return agent.refuted_threads || tracking.refuted_blocks.load(std::memory_order_relaxed);
}

// Never, if castaway is right.
void say_refuted(AgentState &agent) {
  if (agent.said_refuted || !has_refuted(agent)) return;
  agent.said_refuted = true;
  Text<1400> line;
  line << agent.name.view() << "[" << agent.safepoint.pid << "]: ";
  add_refuted(line, agent);
  line << " came to life after they were reported as leaked: a fault of castaway's or a hidden pointer";
  log_from_agent(*agent.config, agent.safepoint.pid, line.view());
}

// The same for texts that differ in numbers only, those of safepoints, threads, errors, and in which profile it was.
uint64_t kind_of(std::string_view trouble) {
  constexpr std::string_view kProfile = ".pb.gz";
  if (size_t at = trouble.find(kProfile); at != trouble.npos) trouble.remove_prefix(at);
  uint64_t hash = 0xcbf29ce484222325; // FNV-1a
  for (char c : trouble)
    if (c < '0' || c > '9') hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// Whether this kind is new since the last success; it is known from now on.
bool is_news(AgentState &agent, std::string_view trouble) {
  uint64_t kind = kind_of(trouble);
  uint64_t *said = agent.said_troubles, *end = said + agent.said_trouble_count;
  if (std::find(said, end, kind) != end || agent.said_trouble_count == std::size(agent.said_troubles)) return false;
  agent.said_troubles[agent.said_trouble_count++] = kind;
  return true;
}

void say_trouble(AgentState &agent, std::string_view trouble) {
  if (trouble.empty()) {
    agent.said_trouble_count = 0;
    return;
  }
  if (!is_news(agent, trouble)) return;
  Text<1400> line;
  line << agent.name.view() << "[" << agent.safepoint.pid << "]: no profile: " << trouble;
  log_from_agent(*agent.config, agent.safepoint.pid, line.view());
}

// For castaway_stats() and the callback.
void publish_results(const AgentState &agent, const HistoryHeader &history) {
  ReportResult last = agent.last;
  if (agent.safepoint.trigger == Trigger::periodic) drop_unconfirmed(last); // they are not in its profile
  const StatusPage &status = agent.status.contents();
  struct castaway_stats stats {};
  stats.safepoints = status.safepoints.load();
  stats.failed_safepoints = status.failed.load();
  stats.threads = history.live_threads;
  stats.leaked_threads = last.threads + last.unconfirmed_threads;
  stats.retained_bytes = last.retained + last.unconfirmed_retained;
  stats.leaked_objects = last.objects + last.unconfirmed_objects;
  stats.leaked_bytes = last.bytes + last.unconfirmed_bytes;
  stats.heap_objects = history.heap_blocks;
  stats.heap_bytes = history.heap_bytes;
  stats.last_pause_ns = status.last_pause_ns.load();
  stats.longest_pause_ns = status.longest_pause_ns.load();
  stats.refuted = status.refuted_threads.load() + status.refuted_blocks.load();
  api::publish(stats, last.profile.view());
}

void tell_waiters(AgentState &agent) {
  agent.served_requests = agent.serving_requests;
  agent.status.complete(agent.serving_requests);
  agent.served.store(agent.serving, std::memory_order_release);
  sys::futex_wake(&agent.served);
}

} // namespace

bool prepare_safepoint(AgentState &agent, Trigger trigger) {
  // An incomplete map would make false reports.
  if (Trouble trouble = tracking.trouble.load(); trouble != Trouble::none)
    return switch_off(agent, describe(trouble)), false;
  reopen_output(agent);
  sys::call(SYS_ftruncate, agent.files.result, 0);
  sys::call(SYS_lseek, agent.files.result, 0, SEEK_SET);
  if (agent.tries <= 1) ++agent.number;
  Safepoint &safepoint = agent.safepoint;
  safepoint.config = agent.config;
  safepoint.name = agent.name.c_str();
  safepoint.pid = sys::process_id();
  safepoint.forked = agent.forked;
  safepoint.agent_tid = sys::thread_id();
  safepoint.trigger = trigger;
  safepoint.number = agent.number;
  safepoint.question = agent.status.take_question();
  safepoint.files = agent.files;
  safepoint.status_page = agent.status.page_address();
  safepoint.way = agent.way;
  agent.used_ns = sys::now_ns(CLOCK_PROCESS_CPUTIME_ID);
  return true;
}

void conclude_safepoint(AgentState &agent) {
  bool tracer_died = agent.safepoint.failure == StopFailure::tracer_died;
  if (tracer_died) renew_memory_files(agent);
  ReportResult result = read_result(agent.files.result);
  Text<512> trouble = describe_failure(agent.safepoint, result);
  HistoryHeader history = read_history_header(agent.files.history);
  bool made = trouble.size() == 0;
  if (made) {
    agent.last = result;
    agent.wrote_profile = true;
    watch_leaks(agent);
    sampling::densify(history.unrecorded, agent.config->sample_bytes);
  } else if (agent.safepoint.failure != StopFailure::none && !tracer_died) {
    --agent.number; // safepoints in a row are those that were made
  }
  agent.idle.conclude({.holds = made && history.holds_while_idle,
                       .main_faults = agent.safepoint.main_faults,
                       .awaits_next = !made || history.awaits_next,
                       .forked = agent.forked,
                       .used_ns = agent.used_ns,
                       .cost_ns = agent.safepoint.cost_ns,
                       .interval_ns = agent.config->interval_ns});
  agent.status.update(agent.safepoint, history, result, trouble.view());
  publish_results(agent, history);
  say_trouble(agent, trouble.view());
  say_first_leak(agent);
  agent.refuted_threads = std::max(agent.refuted_threads, history.refuted_threads);
  say_refuted(agent);
  tell_waiters(agent);
}

void say_farewell(AgentState &agent) {
  bool refuted = has_refuted(agent);
  if (!agent.last.leaked() && (!refuted || agent.said_refuted)) return;
  Text<1400> line;
  line << agent.name.view() << "[" << sys::process_id() << "]: ";
  if (refuted) add_refuted(line, agent);
  if (refuted && agent.last.leaked()) line << "; ";
  if (agent.last.leaked()) add_counts(line, agent.last);
  log_from_target(*agent.config, line.view());
}

void switch_off(AgentState &agent, std::string_view reason) {
  stop_tracking();
  agent.end.store(true);
  Text<1400> line;
  line << "profiling is off: " << reason;
  log_from_agent(*agent.config, sys::process_id(), line.view());
}

} // namespace castaway
