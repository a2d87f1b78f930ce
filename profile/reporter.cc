#include "profile/reporter.h"

#include "profile/collector_client.h"
#include "profile/earlier_symbols.h"
#include "profile/file.h"
#include "profile/gzip.h"
#include "profile/make_profiles.h"
#include "profile/profile_store.h"
#include "profile/show.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <exception>
#include <fcntl.h>
#include <optional>
#include <set>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace castaway {
namespace {

constexpr uint64_t kDefaultKeep = 24;

std::string number_line(const char *key, int64_t number) {
  return std::string(key) + " " + std::to_string(number) + "\n";
}

std::string totals_lines(const LeakProfile &leak) {
  return number_line("threads", leak.confirmed.threads) + number_line("objects", leak.confirmed.objects) +
         number_line("bytes", leak.confirmed.bytes) + number_line("retained", leak.confirmed.retained_bytes) +
         number_line("unconfirmed_threads", leak.unconfirmed.threads) +
         number_line("unconfirmed_objects", leak.unconfirmed.objects) +
         number_line("unconfirmed_bytes", leak.unconfirmed.bytes) +
         number_line("unconfirmed_retained", leak.unconfirmed.retained_bytes);
}

struct Outcome {
  std::string lines;
  std::string trouble; // the first one
  void fail(const std::string &text) {
    if (trouble.empty()) trouble = text;
  }
};

// For a process that the output directory refuses: the collector stores the profile, if there is one.
Result<StoredProfile> hand_over(const Capture &capture, const CollectorRequest &request, std::string_view bytes,
                                const std::string &refusal) {
  const auto address = parse_collector_address(capture.fact("collector"));
  if (address) return hand_to_collector(*address, request, bytes);
  return Error{refusal + "; start it with castaway run as root, which writes for processes that change their user"};
}

// Compresses and stores one profile; its name, or nothing and trouble.
std::string store(const ProfileStore &files, const Capture &capture, std::string_view kind, std::string_view bytes,
                  bool is_replay, Outcome &outcome) {
  const auto compressed = gzip(bytes);
  if (!compressed) return outcome.fail(compressed.error()), "";
  const auto keep = std::max<uint64_t>(capture.number_or("keep", kDefaultKeep), 1);
  const auto seq = capture.number_or("safepoint", 0);
  auto stored = files.put(kind, seq, keep, *compressed);
  if (!stored && !is_replay && files.is_denied())
    stored = hand_over(
        capture, {"", safe_comm(capture.fact("comm")), capture.number_or("pid", 0), std::string(kind), seq, keep, 0},
        *compressed, stored.error());
  if (!stored) return outcome.fail(stored.error()), "";
  if (!stored->trouble.empty()) outcome.fail(stored->trouble);
  return stored->name;
}

// What earlier profiles know of this process' code: its own last ones, and where those do not say it, older ones and
// some of processes that are called alike. They only save work: whatever is wrong with them, this report is made.
class EarlierProfiles {
public:
  EarlierProfiles(const ProfileStore &files, uint64_t seq) : files_(files), seq_(seq) {
    for (const auto *kind : kKinds) add(files_.earlier(kind, seq));
    symbols_.set_source([this](EarlierSymbols &) { return add_more(); });
  }
  EarlierSymbols &symbols() { return symbols_; }

private:
  static constexpr const char *kKinds[] = {"leak", "threads"};
  // A server's workers differ little, and a small profile is read in less time than any debug information.
  static constexpr size_t kMostOfAKind = 32, kMostBytes = size_t(256) << 10;
  // What a thread that runs is doing now it did a while ago.
  static constexpr uint64_t kFurthestBack = 8;

  void add(std::span<const std::byte> bytes) {
    bytes_read_ += bytes.size();
    try {
      if (const auto profile = parse_profile(bytes)) symbols_.add(*profile);
    } catch (const std::bad_alloc &) { // what it knew is looked up
    }
  }
  // Workers that were started together make their first reports together. So whoever finds an address nowhere goes on
  // alone, having looked once more; who waits for that finds it in this one's profile.
  bool add_more() {
    if (add_listed()) return true;
    if (alone_) return false;
    alone_ = files_.hold();
    listed_ = false;
    return add_listed();
  }
  bool add_listed() {
    if (!listed_) list();
    if (next_ == names_.size() || bytes_read_ > kMostBytes) return false;
    seen_.insert(names_[next_]);
    add(files_.read(names_[next_++]));
    return true;
  }
  // Those that have not been read.
  void list() {
    listed_ = true;
    next_ = 0;
    names_.clear();
    for (uint64_t back = 2; back <= kFurthestBack && back < seq_; back++) list(files_.name_of("threads", seq_ - back));
    for (const auto *kind : {"threads", "leak"}) {
      auto of_kind = files_.siblings(kind);
      of_kind.resize(std::min(of_kind.size(), kMostOfAKind));
      for (const auto &name : of_kind) list(name);
    }
  }
  void list(const std::string &name) {
    if (!seen_.contains(name)) names_.push_back(name);
  }

  const ProfileStore &files_;
  EarlierSymbols symbols_;
  uint64_t seq_;
  std::vector<std::string> names_;
  std::set<std::string> seen_;
  std::optional<Descriptor> alone_; // once it was asked for
  bool listed_ = false;
  size_t next_ = 0, bytes_read_ = 0;
};

void report_capture(std::span<const std::byte> bytes, int output_fd, bool is_replay, Outcome &outcome) {
  const auto capture = Capture::read(bytes);
  if (!capture) return outcome.fail(capture.error());
  const ProfileStore files(output_fd, capture->fact("comm"), capture->number_or("pid", 0));
  std::optional<EarlierProfiles> earlier;
  if (capture->fact("symbolize") != "off") earlier.emplace(files, capture->number_or("safepoint", 0));
  const auto profiles = make_profiles(*capture, earlier ? &earlier->symbols() : nullptr);
  const auto name = store(files, *capture, "leak", profiles.leak.bytes, is_replay, outcome);
  store(files, *capture, "threads", profiles.threads, is_replay, outcome);
  if (!profiles.trouble.empty()) outcome.fail(profiles.trouble);
  if (!name.empty()) outcome.lines += "profile " + printable(std::string(capture->fact("output")) + "/" + name) + "\n";
  outcome.lines += totals_lines(profiles.leak);
}

// A replay may be of another machine's capture: no collector is asked.
Outcome make_report(int capture_fd, int output_fd, bool is_replay) {
  Outcome outcome;
  const auto bytes = map_descriptor(capture_fd);
  if (!bytes) {
    outcome.fail("capture: " + bytes.error());
    return outcome;
  }
  // A full disk or a size limit shall give an error, not end the process.
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  try {
    report_capture(*bytes, output_fd, is_replay, outcome);
  } catch (const std::exception &exception) {
    outcome.fail(std::string("the report failed: ") + exception.what());
  }
  std::signal(SIGXFSZ, old_handler);
  munmap(const_cast<std::byte *>(bytes->data()), bytes->size());
  return outcome;
}

std::string result_text(const Outcome &outcome) {
  if (outcome.trouble.empty()) return outcome.lines;
  return outcome.lines + "trouble " + printable(outcome.trouble) + "\n";
}

} // namespace

int report(const ReportRequest &request) {
  const auto outcome = make_report(request.capture_fd, request.output_fd, false);
  bool told = true;
  if (request.result_fd >= 0) told = write_all(request.result_fd, result_text(outcome)) == 0;
  return outcome.trouble.empty() && told ? 0 : 1;
}

Result<std::string> report_file(const std::string &path, const std::string &outdir) {
  const auto capture = open_file(path);
  if (!capture) return Error{capture.error()};
  const Descriptor directory(open(outdir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.ok()) return Error{outdir + ": " + os_error(errno)};
  return result_text(make_report(capture->get(), directory.get(), true));
}

} // namespace castaway
