// The status page: one small file per profiled process, mapped by its runtime and by whoever watches it.
//
// The file is OUTPUT/.<comm>.<pid>.castaway, mode 0600, made before the first safepoint and removed at a normal end.
// Its mapping shows in /proc/PID/maps, which is how `castaway snap PID` finds it. All fields are plain numbers that the
// runtime stores with relaxed order, but for `requested` and `completed`. The peer may change any of it at any
// time: the runtime reads nothing of it but `requested` and `question`, and readers check every value and bound every
// string.
//
// A request: add 1 to `requested`, FUTEX_WAKE (shared) on it. The runtime makes a safepoint, stores the value of
// `requested` that it has served into `completed` and wakes that. The fields behind then tell of the last safepoint.
// A `question` that is there before the request is answered in the profile's comments, and taken away.
#pragma once

#include <atomic>
#include <cstdint>

namespace castaway {

inline constexpr char kStatusMagic[8] = {'C', 'A', 'S', 'T', 'S', 'T', 'A', '1'};
inline constexpr char kStatusSuffix[] = ".castaway";

inline constexpr uint64_t kQuestionTid = uint64_t{1} << 63;

struct StatusPage {
  char magic[8];
  int32_t pid;
  uint32_t size; // of this structure
  std::atomic<uint32_t> requested;
  std::atomic<uint64_t> question; // an address, or kQuestionTid | tid; 0 for none
  std::atomic<uint32_t> completed;
  std::atomic<uint64_t> safepoints;   // made so far
  std::atomic<uint64_t> failed;       // given up
  std::atomic<uint64_t> last_wall_ns; // time of the last one
  std::atomic<uint64_t> last_pause_ns;
  std::atomic<uint64_t> longest_pause_ns;
  std::atomic<uint64_t> threads;
  std::atomic<uint64_t> leaked_threads; // confirmed, not suppressed
  std::atomic<uint64_t> leaked_objects;
  std::atomic<uint64_t> leaked_bytes;
  std::atomic<uint64_t> retained_bytes;
  std::atomic<uint64_t> heap_blocks;
  std::atomic<uint64_t> heap_bytes;
  std::atomic<uint64_t> refuted_threads;
  std::atomic<uint64_t> refuted_blocks;
  char last_profile[1024]; // path of the newest `leak` profile, zero-terminated, empty if none
  char last_trouble[256];  // why the last safepoint gave no profile, empty if it did
};

static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(StatusPage) <= 4096);

} // namespace castaway
