#include "profile/chain_text.h"

#include "profile/runtime_frames.h"
#include "profile/waits.h"

#include <algorithm>
#include <cstdio>

namespace castaway {
namespace {

std::string hexadecimal(uint64_t value) {
  char text[24];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string with_offset(const std::string &name, uint64_t offset) {
  return offset == 0 ? name : name + "+" + std::to_string(offset);
}

class Text {
public:
  explicit Text(Analysis &analysis) : analysis_(analysis) {}

  std::vector<std::string> make() {
    const auto &chain = analysis_.capture().chain();
    for (size_t i = 0; i < chain.size(); i++) {
      // A block in the chain is told in the line of what points to the one before.
      const bool told = i > 0 && chain[i - 1].kind == LinkKind::in_block;
      const bool repeated = i > 0 && chain[i].kind == LinkKind::thread && chain[i - 1].tid == chain[i].tid &&
                            chain[i - 1].kind == LinkKind::in_thread;
      if (!told && !repeated) add(chain[i], i + 1 < chain.size() ? &chain[i + 1] : nullptr);
    }
    if (chain.size() == kMostLinks) lines_.emplace_back("  ... and so on");
    return std::move(lines_);
  }

private:
  void add(const ChainLink &link, const ChainLink *next) {
    switch (link.kind) {
    case LinkKind::block:
      return say(block(link));
    case LinkKind::thread:
      return say(thread(link.tid));
    case LinkKind::nowhere:
      return say(link.tid != 0 ? "there is no thread " + std::to_string(link.tid) + " that is not castaway's"
                               : "at " + hexadecimal(link.word) + " is no block of the heap and no thread's memory");
    case LinkKind::in_block:
      if (next == nullptr || next->kind != LinkKind::block) return say("  <- " + hexadecimal(link.word));
      return say("  <- offset " + std::to_string(link.word - next->begin) + " of " + block(*next));
    case LinkKind::in_waiter:
      return say("  <- " + place_in_thread(link) + ", to whose memory something points:");
    case LinkKind::in_thread:
      return say("  <- " + place_in_thread(link));
    case LinkKind::in_root:
      return say("  <- " + place_in_root(link.word) + ": a root");
    case LinkKind::in_kernel:
      return say("  <- the kernel holds a pointer to it (epoll data or a timer's value): a root");
    case LinkKind::declared:
      return say("  <- declared to be no leak: a root");
    case LinkKind::hidden:
      return say("  <- requests in flight (io_uring, AIO) may hold a pointer to it: a root");
    case LinkKind::nothing:
      return say("  nothing that can still run leads to it: leaked");
    case LinkKind::lives:
      return say("  lives: " + cause(link));
    case LinkKind::leaked:
      return say("  leaked: " + reason(link.tid));
    }
  }

  void say(std::string line) { lines_.push_back(std::move(line)); }

  std::string block(const ChainLink &link) {
    std::string text = "block " + hexadecimal(link.begin) + ", " + std::to_string(link.size) + " bytes";
    const auto callers = callers_of(link.stack);
    return callers.empty() ? text : text + ", allocated in " + callers;
  }

  // The first functions of an allocation stack that are not the C++ library's.
  std::string callers_of(uint32_t stack) {
    constexpr size_t kMost = 3;
    std::string text;
    size_t count = 0;
    for (const auto address : analysis_.allocation(stack))
      for (const auto &frame : analysis_.symbols().at(address).frames) {
        if (is_runtime_frame(frame.function, analysis_.module_path(address))) continue;
        if (count++ == kMost) return text;
        text += (count == 1 ? "" : " < ") + place(frame);
      }
    return text;
  }

  std::string code(uint64_t address) { return place(analysis_.symbols().at(address).frames.front()); }

  static std::string place(const SourceFrame &frame) {
    if (frame.file.empty()) return frame.function;
    return frame.function + " (" + std::string(file_name(frame.file)) + ":" + std::to_string(frame.line) + ")";
  }

  const AnalysedThread *find(int32_t tid) const {
    const auto &threads = analysis_.threads();
    const auto found = std::find_if(threads.begin(), threads.end(),
                                    [&](const AnalysedThread &each) { return each.record->tid == tid; });
    return found == threads.end() ? nullptr : &*found;
  }

  std::string thread(int32_t tid) const {
    const auto *found = find(tid);
    if (found == nullptr) return "thread " + std::to_string(tid);
    return "thread " + std::to_string(tid) + " \"" + std::string(found->name()) + "\", " +
           thread_state(*found->record, found->wait, analysis_.capture().machine());
  }

  std::string place_in_thread(const ChainLink &link) {
    const auto whose = " of thread " + std::to_string(link.tid);
    const auto *found = find(link.tid);
    if (link.word == 0) return "a register" + whose;
    if (found == nullptr || link.word < found->record->stack_address) return hexadecimal(link.word) + whose;
    const auto &pointers = found->stack_pointers;
    // Frames lie above each other: the last one that begins at or below the word.
    const auto above = std::upper_bound(pointers.begin(), pointers.end(), link.word);
    const bool outermost = above == pointers.end();
    if (outermost || pointers.empty()) return "TLS or stack at " + hexadecimal(link.word) + whose;
    const auto frame = above == pointers.begin() ? 0 : above - pointers.begin() - 1;
    return "stack at " + hexadecimal(link.word) + whose + ", in the frame of " +
           code(found->addresses[static_cast<size_t>(frame)]);
  }

  std::string place_in_root(uint64_t word) {
    if (const auto variable = analysis_.symbols().variable_at(word))
      return with_offset(variable->name, variable->offset) + " in " + std::string(file_name(variable->module));
    const auto &map = analysis_.modules().map();
    const auto mapping = map.find(word);
    const auto path = mapping < 0 ? std::string() : map.mappings()[static_cast<size_t>(mapping)].path;
    return hexadecimal(word) + (path.empty() ? " in memory that the program mapped" : " in " + path);
  }

  std::string state(int32_t tid) const {
    const auto *found = find(tid);
    if (found == nullptr) return "it does not wait for ever on a futex";
    if ((found->record->flags & kThreadMain) != 0) return "it is the main thread";
    return "it is not blocked for ever on a futex (" +
           thread_state(*found->record, found->wait, analysis_.capture().machine()) + ")";
  }

  std::string cause(const ChainLink &link) {
    const std::string word = "the futex word " + hexadecimal(link.word);
    switch (link.cause) {
    case Cause::no_waiter:
      return state(link.tid);
    case Cause::woken:
      return "its wait is over, it has not run yet";
    case Cause::shared:
      return word + " may be changed by other processes";
    case Cause::unknown:
      return "nothing is known of the memory of " + word;
    case Cause::in_root:
      return word + " is " + place_in_root(link.word) + ": a root";
    case Cause::in_object:
      return word + " can be reached, because of";
    case Cause::other_thread:
      return "the thread that it waits for does";
    case Cause::none:
      break;
    }
    return "for no known reason";
  }

  std::string reason(int32_t tid) const {
    const auto *found = find(tid);
    const auto label = found == nullptr ? std::string_view() : reason_label(found->record->reason);
    return label.empty() ? "it can never run again" : "it can never run again (" + std::string(label) + ")";
  }

  Analysis &analysis_;
  std::vector<std::string> lines_;
};

} // namespace

std::vector<std::string> chain_text(Analysis &analysis) { return Text(analysis).make(); }

} // namespace castaway
