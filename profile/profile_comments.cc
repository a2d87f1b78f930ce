#include "profile/profile_comments.h"

#include "profile/saturating.h"
#include "profile/show.h"
#include "profile/text.h"

#include <cstdio>

namespace castaway {
namespace {

std::string milliseconds(uint64_t ns) {
  char text[32];
  snprintf(text, sizeof text, "%.1f ms", static_cast<double>(ns) / 1e6);
  return text;
}

std::string mebibytes(uint64_t bytes) {
  char text[32];
  snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

std::string or_zero(std::string_view number) { return number.empty() ? "0" : std::string(number); }

std::string program_of(const Capture &capture) {
  for (const auto *key : {"command", "exe", "comm"})
    if (!capture.fact(key).empty()) return std::string(capture.fact(key));
  return "unknown";
}

std::string stopped_by(std::string_view method) {
  if (method.empty()) return "";
  return ", threads stopped by " + std::string(method);
}

// The next number in `text`, which is moved behind it.
int64_t next_number(std::string_view &text) {
  constexpr std::string_view digits = "0123456789";
  text.remove_prefix(std::min(text.find_first_of(digits), text.size()));
  const auto length = std::min(text.find_first_not_of(digits), text.size());
  const auto value = parse_decimal(text.substr(0, length)).value_or(0);
  text.remove_prefix(length);
  return saturated(value);
}

} // namespace

std::string comment_line(std::string_view key, std::string_view value) {
  return std::string(key) + ": " + std::string(value);
}

std::vector<std::string> capture_comments(const Capture &capture, const std::vector<std::string> &notes) {
  const auto fact = [&](const char *key) { return or_zero(capture.fact(key)); };
  std::vector<std::string> comments = {
      comment_line(kProgram, program_of(capture)),
      comment_line(kProcess, std::string(capture.fact("comm")) + " " + fact("pid")),
      comment_line(kSafepoint, fact("safepoint") + ", " + std::string(capture.fact("trigger"))),
      comment_line(kThreads, std::to_string(capture.threads().size())),
      comment_line(kPause, milliseconds(capture.number_or("pause_ns", 0)) + stopped_by(capture.fact("stop"))),
      comment_line(kMark, milliseconds(capture.number_or("mark_ns", 0))),
      comment_line(kHeap, fact("heap_blocks") + " blocks, " + fact("heap_bytes") + " bytes"),
      comment_line(kConfirm, fact("confirm")),
      comment_line(kRefuted, fact("refuted_threads") + " threads, " + fact("refuted_blocks") + " blocks"),
  };
  if (const auto bytes = capture.number("scan_bytes"))
    comments.push_back(
        comment_line(kScan, mebibytes(*bytes) + " of memory" +
                                (capture.number_or("shared_spared", 0) ? ", none for shared memory" : "")));
  if (!capture.fact("faults_after").empty())
    comments.push_back(comment_line(kAfter, fact("faults_after") + " page faults in the " +
                                                milliseconds(capture.number_or("after_ns", 0)) + " since the pause"));
  if (!capture.fact("question").empty()) comments.push_back(comment_line(kQuestion, capture.fact("question")));
  for (const auto &note : notes) comments.push_back(comment_line(kNote, printable(note)));
  return comments;
}

std::string totals_text(const LeakTotals &totals) {
  return std::to_string(totals.threads) + " threads, " + std::to_string(totals.retained_bytes) + " bytes retained, " +
         std::to_string(totals.objects) + " objects, " + std::to_string(totals.bytes) + " bytes";
}

LeakTotals parse_totals(std::string_view text) {
  LeakTotals totals;
  totals.threads = next_number(text);
  totals.retained_bytes = next_number(text);
  totals.objects = next_number(text);
  totals.bytes = next_number(text);
  return totals;
}

} // namespace castaway
