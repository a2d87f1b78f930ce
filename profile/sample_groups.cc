#include "profile/sample_groups.h"

#include "profile/saturating.h"

#include <algorithm>

namespace castaway {
namespace {

void add_values(std::vector<int64_t> &sums, const std::vector<int64_t> &values) {
  sums.resize(std::max(sums.size(), values.size()));
  for (size_t i = 0; i < values.size(); i++) add_saturated(sums[i], values[i]);
}

} // namespace

SampleSum &SampleGroups::add(SampleKey key, const std::vector<int64_t> &values, uint64_t age_seconds) {
  auto &sum = groups_[std::move(key)];
  add_values(sum.values, values);
  sum.age_seconds = std::max(sum.age_seconds, age_seconds);
  sum.members++;
  return sum;
}

void SampleGroups::write(ProfileWriter &writer, std::string_view marker) const {
  for (const auto &[key, sum] : groups_) {
    std::vector<PprofLabel> labels;
    for (const auto &[name, text] : key.labels)
      if (!text.empty()) labels.push_back({name, text});
    labels.push_back({"age", "", static_cast<int64_t>(sum.age_seconds), "seconds"});
    if (sum.members == 1 && sum.tid != 0) labels.push_back({"tid", "", sum.tid});
    auto stack = writer.stack(key.addresses);
    if (stack.empty()) stack.push_back(writer.marker(marker));
    writer.builder().add_sample(stack, sum.values, labels);
  }
}

std::vector<int64_t> SampleGroups::totals() const {
  std::vector<int64_t> sums;
  for (const auto &[key, sum] : groups_) add_values(sums, sum.values);
  return sums;
}

} // namespace castaway
