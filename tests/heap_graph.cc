// Random heap graphs: shapes of data structures, and stray pointers between them. See heap_graph.h.
#include "tests/heap_graph.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <sstream>

namespace castaway::testing {

namespace {

class Maker {
public:
  explicit Maker(unsigned seed) : random_(seed) {}

  HeapGraph make() {
    for (size_t shapes = 1 + pick(5); shapes > 0; --shapes) add_shape(pick(40) ? 1 + pick(20) : 1 + pick(1500));
    for (size_t strays = pick(2 * sizes_.size() + 2); strays > 0; --strays)
      point(pick(8) ? any_block() : kRoots, any_block());
    return graph_;
  }

private:
  size_t pick(size_t below) { return random_() % below; }
  int any_block() { return static_cast<int>(pick(sizes_.size())); }

  // Room for `words` pointers at least.
  int add_block(size_t words) {
    static constexpr size_t kSizes[] = {1, 8, 15, 16, 17, 21, 24, 31, 32, 40, 63, 100, 250, 1000, 1760, 1761};
    static constexpr size_t kLarge[] = {2040, 4095, 4096, 9000, 33'000, 300'000, 3'000'000};
    size_t size = pick(15) ? kSizes[pick(std::size(kSizes))] : kLarge[pick(std::size(kLarge) - (pick(8) ? 2 : 0))];
    HeapBlock fact{.block = static_cast<int>(sizes_.size()), .size = std::max(size, 8 * words)};
    fact.freed = fact.size <= 1000 && pick(12) == 0;
    fact.late = !fact.freed && pick(12) == 0;
    sizes_.push_back(fact.size);
    graph_.push_back(fact);
    return fact.block;
  }

  size_t place_in(int block, size_t word) {
    if (block == kRoots) return 8 * pick(kRootBytes / 8) + (pick(12) ? 0 : pick(7));
    size_t size = sizes_[static_cast<size_t>(block)];
    if (pick(12) == 0) return pick(size); // unaligned, or over the end
    size_t words = size / 8;
    return words == 0 ? 0 : 8 * (pick(3) ? std::min(word, words - 1) : pick(words));
  }

  size_t place_to(int block) {
    size_t size = sizes_[static_cast<size_t>(block)];
    switch (pick(8)) {
    case 0:
      return size - 1;
    case 1:
      return pick(8); // a tag in the low bits
    case 2:
    case 3:
      return pick(size);
    case 4:
      return size + pick(3) * 8; // past its end
    default:
      return 0;
    }
  }

  void point(int from, int to, size_t word = 0) {
    unsigned tag = pick(10) ? 0 : static_cast<unsigned>(pick(0x10000));
    graph_.push_back(HeapPointer{.in = from, .at = place_in(from, word), .to = to, .offset = place_to(to), .tag = tag});
  }

  void add_shape(size_t count) {
    int first = static_cast<int>(sizes_.size()), last = first + static_cast<int>(count) - 1;
    size_t shape = pick(6);
    for (size_t i = 0; i < count; ++i) add_block(shape == 3 && i == 0 ? count : 2);
    for (int i = first; i <= last; ++i) link(shape, first, i, last);
    if (pick(3)) point(kRoots, pick(2) ? first : first + static_cast<int>(pick(count)));
  }

  void link(size_t shape, int first, int at, int last) {
    int index = at - first, left = first + 2 * index + 1;
    switch (shape) {
    case 0: // list
      if (at < last) point(at, at + 1);
      break;
    case 1: // ring, linked both ways
      point(at, at < last ? at + 1 : first);
      point(at, at > first ? at - 1 : last, 1);
      break;
    case 2: // tree
      if (left <= last) point(at, left);
      if (left < last) point(at, left + 1, 1);
      break;
    case 3: // table
      if (at > first) point(first, at, static_cast<size_t>(index));
      break;
    case 4: // graph
      for (size_t word : {0, 1}) point(at, first + static_cast<int>(pick(static_cast<size_t>(last - first + 1))), word);
      break;
    default: // single blocks
      break;
    }
  }

  std::mt19937 random_;
  HeapGraph graph_;
  std::vector<size_t> sizes_;
};

std::string text(const HeapBlock &fact) {
  return "HeapBlock{.block = " + std::to_string(fact.block) + ", .size = " + std::to_string(fact.size) +
         (fact.freed ? ", .freed = true" : "") + (fact.late ? ", .late = true" : "") + "}";
}
std::string text(const HeapPointer &fact) {
  std::ostringstream out;
  out << "HeapPointer{.in = ";
  fact.in == kRoots ? out << "kRoots" : out << fact.in;
  out << ", .at = " << fact.at << ", .to = " << fact.to << ", .offset = " << fact.offset;
  if (fact.tag) out << ", .tag = " << fact.tag;
  return out.str() + "}";
}

template <typename F, typename T> void offer(std::vector<HeapFact> &forms, F fact, T F::*field, T usual) {
  if (fact.*field == usual) return;
  fact.*field = usual;
  forms.emplace_back(fact);
}
std::vector<HeapFact> forms_of(const HeapBlock &fact) {
  std::vector<HeapFact> forms;
  offer(forms, fact, &HeapBlock::size, size_t{16});
  offer(forms, fact, &HeapBlock::freed, false);
  offer(forms, fact, &HeapBlock::late, false);
  return forms;
}
std::vector<HeapFact> forms_of(const HeapPointer &fact) {
  std::vector<HeapFact> forms;
  offer(forms, fact, &HeapPointer::in, kRoots);
  offer(forms, fact, &HeapPointer::at, size_t{0});
  offer(forms, fact, &HeapPointer::offset, size_t{0});
  offer(forms, fact, &HeapPointer::tag, 0u);
  return forms;
}

} // namespace

HeapGraph random_heap_graph(unsigned seed) { return Maker(seed).make(); }

std::vector<HeapFact> simpler_forms(const HeapFact &fact) {
  return std::visit([](const auto &each) { return forms_of(each); }, fact);
}

std::string to_cpp(const HeapGraph &graph) {
  std::string out = "  const HeapGraph graph = {\n";
  for (const HeapFact &fact : graph)
    out += "      " + std::visit([](const auto &each) { return text(each); }, fact) + ",\n";
  return out + "  };\n";
}

} // namespace castaway::testing
