// What a reporter and the collector say to each other: the form of it, as bytes; who sends them is elsewhere.
//
// A reporter whose process has changed its user cannot write to the output directory. It connects to the collector, a
// process of the one who started the program (tools/collector.h), and sends a header of kCollectorHeaderSize bytes and
// the profile. The answer is one line. A conversation is about one profile.
//
//   castaway1 SECRET COMM PID KIND SEQ KEEP SIZE\n   zeros up to kCollectorHeaderSize, SIZE bytes of gzip
//   ok NAME\n   |   ok NAME TROUBLE\n   |   no ERROR\n
//
// Both sides are hostile to each other: the header may come from any process of the machine, the answer from whoever
// has taken the collector's name. Decoding takes exactly what encoding makes, and fails in one line. Pure; any thread;
// OFFLINE.
#pragma once

#include "profile/profile_store.h"
#include "profile/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace castaway {

inline constexpr size_t kCollectorHeaderSize = 256;
inline constexpr size_t kMostCollectorAnswer = 512; // bytes, with the newline
inline constexpr uint64_t kMostCollectedBytes = uint64_t{64} << 20;

// CASTAWAY_COLLECTOR and the fact of that name: NAME:SECRET, each 128 random bits in lower-case hexadecimal. The name
// stands in /proc/net/unix for all to see; the secret is what admits.
struct CollectorAddress {
  std::string name;
  std::string secret;

  std::string text() const { return name + ":" + secret; }
  // The address of the abstract socket, behind its leading zero.
  std::string socket_name() const { return "castaway." + name; }
};
std::optional<CollectorAddress> parse_collector_address(std::string_view text);

struct CollectorRequest {
  std::string secret;
  std::string comm; // [A-Za-z0-9._-]{1,64}, not starting with a dot
  uint64_t pid = 0;
  std::string kind; // leak | threads
  uint64_t seq = 0;
  uint64_t keep = 0;
  uint64_t size = 0; // of the profile that follows
};

// An Error where a field is not what decoding would take.
Result<std::string> encode_request(const CollectorRequest &request);
Result<CollectorRequest> decode_request(std::string_view header);

// In a time that does not depend on where they differ.
bool is_same_secret(std::string_view a, std::string_view b);

std::string encode_answer(const Result<StoredProfile> &answer);
Result<StoredProfile> decode_answer(std::string_view line);

} // namespace castaway
