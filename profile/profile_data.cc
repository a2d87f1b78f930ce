#include "profile/profile_data.h"

#include "profile/file.h"
#include "profile/gzip.h"
#include "profile/profile.pb.h"
#include "profile/runtime_frames.h"

#include <cstdio>
#include <unordered_map>

namespace castaway {
namespace {

using perftools::profiles::Profile;

// A profile of 100 000 distinct stacks has some 50 MB; what is far beyond is a bomb or no profile.
constexpr size_t kLargestFile = size_t(512) << 20;
constexpr size_t kLargestProfile = size_t(1) << 30;

using Indices = std::unordered_map<uint64_t, uint32_t>;

// Turns the message into a ProfileData; the first thing found wrong stops it.
class Reader {
public:
  explicit Reader(const Profile &message) : message_(message) {}

  Result<ProfileData> read() {
    if (message_.string_table_size() == 0 || !message_.string_table(0).empty()) return Error{"not a pprof profile"};
    const bool good =
        read_types() && read_mappings() && read_functions() && read_locations() && read_samples() && read_comments();
    if (!good) return Error{"damaged profile: " + wrong_};
    data_.time_nanos = message_.time_nanos();
    data_.duration_nanos = message_.duration_nanos();
    data_.kind = kind();
    return std::move(data_);
  }

private:
  bool fail(std::string what) {
    wrong_ = std::move(what);
    return false;
  }

  bool string(int64_t index, std::string &out) {
    if (index < 0 || index >= message_.string_table_size()) return fail("a string that is not in its table");
    out = message_.string_table(static_cast<int>(index));
    return true;
  }

  bool read_types() {
    std::string chosen;
    if (!string(message_.default_sample_type(), chosen)) return false;
    if (message_.sample_type_size() == 0) return fail("no sample types");
    data_.default_sample_type = static_cast<size_t>(message_.sample_type_size()) - 1; // pprof's rule: the last one
    for (const auto &message : message_.sample_type()) {
      ValueType type;
      if (!string(message.type(), type.type) || !string(message.unit(), type.unit)) return false;
      if (type.type == chosen) data_.default_sample_type = data_.sample_types.size();
      data_.sample_types.push_back(std::move(type));
    }
    return true;
  }

  bool read_mappings() {
    for (const auto &message : message_.mapping()) {
      ProfileMapping mapping{message.memory_start(), message.memory_limit(), message.file_offset(), {}, {}};
      if (!string(message.filename(), mapping.file) || !string(message.build_id(), mapping.build_id)) return false;
      mappings_.emplace(message.id(), static_cast<uint32_t>(data_.mappings.size()));
      data_.mappings.push_back(std::move(mapping));
    }
    return true;
  }

  bool read_functions() {
    for (const auto &message : message_.function()) {
      ProfileFunction function;
      if (!string(message.name(), function.name) || !string(message.system_name(), function.system_name) ||
          !string(message.filename(), function.file))
        return false;
      functions_.emplace(message.id(), static_cast<uint32_t>(data_.functions.size()));
      data_.functions.push_back(std::move(function));
    }
    return true;
  }

  bool read_locations() {
    for (const auto &message : message_.location()) {
      ProfileLocation location;
      location.address = message.address();
      if (message.mapping_id() != 0) {
        const auto mapping = mappings_.find(message.mapping_id());
        if (mapping == mappings_.end()) return fail("a location in a mapping that is not there");
        location.mapping = mapping->second;
      }
      if (message.function_offset_plus_one() != 0) location.function_offset = message.function_offset_plus_one() - 1;
      for (const auto &line : message.line()) {
        const auto function = functions_.find(line.function_id());
        if (function == functions_.end()) return fail("a line of a function that is not there");
        location.lines.push_back({function->second, line.line()});
      }
      locations_.emplace(message.id(), static_cast<uint32_t>(data_.locations.size()));
      data_.locations.push_back(std::move(location));
    }
    return true;
  }

  bool read_samples() {
    for (const auto &message : message_.sample()) {
      ProfileSample sample;
      if (message.value_size() != message_.sample_type_size()) return fail("a sample with too many or too few values");
      sample.values.assign(message.value().begin(), message.value().end());
      for (const auto id : message.location_id()) {
        const auto location = locations_.find(id);
        if (location == locations_.end()) return fail("a sample at a location that is not there");
        sample.locations.push_back(location->second);
      }
      for (const auto &label : message.label())
        if (!read_label(label, sample)) return false;
      data_.samples.push_back(std::move(sample));
    }
    return true;
  }

  bool read_label(const perftools::profiles::Label &message, ProfileSample &sample) {
    ProfileLabel label;
    if (!string(message.key(), label.key) || !string(message.str(), label.text) ||
        !string(message.num_unit(), label.unit))
      return false;
    if (message.str() == 0) label.number = message.num();
    sample.labels.push_back(std::move(label));
    return true;
  }

  bool read_comments() {
    for (const auto index : message_.comment()) {
      std::string comment;
      if (!string(index, comment)) return false;
      data_.comments.push_back(std::move(comment));
    }
    return true;
  }

  ProfileKind kind() const {
    const auto &first = data_.sample_types.front();
    if (data_.sample_types.size() == 4 && first.type == "leaked_threads") return ProfileKind::leak;
    if (data_.sample_types.size() == 1 && first.type == "threads") return ProfileKind::threads;
    return ProfileKind::other;
  }

  const Profile &message_;
  ProfileData data_;
  std::string wrong_;
  Indices mappings_;
  Indices functions_;
  Indices locations_;
};

std::string fallback_name(const ProfileData &data, const ProfileLocation &location) {
  char text[24];
  const auto *mapping = location.mapping ? &data.mappings[*location.mapping] : nullptr;
  const auto inside = mapping == nullptr ? location.address : location.address - mapping->begin + mapping->offset;
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(inside));
  if (mapping == nullptr || mapping->file.empty()) return text;
  return std::string(file_name(mapping->file)) + "+" + text;
}

} // namespace

Result<ProfileData> parse_profile(std::span<const std::byte> bytes) {
  std::string unpacked;
  if (is_gzip(bytes)) {
    auto plain = gunzip(bytes, kLargestProfile);
    if (!plain) return Error{plain.error()};
    unpacked = std::move(*plain);
    bytes = std::as_bytes(std::span(unpacked));
  }
  if (bytes.size() > kLargestProfile) return Error{"too large for a profile"};
  Profile message;
  if (bytes.empty() || !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Error{"not a pprof profile, or truncated"};
  auto data = Reader(message).read();
  if (data)
    for (const auto &location : data->locations)
      data->fallback_names_.push_back(location.lines.empty() ? fallback_name(*data, location) : "");
  return data;
}

Result<ProfileData> read_profile(const std::string &path) {
  const auto bytes = read_file(path, kLargestFile);
  if (!bytes) return Error{bytes.error()};
  auto data = parse_profile(*bytes);
  if (!data) return Error{path + ": " + data.error()};
  return data;
}

} // namespace castaway
