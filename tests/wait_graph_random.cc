// Random wait graphs: chains through every kind of link, and noise. The same seed makes the same graph everywhere.
#include "tests/wait_graph.h"

#include <array>
#include <random>

namespace castaway::testing {

namespace {

class Maker {
public:
  explicit Maker(unsigned seed) : random_(seed) {}

  Graph make() {
    for (size_t i = 1 + pick(pick(4) ? 12 : 40); i > 0; --i) add_block();
    for (size_t i = pick(pick(6) ? 9 : 30); i > 0; --i) add_thread();
    if (pick(3) == 0) add_chain(2 + pick(pick(4) ? 5 : 20));
    for (int block = 0; block < blocks(); ++block)
      for (size_t i = pick(3); i > 0; --i) add_pointer(place_in_block(block));
    for (int thread = 0; thread < threads_; ++thread)
      for (size_t i = pick(5); i > 0; --i) add_pointer(place_in_thread(thread));
    for (int i = static_cast<int>(pick(6)); i > 0; --i) add_pointer({In::root, i, 0});
    if (pick(3) == 0) add_pointer({}, Holder::outside);
    return graph_;
  }

private:
  size_t pick(size_t below) { return random_() % below; }
  int pick_block() { return static_cast<int>(pick(sizes_.size())); }
  int pick_thread() { return static_cast<int>(pick(static_cast<size_t>(threads_))); }
  int blocks() const { return static_cast<int>(sizes_.size()); }

  int add_block(size_t size = 0) {
    static constexpr size_t kSizes[] = {1, 7, 8, 16, 21, 24, 40, 100, 1760, 1761, 9000};
    BlockFact fact{.block = blocks(), .size = size ? size : kSizes[pick(std::size(kSizes))]};
    if (!size && pick(4) == 0) {
      fact.flagged = true;
      fact.noted = pick(3) != 0;
      fact.loader = pick(4) == 0;
      fact.ignored = pick(8) == 0;
    }
    sizes_.push_back(fact.size);
    graph_.push_back(fact);
    return fact.block;
  }

  int someone() {
    size_t which = pick(static_cast<size_t>(threads_) + 2);
    return which == 0 ? kNobody : which == 1 ? kExited : static_cast<int>(which - 2);
  }

  void add_thread() {
    ThreadFact fact{.thread = threads_++};
    fact.waiter = pick(5) != 0;
    fact.main = fact.waiter && pick(30) == 0;
    fact.wait = std::array{WaitKind::mutex, WaitKind::join, WaitKind::cond, WaitKind::futex}[pick(4)];
    if (pick(2)) fact.owner = someone();
    if (pick(2)) fact.joined = someone();
    graph_.push_back(fact);
    if (!fact.waiter) return;
    size_t words = pick(20) == 0 ? 0 : pick(6) == 0 ? 2 + pick(3) : 1;
    while (words-- > 0) {
      WordFact word{.thread = fact.thread,
                    .at = pick(3) ? place_in_block(pick_block()) : place_in_thread(pick_thread())};
      if (pick(25) == 0) word.at = {In::unknown, 0, 16};
      if (pick(25) == 0) word.at = {In::root, static_cast<int>(pick(4)), 0};
      word.shared = pick(12) == 0;
      word.woken = pick(12) == 0;
      graph_.push_back(word);
    }
  }

  // Each waits for the next one, by any kind of link; the last on a word that the roots may reach.
  void add_chain(size_t length) {
    int first = threads_;
    for (size_t i = 0; i < length; ++i) add_link(first + static_cast<int>(i));
    int last = threads_++, end = add_block(16);
    graph_.push_back(ThreadFact{.thread = last, .waiter = true});
    graph_.push_back(WordFact{.thread = last, .at = {In::block, end, 0}});
    if (pick(2)) graph_.push_back(PointerFact{.at = {In::root, 100, 0}, .to = {In::block, end, 0}});
  }

  void add_link(int number) {
    int next = number + 1, block = add_block(16);
    ThreadFact thread{.thread = number, .waiter = true};
    Place word{In::block, block, 4};
    PointerFact pointer{.at = {In::stack, next, 8 * static_cast<long>(pick(32))}, .to = {In::block, block, 0}};
    switch (pick(7)) {
    case 0:
      thread.wait = WaitKind::mutex, thread.owner = next;
      break;
    case 1:
      thread.wait = WaitKind::join, thread.joined = next;
      break;
    case 2:
      word = {In::stack, next, 16};
      break;
    case 3:
      word = {In::descriptor, next, 16};
      break;
    case 4:
      word = {In::tls, next, 16};
      break;
    case 5:
      pointer.holder = Holder::in_register;
      graph_.push_back(pointer);
      break;
    default:
      graph_.push_back(pointer);
    }
    ++threads_;
    graph_.push_back(thread);
    if (pick(4) == 0)
      graph_.push_back(WordFact{.thread = number, .at = {In::block, add_block(16), 0}}); // the first of two
    graph_.push_back(WordFact{.thread = number, .at = word});
  }

  // Mostly where a pointer would lie.
  long offset_within(size_t size) {
    size_t offset = pick(size);
    return static_cast<long>(pick(10) ? offset & ~size_t{7} : offset);
  }
  Place place_in_block(int block) { return {In::block, block, offset_within(sizes_[static_cast<size_t>(block)])}; }
  Place place_in_thread(int thread) {
    static constexpr size_t kSizes[] = {World::kStack, World::kTls, World::kDescriptor};
    size_t which = pick(3);
    return {std::array{In::stack, In::tls, In::descriptor}[which], thread, offset_within(kSizes[which] - 8)};
  }

  // Somewhere in a block or a thread, or just outside.
  Place target() {
    if (threads_ == 0 || pick(5)) {
      int block = pick_block();
      size_t size = sizes_[static_cast<size_t>(block)];
      return {In::block, block, pick(2) ? 0 : static_cast<long>(pick(size + 32)) - (pick(8) ? 0 : 8)};
    }
    return {std::array{In::stack, In::stack, In::tls, In::descriptor}[pick(4)], pick_thread(),
            static_cast<long>(pick(World::kStack + 16))};
  }

  void add_pointer(Place at, Holder holder = Holder::memory) {
    if (holder == Holder::memory && at.in == In::stack && pick(4) == 0) holder = Holder::in_register;
    unsigned tag = pick(8) ? 0 : static_cast<unsigned>(pick(0x10000));
    graph_.push_back(PointerFact{.holder = holder, .at = at, .to = target(), .tag = tag});
  }

  std::mt19937 random_;
  Graph graph_;
  std::vector<size_t> sizes_;
  int threads_ = 0;
};

} // namespace

Graph random_graph(unsigned seed) { return Maker(seed).make(); }

} // namespace castaway::testing
