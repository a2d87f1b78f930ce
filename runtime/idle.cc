// Whether the program has run; see idle.h.
#include "runtime/idle.h"

namespace castaway {

uint64_t faults_of_main(const Proc &target) {
  constexpr int kMinor = 10, kMajor = 12;
  char line[512];
  Text<64> path;
  std::string_view stat = target.read((path << "task/" << target.pid() << "/stat").view(), line, sizeof line);
  uint64_t sum = 0;
  for (int field : {kMinor, kMajor}) {
    std::string_view text = stat_field(stat, field);
    uint64_t faults = 0;
    take_number(text, faults);
    sum += faults;
  }
  return sum;
}

void IdleWatch::conclude(bool holds, uint64_t faults) {
  holds_ = holds;
  faults_ = faults;
  spared_ = 0;
}

bool IdleWatch::spare(const Proc &target) {
  if (!holds_ || spared_ == kMostInARow || faults_of_main(target) != faults_) return false;
  ++spared_;
  return true;
}

} // namespace castaway
