// ProfileData: a leak or threads profile read back from its file, as `show`, `check`, `diff` and `rank` use it.
//
// A plain picture of pprof's profile.proto with every index checked: whoever holds a ProfileData can follow each one
// without a look. The bytes are hostile (another machine, another tool, half a file): a bad one gives an Error, never
// a crash; what it decompresses to is bounded. Other tools' profiles are read too, they are of ProfileKind::other.
//
// Owner: the caller; immutable once read, so any thread may read it. OFFLINE.
#pragma once

#include "profile/result.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace castaway {

enum class ProfileKind { leak, threads, other };

// Whether a leak was found in as many safepoints as CASTAWAY_CONFIRM asks for (label `state`).
enum class LeakState { confirmed, unconfirmed };

struct ValueType {
  std::string type; // "leaked_threads"
  std::string unit; // "count"
};

struct ProfileMapping {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t offset = 0;
  std::string file;
  std::string build_id; // hexadecimal, empty if not known
};

struct ProfileFunction {
  std::string name;        // demangled
  std::string system_name; // as in the symbol table
  std::string file;
};

struct ProfileLine {
  uint32_t function = 0; // index into ProfileData::functions
  int64_t line = 0;      // 0 if not known
};

struct ProfileLocation {
  uint64_t address = 0; // 0 for frames that stand for something else than code
  std::optional<uint32_t> mapping;
  std::vector<ProfileLine> lines; // innermost (inlined) first; empty if not symbolized
  // From the start of the function in the symbol table; not known in profiles of other tools.
  std::optional<uint64_t> function_offset;
};

struct ProfileLabel {
  std::string key;
  std::string text;              // string label, or
  std::optional<int64_t> number; // numeric label
  std::string unit;              // of `number`
};

struct ProfileSample {
  std::vector<uint32_t> locations; // indices into ProfileData::locations, leaf first
  std::vector<int64_t> values;     // as many as there are sample types
  std::vector<ProfileLabel> labels;

  // Empty if there is no such label.
  std::string_view label(std::string_view key) const;
  std::optional<int64_t> number(std::string_view key) const;
};

// One frame as people read it: inlined functions are frames of their own.
struct ProfileFrame {
  std::string_view function; // never empty: falls back to module+offset or the address
  std::string_view file;     // source file, empty if not known
  int64_t line = 0;
  uint64_t address = 0;
  std::string_view module; // path of the mapped file, empty if not known
  std::optional<uint64_t> function_offset;
  bool inlined = false; // into the next frame
};

// Sums over samples of a leak profile.
struct LeakTotals {
  int64_t threads = 0;
  int64_t retained_bytes = 0;
  int64_t objects = 0;
  int64_t bytes = 0;

  bool any() const { return threads != 0 || objects != 0 || bytes != 0; }
};

struct ProfileData {
  ProfileKind kind = ProfileKind::other;
  std::vector<ValueType> sample_types;
  size_t default_sample_type = 0; // index into sample_types
  std::vector<ProfileMapping> mappings;
  std::vector<ProfileFunction> functions;
  std::vector<ProfileLocation> locations;
  std::vector<ProfileSample> samples;
  std::vector<std::string> comments;
  int64_t time_nanos = 0;
  int64_t duration_nanos = 0;

  // Value of the comment `key: value`; empty if there is none. Keys are those of profile_comments.h.
  std::string_view comment(std::string_view key) const;
  // The same for a key that may be there more than once.
  std::vector<std::string_view> all_comments(std::string_view key) const;
  // Values of all comments `note: ...`: what made the result incomplete.
  std::vector<std::string_view> notes() const;
  // -1 if the profile has no such sample type.
  int value_index(std::string_view type) const;
  // Expanded: inlined functions as frames of their own, leaf first. Views stay valid as long as this object.
  std::vector<ProfileFrame> frames(const ProfileSample &sample) const;

private:
  friend Result<ProfileData> parse_profile(std::span<const std::byte>);
  std::vector<std::string> fallback_names_; // of locations without lines, by index
};

// Bytes of a profile.proto, gzip'd or not.
Result<ProfileData> parse_profile(std::span<const std::byte> bytes);
// The same from a file. The error names the file.
Result<ProfileData> read_profile(const std::string &path);

// Sums of a leak profile over all samples, or those in one state.
LeakTotals leak_totals(const ProfileData &profile);
LeakTotals leak_totals(const ProfileData &profile, LeakState state);
// What suppressions left out of it.
LeakTotals suppressed_totals(const ProfileData &profile);
// Number of threads in a threads profile.
int64_t thread_total(const ProfileData &profile);

// One sample's contribution.
LeakTotals sample_totals(const ProfileData &profile, const ProfileSample &sample);
LeakState sample_state(const ProfileSample &sample);

// Index in `frames` of the frame that a developer would call the site: the first that is not the C or C++ library's
// own; the leaf if all are. REQUIRES: !frames.empty().
size_t site_frame(std::span<const ProfileFrame> frames);

// What stays the same for one leak from process to process, host to host and build to build: kind and function names,
// without addresses, lines, ages and counts. `diff` and `rank` match by it.
std::string sample_identity(const ProfileData &profile, const ProfileSample &sample);

} // namespace castaway
