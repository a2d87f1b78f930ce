#include "profile/leak_profile.h"

#include "profile/profile_comments.h"
#include "profile/sample_groups.h"
#include "profile/saturating.h"
#include "profile/waits.h"

#include <algorithm>
#include <array>

namespace castaway {
namespace {

constexpr uint64_t kNsPerSecond = 1000000000;
constexpr std::string_view kNotSampled = "[allocation not sampled]";
// In INTERFACE's order.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kSampleTypes = {{
    {"leaked_threads", "count"},
    {"retained_space", "bytes"},
    {"leaked_objects", "count"},
    {"leaked_space", "bytes"},
}};

std::string state_label(bool confirmed) { return confirmed ? "confirmed" : "unconfirmed"; }

std::vector<int64_t> values_of(const LeakTotals &totals) {
  return {totals.threads, totals.retained_bytes, totals.objects, totals.bytes};
}

class Maker {
public:
  Maker(Analysis &analysis, const Suppressions &suppressions) : analysis_(analysis), suppressions_(suppressions) {}

  LeakProfile make() {
    for (const auto &thread : analysis_.threads())
      if (thread.leaked) add_thread(thread);
    for (const auto &leak : analysis_.capture().leaks()) add_memory(leak);
    write();
    return std::move(result_);
  }

private:
  void add_thread(const AnalysedThread &thread) {
    const LeakTotals totals{1, saturated(thread.record->retained_bytes), 0, 0};
    if (suppressed(thread)) return count(result_.suppressed, totals);
    SampleKey key;
    key.addresses = thread.addresses;
    key.labels = {{"kind", "thread"},
                  {"wait", std::string(wait_label(thread.wait))},
                  {"reason", std::string(reason_label(thread.record->reason))},
                  {"thread", std::string(thread.name())},
                  {"created_by", thread.created_by},
                  {"state", state_label(thread.confirmed)}};
    auto *sum = add(std::move(key), thread.confirmed, totals, thread.record->since_ns);
    if (sum != nullptr) sum->tid = thread.record->tid;
  }

  void add_memory(const LeakRecord &leak) {
    const LeakTotals totals{0, 0, saturated(leak.objects), saturated(leak.bytes)};
    SampleKey key;
    key.addresses = analysis_.allocation(leak.stack);
    if (matches(key.addresses, &Suppressions::matches_leak)) return count(result_.suppressed, totals);
    const bool confirmed = analysis_.confirmed(leak.first_safepoint);
    key.labels = {
        {"kind", "memory"}, {"leak", leak.indirect != 0 ? "indirect" : "direct"}, {"state", state_label(confirmed)}};
    add(std::move(key), confirmed, totals, leak.age_ns);
  }

  // Null if it is counted only.
  SampleSum *add(SampleKey key, bool confirmed, const LeakTotals &totals, uint64_t age_ns) {
    count(confirmed ? result_.confirmed : result_.unconfirmed, totals);
    if (!confirmed && !analysis_.reports_unconfirmed()) return nullptr;
    return &groups_.add(std::move(key), values_of(totals), age_ns / kNsPerSecond);
  }

  static void count(LeakTotals &sum, const LeakTotals &totals) {
    add_saturated(sum.threads, totals.threads);
    add_saturated(sum.retained_bytes, totals.retained_bytes);
    add_saturated(sum.objects, totals.objects);
    add_saturated(sum.bytes, totals.bytes);
  }

  bool suppressed(const AnalysedThread &thread) {
    return suppressions_.matches_thread(thread.created_by) || matches(thread.addresses, &Suppressions::matches_thread);
  }

  using Match = bool (Suppressions::*)(std::string_view) const;

  // Whether anything that names a frame of this stack matches.
  bool matches(const std::vector<uint64_t> &addresses, Match match) {
    if (suppressions_.empty()) return false;
    for (const auto address : addresses) {
      if ((suppressions_.*match)(analysis_.module_path(address))) return true;
      for (const auto &frame : analysis_.symbols().at(address).frames)
        if ((suppressions_.*match)(frame.function) || (suppressions_.*match)(frame.file)) return true;
    }
    return false;
  }

  void write() {
    ProfileWriter writer(analysis_);
    auto &builder = writer.builder();
    for (const auto &[type, unit] : kSampleTypes) builder.add_sample_type(type, unit);
    const auto totals = groups_.totals();
    const auto first = std::find_if(totals.begin(), totals.end(), [](int64_t total) { return total != 0; });
    const auto index = first == totals.end() ? 0 : static_cast<size_t>(first - totals.begin());
    builder.set_default_sample_type(kSampleTypes[index].first);
    builder.set_period("space", "bytes", saturated(analysis_.capture().number_or("sample_bytes", 0)));
    builder.add_comment(comment_line(kConfirmed, totals_text(result_.confirmed)));
    builder.add_comment(comment_line(kUnconfirmed, totals_text(result_.unconfirmed)));
    builder.add_comment(comment_line(kSuppressed, totals_text(result_.suppressed)));
    groups_.write(writer, kNotSampled);
    result_.bytes = std::move(writer).finish();
  }

  Analysis &analysis_;
  const Suppressions &suppressions_;
  SampleGroups groups_;
  LeakProfile result_;
};

} // namespace

LeakProfile make_leak_profile(Analysis &analysis, const Suppressions &suppressions) {
  return Maker(analysis, suppressions).make();
}

} // namespace castaway
