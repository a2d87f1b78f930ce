#include "profile/threads_profile.h"

#include "profile/sample_groups.h"
#include "profile/waits.h"

namespace castaway {
namespace {

constexpr uint64_t kNsPerSecond = 1000000000;
constexpr std::string_view kNoStack = "[stack not known]";

// An unconfirmed leak is named as one only where the leak profile names it too.
std::string state_label(const Analysis &analysis, const AnalysedThread &thread) {
  const auto state = thread_state(*thread.record, thread.wait, analysis.capture().machine());
  if (thread.confirmed) return state + " (leaked)";
  return thread.leaked && analysis.reports_unconfirmed() ? state + " (leaked, unconfirmed)" : state;
}

} // namespace

std::string make_threads_profile(Analysis &analysis) {
  SampleGroups groups;
  for (const auto &thread : analysis.threads()) {
    SampleKey key;
    key.addresses = thread.addresses;
    key.labels = {{"thread", std::string(thread.name())},
                  {"state", state_label(analysis, thread)},
                  {"created_by", thread.created_by}};
    groups.add(std::move(key), {1}, thread.record->since_ns / kNsPerSecond).tid = thread.record->tid;
  }
  ProfileWriter writer(analysis);
  writer.builder().add_sample_type("threads", "count");
  writer.builder().set_default_sample_type("threads");
  writer.builder().set_period("threads", "count", 1);
  groups.write(writer, kNoStack);
  return std::move(writer).finish();
}

} // namespace castaway
