// What the agent knows; its parts are spread over agent.cc, agent_files.cc and agent_results.cc.
#pragma once

#include "runtime/config.h"
#include "runtime/idle.h"
#include "runtime/safepoint.h"
#include "runtime/status.h"

#include <atomic>
#include <cstdint>

namespace castaway {

struct AgentState {
  // Between the target's threads and the agent.
  std::atomic<int> tid{0};        // 0: there is none. Cleared by the kernel at its end
  std::atomic<uint32_t> bell{0};  // grows when there is something to do; a futex
  std::atomic<uint32_t> ready{0}; // files are open, or cannot be; a futex
  std::atomic<bool> hurry{false}; // do not settle first
  std::atomic<bool> end{false};
  std::atomic<bool> finish{false}; // the process ends
  std::atomic<bool> exit_wanted{false};
  std::atomic<uint32_t> wanted{0}; // safepoints that the process itself has asked for
  std::atomic<uint32_t> served{0}; // of those; a futex
  std::atomic<bool> credentials_changed{false};
  std::atomic<uint32_t> credentials_followed{0}; // a futex

  // The agent's own.
  const Config *config = nullptr;
  Files files;
  Text<32> name; // of the process, in file names
  Text<64> status_name;
  Status status;
  bool made_output = false; // the output directory did not exist before
  bool wrote_profile = false;
  Safepoint safepoint{};
  StopWay way = StopWay::ptrace; // of the next safepoint
  bool under_way = false;
  uint64_t number = 0;  // of the last safepoint
  uint64_t next_ns = 0; // when the next periodic one is due; 0 = never
  bool forked = false;  // this process is a copy of one that had an agent
  uint64_t not_before_ns = 0;
  uint64_t began_ns = 0;
  uint64_t used_ns = 0; // the process' processor time before the last safepoint
  int tries = 0;
  uint32_t serving = 0;
  uint32_t serving_requests = 0;
  uint32_t served_requests = 0;
  IdleWatch idle;
  ReportResult last;
  bool said_first_leak = false;
  uint64_t refuted_threads = 0;
  bool said_refuted = false;
  // Kinds of trouble that have been said since a safepoint succeeded: hashes of their texts without the numbers.
  uint64_t said_troubles[16] = {};
  size_t said_trouble_count = 0;
};

extern constinit AgentState the_agent;

// agent_files.cc
// Gets a descriptor table of its own and opens what is needed. False, and said why, where that cannot be.
bool open_files(AgentState &agent);
// The output directory, made again if it has vanished.
bool reopen_output(AgentState &agent);
// After a tracer's death, whose snapshot may live on and write to the old ones.
void renew_memory_files(AgentState &agent);
// At the end of the process.
void leave_files(AgentState &agent);
// The credentials of the target's main thread become the agent's.
void adopt_credentials(AgentState &agent);

// agent_results.cc
// False, and profiling is off, where no verdict could be true.
bool prepare_safepoint(AgentState &agent, Trigger trigger);
// Reads what came out of a safepoint, tells those who wait, watches what was reported.
void conclude_safepoint(AgentState &agent);
// The line at the end of the process, from a thread of the target.
void say_farewell(AgentState &agent);
// Profiling ends here, for this reason: the line is said once.
void switch_off(AgentState &agent, std::string_view reason);

} // namespace castaway
