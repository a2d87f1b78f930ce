#include "profile/pprof_builder.h"

#include "profile/profile.pb.h"

#include <cassert>

namespace castaway {
namespace {

// Length of the UTF-8 sequence that `text` starts with, 0 if it starts with none. Overlong forms and surrogates are
// let through: readers only check what this checks.
size_t sequence_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length > text.size()) return 0;
  for (size_t i = 1; i < length; i++)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  return length;
}

// Names come from another process: a profile with bytes that are no UTF-8 would be refused by some readers.
std::string as_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto length = sequence_length(text);
    out += length == 0 ? "?" : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

} // namespace

struct PprofBuilder::Message {
  perftools::profiles::Profile profile;
};

PprofBuilder::PprofBuilder() : message_(std::make_unique<Message>()) { string(""); }

PprofBuilder::~PprofBuilder() = default;

int64_t PprofBuilder::string(std::string_view text) {
  auto &table = *message_->profile.mutable_string_table();
  const auto [known, is_new] = strings_.try_emplace(as_utf8(text), table.size());
  if (is_new) table.Add(std::string(known->first));
  return known->second;
}

void PprofBuilder::add_sample_type(std::string_view type, std::string_view unit) {
  assert(message_->profile.sample_size() == 0);
  auto &value = *message_->profile.add_sample_type();
  value.set_type(string(type));
  value.set_unit(string(unit));
}

void PprofBuilder::set_default_sample_type(std::string_view type) {
  message_->profile.set_default_sample_type(string(type));
}

void PprofBuilder::set_period(std::string_view type, std::string_view unit, int64_t period) {
  auto &value = *message_->profile.mutable_period_type();
  value.set_type(string(type));
  value.set_unit(string(unit));
  message_->profile.set_period(period);
}

void PprofBuilder::set_time(int64_t wall_ns, int64_t duration_ns) {
  message_->profile.set_time_nanos(wall_ns);
  message_->profile.set_duration_nanos(duration_ns);
}

void PprofBuilder::add_comment(std::string_view text) { message_->profile.add_comment(string(text)); }

MappingId PprofBuilder::add_mapping(const PprofMapping &mapping) {
  assert(mapping.begin < mapping.end);
  auto &message = *message_->profile.add_mapping();
  message.set_id(static_cast<uint64_t>(message_->profile.mapping_size()));
  message.set_memory_start(mapping.begin);
  message.set_memory_limit(mapping.end);
  message.set_file_offset(mapping.offset);
  message.set_filename(string(mapping.file));
  message.set_build_id(string(mapping.build_id));
  return message.id();
}

void PprofBuilder::set_symbolized(MappingId mapping) {
  assert(mapping != 0);
  auto &message = *message_->profile.mutable_mapping(static_cast<int>(mapping) - 1);
  message.set_has_functions(true);
  message.set_has_filenames(true);
  message.set_has_line_numbers(true);
  message.set_has_inline_frames(true);
}

FunctionId PprofBuilder::add_function(std::string_view name, std::string_view system_name, std::string_view file) {
  const auto key = std::tuple(string(name), string(system_name), string(file));
  const auto next = static_cast<FunctionId>(message_->profile.function_size()) + 1;
  const auto [known, is_new] = functions_.try_emplace(key, next);
  if (is_new) {
    auto &message = *message_->profile.add_function();
    message.set_id(next);
    message.set_name(std::get<0>(key));
    message.set_system_name(std::get<1>(key));
    message.set_filename(std::get<2>(key));
  }
  return known->second;
}

LocationId PprofBuilder::add_location(const PprofLocation &location) {
  assert(location.mapping <= static_cast<uint64_t>(message_->profile.mapping_size()));
  auto &message = *message_->profile.add_location();
  message.set_id(static_cast<uint64_t>(message_->profile.location_size()));
  message.set_mapping_id(location.mapping);
  message.set_address(location.address);
  message.set_function_offset_plus_one(location.function_offset_plus_one);
  for (const auto &line : location.lines) {
    assert(line.function != 0);
    auto &out = *message.add_line();
    out.set_function_id(line.function);
    out.set_line(line.line);
  }
  return message.id();
}

void PprofBuilder::add_sample(const std::vector<LocationId> &leaf_first, const std::vector<int64_t> &values,
                              const std::vector<PprofLabel> &labels) {
  assert(values.size() == static_cast<size_t>(message_->profile.sample_type_size()));
  auto &message = *message_->profile.add_sample();
  for (const auto location : leaf_first) message.add_location_id(location);
  for (const auto value : values) message.add_value(value);
  for (const auto &label : labels) {
    auto &out = *message.add_label();
    out.set_key(string(label.key));
    if (!label.text.empty()) {
      out.set_str(string(label.text));
      continue;
    }
    out.set_num(label.number);
    out.set_num_unit(string(label.unit));
  }
}

std::string PprofBuilder::finish() && { return message_->profile.SerializeAsString(); }

} // namespace castaway
