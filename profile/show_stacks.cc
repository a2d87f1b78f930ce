// debug=1 and debug=2, in the shape of Go's texts. See show_forms.h.
#include "profile/saturating.h"
#include "profile/show_forms.h"
#include "profile/waits.h"

#include <algorithm>
#include <cstdio>
#include <tuple>

namespace castaway {
namespace {

constexpr int64_t kSecondsPerMinute = 60;

std::string hexadecimal(uint64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%#llx", static_cast<unsigned long long>(value));
  return value == 0 ? "0x0" : text;
}

// What a sample counts for: threads, or blocks of leaked memory.
int64_t count_of(const ProfileData &profile, const ProfileSample &sample) {
  if (profile.kind != ProfileKind::leak) return sample.values[profile.default_sample_type];
  const auto totals = sample_totals(profile, sample);
  return totals.threads != 0 ? totals.threads : totals.objects;
}

std::string profile_name(const ProfileData &profile) {
  switch (profile.kind) {
  case ProfileKind::leak:
    return "leak";
  case ProfileKind::threads:
    return "threads";
  case ProfileKind::other:
    break;
  }
  return printable(profile.sample_types[profile.default_sample_type].type);
}

std::string position(const ProfileFrame &frame) {
  return frame.file.empty() ? "" : printable(frame.file) + ":" + std::to_string(frame.line);
}

// # {"kind":"thread", "age":"5 seconds"}
std::string labels_line(const ProfileSample &sample) {
  if (sample.labels.empty()) return "";
  std::string text;
  for (const auto &label : sample.labels) {
    text += text.empty() ? "# labels: {" : ", ";
    text += "\"" + printable(label.key) + "\":\"";
    text += label.number ? std::to_string(*label.number) : printable(label.text);
    if (label.number && !label.unit.empty()) text += " " + printable(label.unit);
    text += "\"";
  }
  return text + "}\n";
}

std::string frame_line(const ProfileFrame &frame) {
  auto function = printable(frame.function);
  if (frame.function_offset) function += "+" + hexadecimal(*frame.function_offset);
  const auto where = position(frame);
  return "#\t" + hexadecimal(frame.address) + "\t" + function + (where.empty() ? "" : "\t" + where) + "\n";
}

std::string stack_entry(const ProfileData &profile, const ProfileSample &sample) {
  std::string text = std::to_string(count_of(profile, sample)) + " @";
  for (const auto location : sample.locations) text += " " + hexadecimal(profile.locations[location].address);
  text += "\n" + labels_line(sample);
  const auto totals = sample_totals(profile, sample);
  if (totals.threads != 0) text += "# retained: " + std::to_string(totals.retained_bytes) + " bytes\n";
  if (totals.objects != 0) text += "# leaked: " + std::to_string(totals.bytes) + " bytes\n";
  for (const auto &frame : profile.frames(sample)) text += frame_line(frame);
  return text + "\n";
}

std::string minutes_of(const ProfileSample &sample) {
  const auto minutes = sample.number("age").value_or(0) / kSecondsPerMinute;
  if (minutes <= 0) return "";
  return ", " + std::to_string(minutes) + (minutes == 1 ? " minute" : " minutes");
}

// "cond wait (leaked), 5 minutes"
std::string thread_status(const ProfileData &profile, const ProfileSample &sample) {
  std::string status;
  if (profile.kind == ProfileKind::leak) {
    status = printable(wait_words(sample.label("wait")));
    status += sample_state(sample) == LeakState::confirmed ? " (leaked)" : " (leaked, unconfirmed)";
    if (!sample.label("reason").empty()) status += ", " + printable(sample.label("reason"));
  } else {
    status = printable(sample.label("state"));
  }
  return status + minutes_of(sample);
}

std::string thread_header(const ProfileData &profile, const ProfileSample &sample) {
  const auto tid = sample.number("tid");
  const auto count = count_of(profile, sample);
  return "thread " + (tid ? std::to_string(*tid) : "×" + std::to_string(count)) + " \"" +
         printable(sample.label("thread")) + "\" [" + thread_status(profile, sample) + "]:\n";
}

std::string memory_header(const ProfileData &profile, const ProfileSample &sample) {
  const auto totals = sample_totals(profile, sample);
  std::string text = "memory ×" + std::to_string(totals.objects) + ", " + std::to_string(totals.bytes) + " bytes [";
  text += printable(sample.label("leak")) + " leak";
  if (sample_state(sample) == LeakState::unconfirmed) text += ", unconfirmed";
  return text + minutes_of(sample) + "]:\n";
}

std::string entry(const ProfileData &profile, const ProfileSample &sample) {
  const bool memory = sample.label("kind") == "memory";
  auto text = memory ? memory_header(profile, sample) : thread_header(profile, sample);
  for (const auto &frame : profile.frames(sample)) {
    text += printable(frame.function) + (frame.inlined ? "(...) [inlined]\n" : "(...)\n");
    const auto where = position(frame);
    const auto place = where.empty() ? printable(frame.module) : where;
    if (place.empty()) continue;
    text += "\t" + place + (frame.function_offset ? " +" + hexadecimal(*frame.function_offset) + "\n" : "\n");
  }
  const auto creator = sample.label("created_by");
  if (!creator.empty()) text += "created by " + printable(creator) + "\n";
  return text + "\n";
}

} // namespace

std::vector<const ProfileSample *> by_impact(const ProfileData &profile) {
  std::vector<std::pair<LeakTotals, const ProfileSample *>> order;
  for (const auto &sample : profile.samples) {
    auto totals = sample_totals(profile, sample);
    if (profile.kind != ProfileKind::leak) totals.threads = count_of(profile, sample);
    order.emplace_back(totals, &sample);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto &left, const auto &right) {
    const auto rank = [](const LeakTotals &totals) {
      return std::tuple(totals.threads, totals.retained_bytes, totals.bytes, totals.objects);
    };
    return rank(left.first) > rank(right.first);
  });
  std::vector<const ProfileSample *> samples;
  for (const auto &[totals, sample] : order) samples.push_back(sample);
  return samples;
}

std::string show_stacks(const ProfileData &profile) {
  std::string entries;
  int64_t total = 0;
  for (const auto *sample : by_impact(profile)) {
    add_saturated(total, count_of(profile, *sample));
    entries += stack_entry(profile, *sample);
  }
  return profile_name(profile) + " profile: total " + std::to_string(total) + "\n" + entries;
}

std::string show_threads(const ProfileData &profile) {
  std::string text;
  for (const auto *sample : by_impact(profile)) text += entry(profile, *sample);
  return text;
}

} // namespace castaway
