// The capture reader: bytes in, a checked view of one safepoint out.
//
// The bytes are hostile: a capture can come from a corrupted process or another machine. After read() has given a
// Capture every count, offset, enumerator and string in it is good; what refers to nothing (a call stack that is
// missing) reads as not known, since losing one stack must not lose the profile.
//
// Owner: the caller, who also keeps the bytes alive as long as the Capture. Immutable. OFFLINE.
#pragma once

#include "profile/result.h"
#include "scanner/capture.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace castaway {

class Capture {
public:
  static Result<Capture> read(std::span<const std::byte> bytes);

  Machine machine() const { return machine_; }
  // Empty or nullopt if the capture does not have it, or has no number there.
  std::string_view fact(std::string_view key) const;
  std::optional<uint64_t> number(std::string_view key) const;
  uint64_t number_or(std::string_view key, uint64_t fallback) const { return number(key).value_or(fallback); }

  std::string_view maps() const { return maps_; }
  const std::vector<ThreadRecord> &threads() const { return threads_; }
  const std::vector<LeakRecord> &leaks() const { return leaks_; }
  const std::vector<std::string_view> &notes() const { return notes_; }
  // The answer to the fact `question`, empty if nobody asked.
  const std::vector<ChainLink> &chain() const { return chain_; }
  // The copied bytes of its stack, from stack_address upwards.
  std::span<const std::byte> stack_of(const ThreadRecord &thread) const;
  // Innermost first; empty for id 0 and for ids that the capture does not have.
  std::span<const uint64_t> call_stack(uint32_t id) const;
  // The return addresses of all of them.
  std::span<const uint64_t> all_call_stacks() const { return pcs_; }

private:
  struct Sections;
  struct CallStackPlace {
    size_t first;
    size_t depth;
  };

  std::optional<Error> read_facts(std::string_view text);
  std::optional<Error> read_threads(std::span<const std::byte> payload);
  std::optional<Error> read_call_stacks(std::span<const std::byte> payload);
  std::optional<Error> read_leaks(std::span<const std::byte> payload);
  std::optional<Error> read_chain(std::span<const std::byte> payload);
  void read_notes(std::string_view text);

  Machine machine_ = Machine::x86_64;
  std::map<std::string, std::string, std::less<>> facts_;
  std::string_view maps_;
  std::vector<std::string_view> notes_;
  std::vector<ThreadRecord> threads_;
  std::span<const std::byte> stack_bytes_;
  std::vector<uint64_t> pcs_; // of all call stacks
  std::unordered_map<uint32_t, CallStackPlace> call_stacks_;
  std::vector<LeakRecord> leaks_;
  std::vector<ChainLink> chain_;
};

} // namespace castaway
