// A big program with debug information that leaks from 1024 functions, so that a report has as many distinct stacks,
// each with inlined frames of the standard library. It makes two safepoints (libcastaway.so preloaded) and ends.
#include "castaway/castaway.h"

#include <cstdio>
#include <utility>
#include <vector>

namespace {

constexpr size_t kFunctions = 256;

template <size_t N> struct Item {
  char bytes[16 + N % 64] = {};
};

template <size_t N> [[gnu::noinline]] void leak_one() {
  auto *items = new std::vector<Item<N>>(3);
  items->emplace_back();
  asm volatile("" : : "r"(items) : "memory");
}

template <size_t Place, size_t... N> [[gnu::noinline]] void leak_all(std::index_sequence<N...>) {
  (leak_one<N>(), ...);
  asm volatile("" : : "i"(Place)); // or all places would be folded into one
}

} // namespace

int main() {
  constexpr auto kAll = std::make_index_sequence<kFunctions>();
  leak_all<0>(kAll);
  leak_all<1>(kAll);
  leak_all<2>(kAll);
  leak_all<3>(kAll);
  if (castaway_snap() == 1 && castaway_snap() == 1) return 0;
  std::fputs("stacks_target: no safepoint could be made: is castaway preloaded?\n", stderr);
  return 1;
}
