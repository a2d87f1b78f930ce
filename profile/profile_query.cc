// What the tools ask of a profile: labels, comments, frames, totals, identity. See profile_data.h.
#include "profile/profile_comments.h"
#include "profile/profile_data.h"
#include "profile/runtime_frames.h"
#include "profile/saturating.h"

namespace castaway {
namespace {

void add_to(LeakTotals &sum, const LeakTotals &totals) {
  add_saturated(sum.threads, totals.threads);
  add_saturated(sum.retained_bytes, totals.retained_bytes);
  add_saturated(sum.objects, totals.objects);
  add_saturated(sum.bytes, totals.bytes);
}

// The text behind "key: ", or nothing.
std::optional<std::string_view> value_of(std::string_view comment, std::string_view key) {
  if (!comment.starts_with(key)) return std::nullopt;
  comment.remove_prefix(key.size());
  if (!comment.starts_with(": ")) return std::nullopt;
  return comment.substr(2);
}

} // namespace

std::string_view ProfileSample::label(std::string_view key) const {
  for (const auto &label : labels)
    if (label.key == key && !label.number) return label.text;
  return {};
}

std::optional<int64_t> ProfileSample::number(std::string_view key) const {
  for (const auto &label : labels)
    if (label.key == key && label.number) return label.number;
  return std::nullopt;
}

std::string_view ProfileData::comment(std::string_view key) const {
  for (const auto &comment : comments)
    if (const auto value = value_of(comment, key)) return *value;
  return {};
}

std::vector<std::string_view> ProfileData::all_comments(std::string_view key) const {
  std::vector<std::string_view> found;
  for (const auto &comment : comments)
    if (const auto value = value_of(comment, key)) found.push_back(*value);
  return found;
}

std::vector<std::string_view> ProfileData::notes() const { return all_comments(kNote); }

int ProfileData::value_index(std::string_view type) const {
  for (size_t i = 0; i < sample_types.size(); i++)
    if (sample_types[i].type == type) return static_cast<int>(i);
  return -1;
}

std::vector<ProfileFrame> ProfileData::frames(const ProfileSample &sample) const {
  std::vector<ProfileFrame> frames;
  for (const auto index : sample.locations) {
    const auto &location = locations[index];
    ProfileFrame frame;
    frame.address = location.address;
    frame.function_offset = location.function_offset;
    if (location.mapping) frame.module = mappings[*location.mapping].file;
    if (location.lines.empty()) {
      frame.function = fallback_names_[index];
      frames.push_back(frame);
    }
    for (size_t i = 0; i < location.lines.size(); i++) {
      const auto &function = functions[location.lines[i].function];
      frame.function = function.name.empty() ? std::string_view("[no name]") : std::string_view(function.name);
      frame.file = function.file;
      frame.line = location.lines[i].line;
      frame.inlined = i + 1 < location.lines.size();
      frames.push_back(frame);
    }
  }
  return frames;
}

LeakTotals sample_totals(const ProfileData &profile, const ProfileSample &sample) {
  const auto value = [&](std::string_view type) {
    const int index = profile.value_index(type);
    return index < 0 ? 0 : sample.values[static_cast<size_t>(index)];
  };
  return {value("leaked_threads"), value("retained_space"), value("leaked_objects"), value("leaked_space")};
}

LeakState sample_state(const ProfileSample &sample) {
  return sample.label("state") == "confirmed" ? LeakState::confirmed : LeakState::unconfirmed;
}

LeakTotals leak_totals(const ProfileData &profile) {
  LeakTotals sum;
  for (const auto &sample : profile.samples) add_to(sum, sample_totals(profile, sample));
  return sum;
}

LeakTotals leak_totals(const ProfileData &profile, LeakState state) {
  LeakTotals sum;
  for (const auto &sample : profile.samples)
    if (sample_state(sample) == state) add_to(sum, sample_totals(profile, sample));
  return sum;
}

LeakTotals suppressed_totals(const ProfileData &profile) { return parse_totals(profile.comment(kSuppressed)); }

int64_t thread_total(const ProfileData &profile) {
  const int index = profile.value_index("threads");
  int64_t sum = 0;
  if (index >= 0)
    for (const auto &sample : profile.samples) add_saturated(sum, sample.values[static_cast<size_t>(index)]);
  return sum;
}

size_t site_frame(std::span<const ProfileFrame> frames) {
  for (size_t i = 0; i < frames.size(); i++)
    if (!is_runtime_frame(frames[i].function, frames[i].module)) return i;
  return 0;
}

std::string sample_identity(const ProfileData &profile, const ProfileSample &sample) {
  std::string identity;
  for (const auto *key : {"kind", "wait", "created_by", "leak"}) {
    identity += sample.label(key);
    identity += '\n';
  }
  // Names within the libraries depend on their versions and on whether their debug information is installed.
  const auto frames = profile.frames(sample);
  const bool all_runtime =
      frames.empty() || is_runtime_frame(frames[site_frame(frames)].function, frames[site_frame(frames)].module);
  for (const auto &frame : frames) {
    if (!all_runtime && is_runtime_frame(frame.function, frame.module)) continue;
    identity += frame.function;
    identity += '\n';
  }
  return identity;
}

} // namespace castaway
