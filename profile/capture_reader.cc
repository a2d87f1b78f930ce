#include "profile/capture_reader.h"

#include "profile/text.h"

#include <cstring>

namespace castaway {
namespace {

constexpr size_t kAlignment = 8;

size_t padded(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
}

// Copied out, because nothing says that the bytes are aligned.
template <typename T> T copy_at(std::span<const std::byte> bytes, size_t offset) {
  T value;
  memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <typename T> std::vector<T> copy_records(std::span<const std::byte> payload) {
  std::vector<T> records(payload.size() / sizeof(T));
  if (!records.empty()) memcpy(records.data(), payload.data(), records.size() * sizeof(T));
  return records;
}

Error number_error(const char *what, size_t number, std::string why) {
  return {"capture: " + std::string(what) + " " + std::to_string(number) + ": " + std::move(why)};
}

std::optional<Error> check_header(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(CaptureHeader))
    return Error{"capture is truncated: " + std::to_string(bytes.size()) + " bytes, shorter than its header"};
  const auto header = copy_at<CaptureHeader>(bytes, 0);
  if (memcmp(header.magic, kCaptureMagic, sizeof kCaptureMagic) != 0) return Error{"not a capture: wrong magic"};
  if (header.version != kCaptureVersion)
    return Error{"capture has version " + std::to_string(header.version) + "; this program reads version " +
                 std::to_string(kCaptureVersion)};
  if (header.machine != Machine::x86_64 && header.machine != Machine::aarch64)
    return Error{"capture is from an unknown kind of machine: " +
                 std::to_string(static_cast<uint32_t>(header.machine))};
  if (header.total_size > bytes.size())
    return Error{"capture is truncated: it has " + std::to_string(bytes.size()) + " of " +
                 std::to_string(header.total_size) + " bytes"};
  if (header.total_size < sizeof(CaptureHeader))
    return Error{"capture's total size is wrong: " + std::to_string(header.total_size)};
  return std::nullopt;
}

std::optional<Error> check_thread(const ThreadRecord &thread, size_t index, size_t stack_section) {
  if (memchr(thread.name, 0, sizeof thread.name) == nullptr)
    return number_error("thread", index, "its name has no end");
  if (thread.wait > WaitKind::futex)
    return number_error("thread", index, "unknown wait " + std::to_string(static_cast<int>(thread.wait)));
  if (thread.reason > Reason::behind)
    return number_error("thread", index, "unknown reason " + std::to_string(static_cast<int>(thread.reason)));
  if (thread.stack_offset > stack_section || thread.stack_size > stack_section - thread.stack_offset)
    return number_error("thread", index, "its stack lies outside of the copied bytes");
  if (thread.stack_address + thread.stack_size < thread.stack_address)
    return number_error("thread", index, "its stack goes past the end of the address space");
  return std::nullopt;
}

} // namespace

// One payload per known type; each may be there once.
struct Capture::Sections {
  std::map<SectionType, std::span<const std::byte>> payload;

  std::optional<Error> split(std::span<const std::byte> rest) {
    while (!rest.empty()) {
      if (rest.size() < sizeof(SectionHeader)) return Error{"capture is truncated in a section's header"};
      const auto header = copy_at<SectionHeader>(rest, 0);
      rest = rest.subspan(sizeof header);
      const auto number = std::to_string(static_cast<uint32_t>(header.type));
      if (header.size > rest.size()) return Error{"capture: section " + number + " goes past the capture's end"};
      if (!payload.emplace(header.type, rest.first(header.size)).second)
        return Error{"capture: section " + number + " is there twice"};
      rest = rest.subspan(std::min(padded(header.size), rest.size()));
    }
    return std::nullopt;
  }

  std::span<const std::byte> operator[](SectionType type) const {
    const auto found = payload.find(type);
    return found == payload.end() ? std::span<const std::byte>() : found->second;
  }
};

Result<Capture> Capture::read(std::span<const std::byte> bytes) {
  if (auto error = check_header(bytes)) return *error;
  const auto header = copy_at<CaptureHeader>(bytes, 0);
  Sections sections;
  if (auto error = sections.split(bytes.subspan(sizeof header, header.total_size - sizeof header))) return *error;

  Capture capture;
  capture.machine_ = header.machine;
  capture.maps_ = as_text(sections[SectionType::maps]);
  capture.stack_bytes_ = sections[SectionType::stack_bytes];
  capture.read_notes(as_text(sections[SectionType::notes]));
  if (auto error = capture.read_facts(as_text(sections[SectionType::facts]))) return *error;
  if (auto error = capture.read_threads(sections[SectionType::threads])) return *error;
  if (auto error = capture.read_call_stacks(sections[SectionType::call_stacks])) return *error;
  if (auto error = capture.read_leaks(sections[SectionType::leaks])) return *error;
  if (auto error = capture.read_chain(sections[SectionType::chain])) return *error;
  return capture;
}

std::optional<Error> Capture::read_facts(std::string_view text) {
  for (const auto line : lines_of(text)) {
    const auto space = line.find(' ');
    if (space == 0) return Error{"capture: a fact has no key"};
    const auto key = line.substr(0, space);
    const auto value = space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
    facts_.insert_or_assign(std::string(key), std::string(value));
  }
  for (const auto *key : {"pid", "safepoint"})
    if (!number(key)) return Error{std::string("capture: the fact `") + key + "` is missing or no number"};
  return std::nullopt;
}

std::optional<Error> Capture::read_threads(std::span<const std::byte> payload) {
  if (payload.size() % sizeof(ThreadRecord) != 0) return Error{"capture: the last thread is cut off"};
  threads_ = copy_records<ThreadRecord>(payload);
  for (size_t i = 0; i < threads_.size(); i++)
    if (auto error = check_thread(threads_[i], i, stack_bytes_.size())) return error;
  return std::nullopt;
}

std::optional<Error> Capture::read_call_stacks(std::span<const std::byte> payload) {
  for (size_t index = 0; !payload.empty(); index++) {
    if (payload.size() < sizeof(CallStack)) return number_error("call stack", index, "it is cut off");
    const auto stack = copy_at<CallStack>(payload, 0);
    payload = payload.subspan(sizeof stack);
    if (stack.id == 0) return number_error("call stack", index, "it has the id 0");
    if (stack.depth > payload.size() / sizeof(uint64_t))
      return number_error("call stack", index, "it goes past the section's end");
    if (!call_stacks_.emplace(stack.id, CallStackPlace{pcs_.size(), stack.depth}).second)
      return number_error("call stack", index, "its id " + std::to_string(stack.id) + " is there twice");
    const auto pcs = copy_records<uint64_t>(payload.first(stack.depth * sizeof(uint64_t)));
    pcs_.insert(pcs_.end(), pcs.begin(), pcs.end());
    payload = payload.subspan(stack.depth * sizeof(uint64_t));
  }
  return std::nullopt;
}

std::optional<Error> Capture::read_leaks(std::span<const std::byte> payload) {
  if (payload.size() % sizeof(LeakRecord) != 0) return Error{"capture: the last leak is cut off"};
  leaks_ = copy_records<LeakRecord>(payload);
  for (size_t i = 0; i < leaks_.size(); i++)
    if (leaks_[i].indirect > 1)
      return number_error("leak", i, "neither direct nor indirect: " + std::to_string(leaks_[i].indirect));
  return std::nullopt;
}

std::optional<Error> Capture::read_chain(std::span<const std::byte> payload) {
  if (payload.size() % sizeof(ChainLink) != 0 || payload.size() > kMostLinks * sizeof(ChainLink))
    return Error{"capture: the chain is cut off or too long"};
  chain_ = copy_records<ChainLink>(payload);
  for (size_t i = 0; i < chain_.size(); i++)
    if (chain_[i].kind < LinkKind::block || chain_[i].kind > LinkKind::leaked || chain_[i].cause > Cause::other_thread)
      return number_error("link", i, "unknown kind or cause");
  return std::nullopt;
}

void Capture::read_notes(std::string_view text) {
  for (const auto line : lines_of(text))
    if (!line.empty()) notes_.push_back(line);
}

std::string_view Capture::fact(std::string_view key) const {
  const auto found = facts_.find(key);
  return found == facts_.end() ? std::string_view() : std::string_view(found->second);
}

std::optional<uint64_t> Capture::number(std::string_view key) const { return parse_decimal(fact(key)); }

std::span<const std::byte> Capture::stack_of(const ThreadRecord &thread) const {
  return stack_bytes_.subspan(thread.stack_offset, thread.stack_size);
}

std::span<const uint64_t> Capture::call_stack(uint32_t id) const {
  const auto found = call_stacks_.find(id);
  if (found == call_stacks_.end()) return {};
  return std::span(pcs_).subspan(found->second.first, found->second.depth);
}

} // namespace castaway
