// CaptureBuilder: captures made by hand, for tests and fuzzers of everything that reads one.
#pragma once

#include "scanner/capture.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace castaway {

class CaptureBuilder {
public:
  // With the facts that every capture has.
  CaptureBuilder() {
    for (const auto &[key, value] : {std::pair("comm", "server"),
                                     {"pid", "4242"},
                                     {"command", "./server --port 80"},
                                     {"safepoint", "7"},
                                     {"confirm", "2"},
                                     {"trigger", "periodic"},
                                     {"stop", "ptrace"},
                                     {"keep", "3"},
                                     {"pause_ns", "2500000"},
                                     {"wall_ns", "1700000000000000000"},
                                     {"heap_blocks", "1000"},
                                     {"heap_bytes", "65536"},
                                     {"sample_bytes", "524288"}})
      fact(key, value);
  }

  // The last value of a key is the one that counts.
  CaptureBuilder &fact(std::string_view key, std::string_view value) {
    facts_ += std::string(key) + " " + std::string(value) + "\n";
    return *this;
  }

  CaptureBuilder &maps(std::string_view text) {
    maps_ = text;
    return *this;
  }

  CaptureBuilder &note(std::string_view text) {
    notes_ += std::string(text) + "\n";
    return *this;
  }

  // A thread that waits on nothing, with its tid and name; change the rest through the reference.
  ThreadRecord &thread(int32_t tid, std::string_view name, std::span<const std::byte> stack = {}) {
    ThreadRecord record = {};
    record.tid = tid;
    memcpy(record.name, name.data(), std::min(name.size(), sizeof record.name - 1));
    record.state = 'S';
    record.system_call = -1;
    record.stack_offset = stack_bytes_.size();
    record.stack_size = stack.size();
    stack_bytes_.insert(stack_bytes_.end(), stack.begin(), stack.end());
    threads_.push_back(record);
    return threads_.back();
  }

  // Leaked since safepoint `since`, waiting on a mutex.
  ThreadRecord &leaked_thread(int32_t tid, std::string_view name, uint64_t since) {
    auto &record = thread(tid, name);
    record.flags = kThreadLeaked | kThreadWaiter;
    record.wait = WaitKind::mutex;
    record.reason = Reason::unreachable;
    record.first_safepoint = since;
    return record;
  }

  CaptureBuilder &call_stack(uint32_t id, const std::vector<uint64_t> &pcs) {
    append(call_stacks_, CallStack{id, static_cast<uint32_t>(pcs.size())});
    for (const auto pc : pcs) append(call_stacks_, pc);
    return *this;
  }

  CaptureBuilder &leak(uint32_t stack, uint64_t since, uint64_t objects, uint64_t bytes, bool indirect = false,
                       uint64_t age_ns = 0) {
    LeakRecord record = {};
    record.stack = stack;
    record.indirect = indirect ? 1 : 0;
    record.first_safepoint = since;
    record.objects = objects;
    record.bytes = bytes;
    record.age_ns = age_ns;
    append(leaks_, record);
    return *this;
  }

  // Any payload under any type, behind the others.
  CaptureBuilder &section(SectionType type, const std::vector<std::byte> &payload) {
    extra_.emplace_back(type, payload);
    return *this;
  }

  std::vector<std::byte> build() const {
    std::vector<std::byte> out(sizeof(CaptureHeader));
    add_section(out, SectionType::facts, std::as_bytes(std::span(facts_)));
    add_section(out, SectionType::maps, std::as_bytes(std::span(maps_)));
    add_section(out, SectionType::threads, std::as_bytes(std::span(threads_)));
    add_section(out, SectionType::stack_bytes, stack_bytes_);
    add_section(out, SectionType::call_stacks, call_stacks_);
    add_section(out, SectionType::leaks, leaks_);
    add_section(out, SectionType::notes, std::as_bytes(std::span(notes_)));
    for (const auto &[type, payload] : extra_) add_section(out, type, payload);
#if defined(__x86_64__)
    CaptureHeader header = {{}, kCaptureVersion, Machine::x86_64, out.size()};
#else
    CaptureHeader header = {{}, kCaptureVersion, Machine::aarch64, out.size()};
#endif
    memcpy(header.magic, kCaptureMagic, sizeof header.magic);
    memcpy(out.data(), &header, sizeof header);
    return out;
  }

private:
  template <typename T> static void append(std::vector<std::byte> &out, const T &value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    out.insert(out.end(), bytes.begin(), bytes.end());
  }

  static void add_section(std::vector<std::byte> &out, SectionType type, std::span<const std::byte> payload) {
    append(out, SectionHeader{type, 0, payload.size()});
    out.insert(out.end(), payload.begin(), payload.end());
    out.resize((out.size() + 7) / 8 * 8);
  }

  std::string facts_;
  std::string maps_;
  std::string notes_;
  std::vector<ThreadRecord> threads_;
  std::vector<std::byte> stack_bytes_;
  std::vector<std::byte> call_stacks_;
  std::vector<std::byte> leaks_;
  std::vector<std::pair<SectionType, std::vector<std::byte>>> extra_;
};

} // namespace castaway
