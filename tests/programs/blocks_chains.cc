// The nine ways from a root to a block BBB, through a block AAA or not, by pointers to a start or into the middle, as
// Valgrind's manual counts them; blocks that point at themselves; pointers of C++ that are none to a block's start.
#include "blocks.h"

#include <cstdlib>

namespace blocks {
namespace {

using support::Mode;

constexpr size_t kSize = 100, kMiddle = 50;

char *volatile root;

enum class Link { none, start, middle };

char *block() { return static_cast<char *>(support::take(kSize)); }
char *follow(char *to, Link link) { return link == Link::none ? nullptr : to + (link == Link::middle ? kMiddle : 0); }

// RRR -> BBB
template <Link of_root> void one(Mode) { root = follow(block(), of_root); }
// RRR -> AAA -> BBB
template <Link of_root, Link of_block> void two(Mode) {
  char *first = block();
  *reinterpret_cast<char **>(first) = follow(block(), of_block);
  root = follow(first, of_root);
}

// What points at itself, or at what points back, is reached by nobody.
void itself(Mode mode) {
  auto **memory = static_cast<void **>(support::take(kSize));
  *memory = memory;
  if (mode == Mode::held) root = reinterpret_cast<char *>(memory);
  if (mode == Mode::fixed) free(memory);
}

struct Destroyed {
  char *text = new char[10];
  ~Destroyed() { delete[] text; }
};
struct First {
  virtual ~First() = default;
  long ballast = 1;
};
struct Second {
  virtual ~Second() = default;
  long ballast = 2;
};
struct Both : First, Second {};

// The size that operator new is asked for: the count of elements comes first.
constexpr size_t kCookie = sizeof(size_t);

template <typename T> void keep(Mode mode, T *object, size_t size) {
  support::count(size);
  if (mode == Mode::held) root = reinterpret_cast<char *>(object);
}

// The program's pointer is behind the cookie, and of an empty array behind all that was asked for.
template <size_t elements> void array(Mode mode) {
  auto *all = new Destroyed[elements];
  for (size_t i = 0; i < elements; ++i) support::count(10);
  keep(mode, all, kCookie + elements * sizeof(Destroyed));
  if (mode == Mode::fixed) delete[] all;
}
void second_base(Mode mode) {
  Second *object = new Both;
  keep(mode, object, sizeof(Both));
  if (mode == Mode::fixed) delete object;
}
// malloc(0) is a block, of one byte as castaway counts.
void empty(Mode mode) {
  void *memory = malloc(0);
  keep(mode, static_cast<char *>(memory), 1);
  if (mode == Mode::fixed) free(memory);
}

constexpr support::Case kCases[] = {
    {"chain_1", one<Link::start>},
    {"chain_2", two<Link::start, Link::start>},
    {"chain_3", one<Link::none>},
    {"chain_4", two<Link::none, Link::start>},
    {"chain_5", one<Link::middle>},
    {"chain_6", two<Link::start, Link::middle>},
    {"chain_7", two<Link::middle, Link::start>},
    {"chain_8", two<Link::middle, Link::middle>},
    {"chain_9", two<Link::none, Link::middle>},
    {"itself", itself},
    {"array", array<3>},
    {"empty_array", array<0>},
    {"second_base", second_base},
    {"empty", empty},
};

} // namespace

const std::span<const support::Case> kChains = kCases;

} // namespace blocks
