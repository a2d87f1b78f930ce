#include "profile/collector_protocol.h"

#include "profile/text.h"

#include <algorithm>

namespace castaway {
namespace {

constexpr std::string_view kMagic = "castaway1";
constexpr size_t kSecretSize = 32; // hexadecimal digits
constexpr size_t kLongestComm = 64;
constexpr size_t kLongestName = 160; // of a profile: COMM, two numbers, a kind and the suffix
constexpr uint64_t kGreatestPid = 1 << 22;
constexpr uint64_t kGreatestSeq = uint64_t{1} << 48;
constexpr uint64_t kGreatestKeep = 1'000'000; // as the runtime reads CASTAWAY_KEEP

bool is_secret(std::string_view text) {
  return text.size() == kSecretSize && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Fit to be (a part of) a file's name in the output directory, one that can neither leave it nor hide.
bool is_plain_name(std::string_view text, size_t longest) {
  return !text.empty() && text.size() <= longest && text[0] != '.' && safe_comm(text) == text;
}

bool is_kind(std::string_view text) { return text == "leak" || text == "threads"; }

// What is wrong with it; empty if nothing is.
std::string fault_of(const CollectorRequest &request) {
  if (!is_secret(request.secret)) return "no secret";
  if (!is_plain_name(request.comm, kLongestComm)) return "a name that no file can have";
  if (request.pid < 1 || request.pid > kGreatestPid) return "a pid out of range";
  if (!is_kind(request.kind)) return "an unknown kind of profile";
  if (request.seq > kGreatestSeq) return "a safepoint's number out of range";
  if (request.keep < 1 || request.keep > kGreatestKeep) return "a number of profiles to keep out of range";
  if (request.size < 1 || request.size > kMostCollectedBytes)
    return "a profile of " + std::to_string(request.size) + " bytes, accepted are 1 to " +
           std::to_string(kMostCollectedBytes);
  return "";
}

Error refusal(const std::string &fault) { return {"the collector takes no request with " + fault}; }

// The next word, and its blank with it.
std::string word(std::string_view &line) { return std::string(take_until(line, ' ')); }

// No number reads as one that is out of every range.
uint64_t number(std::string_view &line) { return parse_decimal(take_until(line, ' ')).value_or(UINT64_MAX); }

std::string line_of(const CollectorRequest &request) {
  std::string line(kMagic);
  for (const std::string &field :
       {request.secret, request.comm, std::to_string(request.pid), request.kind, std::to_string(request.seq),
        std::to_string(request.keep), std::to_string(request.size)})
    line += " " + field;
  return line + "\n";
}

// One line of printable bytes, as long as an answer may be.
std::string tame(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text.substr(0, kMostCollectorAnswer / 2);
}

} // namespace

std::optional<CollectorAddress> parse_collector_address(std::string_view text) {
  CollectorAddress address{std::string(take_until(text, ':')), std::string(text)};
  if (!is_secret(address.name) || !is_secret(address.secret)) return std::nullopt;
  return address;
}

Result<std::string> encode_request(const CollectorRequest &request) {
  if (const auto fault = fault_of(request); !fault.empty()) return refusal(fault);
  auto header = line_of(request);
  header.resize(kCollectorHeaderSize, '\0');
  return header;
}

Result<CollectorRequest> decode_request(std::string_view header) {
  if (header.size() != kCollectorHeaderSize) return refusal("a truncated header");
  auto line = header.substr(0, header.find('\n'));
  if (word(line) != kMagic) return refusal("an unknown header");
  CollectorRequest request;
  request.secret = word(line);
  request.comm = word(line);
  request.pid = number(line);
  request.kind = word(line);
  request.seq = number(line);
  request.keep = number(line);
  request.size = number(line);
  if (const auto fault = fault_of(request); !fault.empty()) return refusal(fault);
  // Nothing else says the same: no leading zeros, no further words, nothing behind the line.
  const auto same = encode_request(request);
  if (!same || *same != header) return refusal("an unknown header");
  return request;
}

bool is_same_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference = difference | static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::string encode_answer(const Result<StoredProfile> &answer) {
  if (!answer) return "no " + tame(answer.error()) + "\n";
  const auto trouble = tame(answer->trouble);
  return "ok " + answer->name + (trouble.empty() ? "" : " " + trouble) + "\n";
}

Result<StoredProfile> decode_answer(std::string_view line) {
  const Error unknown{"the collector's answer cannot be read"};
  if (line.empty() || line.size() > kMostCollectorAnswer || line.find('\n') != line.size() - 1) return unknown;
  line.remove_suffix(1);
  const auto verdict = take_until(line, ' ');
  if (verdict == "no" && !line.empty()) return Error{tame(std::string(line))};
  const auto name = take_until(line, ' ');
  if (verdict != "ok" || !is_plain_name(name, kLongestName)) return unknown;
  return StoredProfile{std::string(name), tame(std::string(line))};
}

} // namespace castaway
