// The snapshot process: writing what was found, and becoming the reporter; see snapshot.h.
#include "runtime/api.h"
#include "runtime/faults.h"
#include "runtime/injection.h"
#include "runtime/mappings.h"
#include "runtime/snapshot.h"
#include "runtime/tracking.h"
#include "runtime/unloaded.h"

#include <csignal>
#include <sys/resource.h>

namespace castaway {

namespace {

constexpr size_t kMostCapture = size_t{2} << 30;
// Bytes of a thread's stack that are kept for unwinding.
constexpr size_t kStackLimit = 64 << 10;
constexpr size_t kStackLimitOfMany = 16 << 10;
constexpr size_t kMany = 1000;

struct Facts {
  Text<16384> text;

  template <typename T> void add(const char *key, T value) { text << key << " " << value << "\n"; }
};

// A command line as one line: zeros become spaces, what is not printable becomes \xHH.
// Read of this process, which has the target's: the target may have ended.
Text<4096> command_line(const Proc &self) {
  static char raw[2048];
  std::string_view bytes = self.read("cmdline", raw, sizeof raw);
  Text<4096> line;
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto c = static_cast<unsigned char>(bytes[i]);
    if (c == 0)
      line << (i + 1 < bytes.size() ? " " : "");
    else if (c >= 0x20 && c != 0x7f && c != '\\')
      line << std::string_view(&bytes[i], 1);
    else
      line << "\\x" << std::string_view(&"0123456789abcdef"[c >> 4], 1)
           << std::string_view(&"0123456789abcdef"[c & 15], 1);
  }
  return line;
}

const char *name_of(Trigger trigger) {
  return trigger == Trigger::periodic ? "periodic" : trigger == Trigger::demand ? "demand" : "exit";
}

uint32_t bits(const ThreadImage &image, bool leaked) {
  return (image.is_main ? uint32_t{kThreadMain} : 0) | (leaked ? uint32_t{kThreadLeaked} : 0) |
         (image.is_waiter ? uint32_t{kThreadWaiter} : 0);
}

} // namespace

int Snapshot::write_capture() {
  CaptureWriter writer(kMostCapture);
  write_facts(writer);
  write_maps(writer);
  write_threads(writer);
  write_stacks(writer);
  write_call_stacks(writer);
  writer.begin_section(SectionType::leaks);
  writer.append(leaks_.data(), leaks_.size_bytes());
  writer.end_section();
  writer.begin_section(SectionType::chain);
  writer.append(chain_.data(), chain_.size_bytes());
  writer.end_section();
  write_notes(writer);
  int fd = writer.finish();
  if (fd < 0 || !writer.complete()) sys::exit_group(kSnapshotNoCapture);
  return fd;
}

void Snapshot::write_facts(CaptureWriter &writer) {
  const Config &config = *safepoint_.config;
  static Facts facts;
  static char exe[kPathSize];
  Text<64> link;
  long size = target_.read_link((link << safepoint_.pid << "/exe").c_str(), exe, sizeof exe - 1);
  exe[size > 0 ? size : 0] = 0;
  facts.add("comm", safepoint_.name);
  facts.add("pid", safepoint_.pid);
  facts.add("exe", static_cast<const char *>(exe));
  facts.add("command", command_line(own_).view());
  facts.add("wall_ns", safepoint_.stopped_wall_ns);
  facts.add("safepoint", safepoint_.number);
  facts.add("trigger", name_of(safepoint_.trigger));
  facts.add("stop", world_.way() == StopWay::signal ? "signal" : "ptrace");
  // The tracer tells only when all go on; this process was made at the end of the pause.
  facts.add("pause_ns", started_ns_ - safepoint_.stopped_ns);
  facts.add("mark_ns", mark_ns_);
  uint64_t memory = anonymous_bytes(own_);
  facts.add("scan_bytes", memory - std::min(memory, memory_before_));
  facts.add("shared_spared", finder_->has_late());
  if (uint64_t faults = faults_of(target_); faults != 0 && faults_before_ != 0) {
    facts.add("faults_after", faults - faults_before_);
    facts.add("after_ns", sys::now_ns() - started_ns_);
  }
  facts.add("threads", uint64_t{thread_count_});
  facts.add("heap_blocks", scanner_->heap().blocks);
  facts.add("heap_bytes", scanner_->heap().bytes);
  facts.add("confirm", config.confirm);
  facts.add("keep", config.keep);
  facts.add("output", config.output.c_str());
  if (config.collector.size()) facts.add("collector", config.collector.c_str());
  if (config.suppressions.size()) facts.add("suppressions", config.suppressions.c_str());
  facts.add("refuted_threads", refuted_threads_);
  facts.add("refuted_blocks", tracking.refuted_blocks.load(std::memory_order_relaxed));
  facts.add("sample_bytes", config.sample_bytes);
  facts.add("page_size", 4096);
  if (safepoint_.question.tid) facts.add("question", safepoint_.question.tid);
  Text<32> address;
  if (safepoint_.question.address) facts.add("question", (address << "0x").hex(safepoint_.question.address).view());
  facts.add("symbolize", config.symbolize ? "on" : "off");
  facts.add("previous_wall_ns", history_.header.first_wall_ns);
  writer.text_section(SectionType::facts, facts.text.view());
}

// The mappings as they are, and behind them, in the same form, code that was unloaded and whose place is free; the last
// that was there, where there was more than one.
void Snapshot::write_maps(CaptureWriter &writer) {
  writer.begin_section(SectionType::maps);
  writer.append(maps_text_.data(), maps_text_.size());
  static Range written[unloaded::kMost];
  size_t count = 0;
  for (size_t i = unloaded::count(); i-- > 0;) {
    const UnloadedCode &code = unloaded::at(i);
    bool newer = std::any_of(written, written + count, [&](const Range &other) {
      return other.begin < code.range.end && code.range.begin < other.end;
    });
    if (newer || vmas_->overlaps(code.range)) continue;
    written[count++] = code.range;
    Text<512> line;
    line.hex(code.range.begin) << "-";
    line.hex(code.range.end) << " r-xp ";
    line.hex(code.offset) << " 00:00 0 " << code.path.view() << "\n";
    writer.append(line.c_str(), line.size());
  }
  writer.end_section();
}

ThreadRecord Snapshot::make_record(size_t i, size_t stack_limit, size_t &stack_offset) {
  const ThreadImage &image = images_[i];
  const ThreadFacts &facts = facts_[i];
  const ThreadVerdict &verdict = scanner_->verdicts()[i];
  const PastThread &past = *std::lower_bound(judged_.begin(), judged_.end(), image.tid,
                                             [](const PastThread &p, int32_t tid) { return p.tid < tid; });
  ThreadRecord record{};
  record.tid = image.tid;
  record.flags = bits(image, past.first_safepoint != 0);
  record.wait = image.wait;
  record.reason = verdict.reason;
  record.state = arch::call_number(facts.stopped->registers) >= 0 ? 'S' : 'R';
  record.other = image.mutex_owner ? image.mutex_owner : image.joined;
  record.wait_address = facts.wait ? facts.wait->words[0].address : 0;
  record.system_call = waits_in_call(*facts.stopped) || facts.stopped->registers_changed
                           ? arch::call_number(facts.stopped->registers)
                           : -1;
  record.since_ns = safepoint_.stopped_ns - past.since_ns;
  record.first_safepoint = past.first_safepoint;
  record.retained_bytes = verdict.retained_bytes;
  record.retained_objects = verdict.retained_objects;
  FrameRegisters registers = arch::frame_registers(facts.stopped->registers);
  std::copy(registers.value, registers.value + kFrameRegisters, record.registers);
  record.stack_address = image.stack.begin;
  record.stack_offset = stack_offset;
  record.stack_size = std::min(image.stack.size(), stack_limit);
  stack_offset += record.stack_size;
  record.created_stack = facts.stack;
  record.creator = facts.creator;
  std::memcpy(record.name, past.name, sizeof record.name);
  return record;
}

void Snapshot::write_threads(CaptureWriter &writer) {
  size_t offset = 0;
  size_t limit = thread_count_ > kMany ? kStackLimitOfMany : kStackLimit;
  writer.begin_section(SectionType::threads);
  for (size_t i = 0; i < thread_count_; ++i) writer.append(make_record(i, limit, offset));
  writer.end_section();
}

void Snapshot::write_stacks(CaptureWriter &writer) {
  size_t limit = thread_count_ > kMany ? kStackLimitOfMany : kStackLimit;
  writer.begin_section(SectionType::stack_bytes);
  for (const ThreadImage &image : images_)
    writer.append(reinterpret_cast<const void *>(image.stack.begin), std::min(image.stack.size(), limit));
  writer.end_section();
}

void Snapshot::write_call_stacks(CaptureWriter &writer) {
  size_t most = leaks_.size() + thread_count_ + chain_.size();
  auto *ids = static_cast<uint32_t *>(sys::map_memory(most * sizeof(uint32_t) + 1));
  if (!ids) sys::exit_group(kSnapshotNoMemory);
  size_t count = 0;
  for (const LeakRecord &leak : leaks_) ids[count++] = leak.stack;
  for (const ThreadFacts &facts : facts_) ids[count++] = facts.stack;
  for (const ChainLink &link : chain_) ids[count++] = link.stack;
  std::sort(ids, ids + count);
  uint32_t last = 0;
  writer.begin_section(SectionType::call_stacks);
  for (size_t i = 0; i < count; ++i) {
    if (ids[i] == last) continue;
    last = ids[i];
    auto frames = call_stacks::frames(last);
    writer.append(CallStack{last, static_cast<uint32_t>(frames.size())});
    writer.append(frames.data(), frames.size_bytes());
  }
  writer.end_section();
}

void Snapshot::write_notes(CaptureWriter &writer) {
  Text<2048> notes;
  if (!finder_->complete()) notes << "too many mappings: some memory was not looked at\n";
  if (kernel_roots_.incomplete()) {
    notes << "pointers held by epoll, timers or queued signals could not all be read: all memory counts as live\n";
  } else if (api::roots_lost()) {
    notes << "more roots were declared than there is room for: all memory counts as live\n";
  } else if (finder_->shared_swapped()) {
    notes << "shared memory is swapped out: all memory counts as live\n";
  } else if (pointers_hidden_) {
    notes << "requests to io_uring or kernel AIO may be in flight, whose pointers cannot be seen: all memory counts as "
             "live\n";
  }
  if (scanner_->in_doubt())
    notes << (finder_->late_bytes() >> 20)
          << " MiB of shared memory were left unread this time: leaks that are new wait until they are read, except "
             "deadlocks and abandoned mutexes\n";
  if (pages_lost()) notes << pages_lost() << " pages could not be read and count as zero\n";
  if (application_memory.incomplete())
    notes << "application's own mappings are not all known: more memory counts as live\n";
  writer.text_section(SectionType::notes, notes.view());
}

// A copy of the capture beside the profiles, for replay: OUTPUT/<comm>.<pid>.<safepoint>.capture.
void keep_capture(const Safepoint &safepoint, int capture) {
  Text<128> name;
  name << safepoint.name << "." << safepoint.pid << "." << safepoint.number << ".capture";
  int fd = sys::open_at(safepoint.files.output, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  int64_t from = 0;
  while (fd >= 0 && sys::call(SYS_sendfile, fd, capture, &from, kMostCapture) > 0) {
  }
  sys::close(fd);
}

void become_reporter(const Safepoint &safepoint, int capture) {
  if (safepoint.config->keep_captures) keep_capture(safepoint, capture);
  uint64_t none = 0;
  sys::call(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
  for (int fd : {safepoint.files.output, safepoint.files.result}) sys::call(SYS_fcntl, fd, F_SETFD, 0);
  Text<16> numbers[3];
  numbers[0] << capture;
  numbers[1] << safepoint.files.output;
  numbers[2] << safepoint.files.result;
  const char *arguments[] = {"castaway",         "report",           "--capture-fd",
                             numbers[0].c_str(), "--result-fd",      numbers[2].c_str(),
                             "--output-fd",      numbers[1].c_str(), nullptr};
  constexpr size_t kOutput = 6; // only where the directory could be opened
  if (safepoint.files.output < 0) arguments[kOutput] = nullptr;
  const char *environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", nullptr};
  constexpr int kEmptyPath = 0x1000; // AT_EMPTY_PATH
  fault_point(safepoint, "reporter");
  sys::call(SYS_execveat, safepoint.files.reporter, "", arguments, environment, kEmptyPath);
  sys::exit_group(kSnapshotNoReporter);
}

} // namespace castaway
