// SampleGroups: samples with equal stacks and labels, added up. Owner: one thread, OFFLINE.
#pragma once

#include "profile/profile_writer.h"

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace castaway {

// What sets one group apart from the others. Age and tid do not.
struct SampleKey {
  std::vector<uint64_t> addresses; // leaf first; empty for the marker
  std::vector<std::pair<std::string, std::string>> labels;

  bool operator<(const SampleKey &other) const {
    return std::tie(addresses, labels) < std::tie(other.addresses, other.labels);
  }
};

struct SampleSum {
  std::vector<int64_t> values;
  uint64_t age_seconds = 0; // the oldest one's
  int64_t members = 0;
  int32_t tid = 0; // of the last one: written where it is the only one
};

class SampleGroups {
public:
  SampleSum &add(SampleKey key, const std::vector<int64_t> &values, uint64_t age_seconds);
  // `marker` is the stack of groups without one.
  void write(ProfileWriter &writer, std::string_view marker) const;
  // Sums over all groups, one per value; empty if there are none.
  std::vector<int64_t> totals() const;

private:
  std::map<SampleKey, SampleSum> groups_;
};

} // namespace castaway
