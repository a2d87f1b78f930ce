// The summary for a terminal. See show_forms.h.
#include "profile/demangle.h"
#include "profile/profile_comments.h"
#include "profile/runtime_frames.h"
#include "profile/show_forms.h"
#include "profile/waits.h"

#include <algorithm>
#include <cstdio>

namespace castaway {
namespace {

constexpr size_t kFramesPerSite = 8;

enum class Colour { plain, bold, red, yellow, faint };

class Summary {
public:
  Summary(const ProfileData &profile, const ShowOptions &options) : profile_(profile), options_(options) {}

  std::string text() {
    header();
    if (profile_.kind == ProfileKind::leak) leak_totals_lines();
    sites();
    footer();
    return std::move(text_);
  }

private:
  std::string painted(Colour colour, const std::string &text) const {
    if (!options_.colour) return text;
    switch (colour) {
    case Colour::plain:
      return text;
    case Colour::bold:
      return "\033[1m" + text + "\033[0m";
    case Colour::red:
      return "\033[1;31m" + text + "\033[0m";
    case Colour::yellow:
      return "\033[33m" + text + "\033[0m";
    case Colour::faint:
      return "\033[2m" + text + "\033[0m";
    }
    return text;
  }

  void line(const std::string &text) { text_ += text + "\n"; }

  void header() {
    const auto program = profile_.comment(kProgram);
    if (!program.empty()) line(painted(Colour::bold, printable(program)));
    std::string facts;
    for (const auto key : {kSafepoint, kThreads, kHeap, kPause})
      if (!profile_.comment(key).empty())
        facts += (facts.empty() ? "" : " · ") + std::string(key) + " " + printable(profile_.comment(key));
    if (!facts.empty()) line(painted(Colour::faint, facts));
    const auto refuted = profile_.comment(kRefuted);
    if (!refuted.empty() && refuted != kNothingRefuted)
      line(painted(Colour::yellow, "refuted " + printable(refuted) + ": reported as leaked, and came to life"));
    if (profile_.kind == ProfileKind::threads) line(std::to_string(thread_total(profile_)) + " threads");
  }

  static std::string counted(int64_t count, const std::string &word) {
    return std::to_string(count) + " " + word + (count == 1 ? "" : "s");
  }

  static std::string impact(const LeakTotals &totals) {
    std::string text;
    if (totals.threads != 0)
      text = counted(totals.threads, "leaked thread") + ", " + human_bytes(totals.retained_bytes) + " retained";
    if (totals.objects != 0)
      text += (text.empty() ? "" : "; ") + counted(totals.objects, "leaked block") + ", " + human_bytes(totals.bytes);
    return text;
  }

  void leak_totals_lines() {
    const auto confirmed = leak_totals(profile_, LeakState::confirmed);
    const auto unconfirmed = leak_totals(profile_, LeakState::unconfirmed);
    const auto suppressed = suppressed_totals(profile_);
    if (confirmed.any()) line(painted(Colour::red, impact(confirmed)));
    if (unconfirmed.any()) line(painted(Colour::yellow, impact(unconfirmed) + " (unconfirmed: found once so far)"));
    if (!confirmed.any() && !unconfirmed.any()) line("no leaks found");
    if (suppressed.any()) line(painted(Colour::faint, impact(suppressed) + " (suppressed, not shown)"));
  }

  // "12 × thread, mutex lock, deadlock, 5m03s"
  std::string title(const ProfileSample &sample) const {
    const auto totals = sample_totals(profile_, sample);
    std::string text = impact(totals);
    if (profile_.kind != ProfileKind::leak) {
      const auto value = sample.values[profile_.default_sample_type];
      text = profile_.kind == ProfileKind::threads ? counted(value, "thread") : std::to_string(value);
    }
    for (const auto &part :
         {std::string(sample.label("thread").empty() ? "" : "\"" + printable(sample.label("thread")) + "\""),
          printable(wait_words(sample.label("wait"))), printable(sample.label("reason")),
          std::string(sample.label("leak") == "indirect" ? "reached by other leaks only" : ""),
          std::string(profile_.kind == ProfileKind::threads ? printable(sample.label("state")) : "")})
      if (!part.empty()) text += ", " + part;
    if (const auto age = sample.number("age"); age && *age > 0) text += ", for " + human_age(*age);
    if (sample.label("state") == "unconfirmed") text += ", unconfirmed";
    return text;
  }

  std::string frame_text(const ProfileFrame &frame) const {
    std::string text = printable(without_template_arguments(frame.function));
    if (!frame.file.empty())
      text += painted(Colour::faint, "  " + printable(frame.file) + ":" + std::to_string(frame.line));
    else if (!frame.module.empty())
      text += painted(Colour::faint, "  " + printable(file_name(frame.module)));
    return text;
  }

  // From the site outwards, without what libraries put between two functions of the program's.
  void site(const ProfileSample &sample) {
    line("");
    const auto frames = profile_.frames(sample);
    line(painted(Colour::bold, title(sample)));
    if (frames.empty()) return;
    const auto first = site_frame(frames);
    line("    " + frame_text(frames[first]));
    size_t shown = 1;
    size_t left_out = 0;
    for (size_t i = first + 1; i < frames.size(); i++) {
      const bool wanted = shown < kFramesPerSite && !is_runtime_frame(frames[i].function, frames[i].module);
      if (wanted) line("    " + frame_text(frames[i]));
      (wanted ? shown : left_out)++;
    }
    if (left_out != 0) line("    " + painted(Colour::faint, std::to_string(left_out) + " more"));
    const auto creator = without_template_arguments(sample.label("created_by"));
    if (!creator.empty()) line("    " + painted(Colour::faint, "created by " + printable(creator)));
  }

  void sites() {
    const auto samples = by_impact(profile_);
    const auto shown = std::min(samples.size(), options_.sites);
    for (size_t i = 0; i < shown; i++) site(*samples[i]);
    if (shown < samples.size()) line("\n" + std::to_string(samples.size() - shown) + " more, with less impact each");
  }

  void footer() {
    const auto notes = profile_.notes();
    if (!notes.empty()) line("\n" + painted(Colour::yellow, "incomplete:"));
    for (const auto note : notes) line("  " + printable(note));
    if (!options_.path.empty() && !profile_.samples.empty())
      line("\n" + painted(Colour::faint, "more: go tool pprof -http=: " + printable(options_.path)));
  }

  const ProfileData &profile_;
  const ShowOptions &options_;
  std::string text_;
};

} // namespace

std::string show_summary(const ProfileData &profile, const ShowOptions &options) {
  return Summary(profile, options).text();
}

} // namespace castaway
