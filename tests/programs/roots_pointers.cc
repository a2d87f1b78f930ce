// Forms of a pointer, in a global: tagged low and high, interior, inside of a std::function, at an odd address.
#include "roots.h"

#include <cstdint>
#include <cstring>
#include <functional>

namespace roots {
namespace {

using support::Mode;

volatile uintptr_t word;

uintptr_t secret_word(Mode mode) { return reinterpret_cast<uintptr_t>(secret(mode)); }

template <uintptr_t bits> void tagged(Mode mode) {
  uintptr_t pointer = secret_word(mode);
  word = pointer ? pointer | bits : bits;
}
template <size_t offset> void interior(Mode mode) {
  uintptr_t pointer = secret_word(mode);
  word = pointer ? pointer + offset : 0;
}

void in_function(Mode mode) {
  static std::function<void *()> callback;
  struct {
    void *pointer;
    long ballast[4]; // too large for the function object itself: it lies in a block of its own
  } captured{secret(mode), {}};
  callback = [captured] { return captured.pointer; };
}

constexpr uintptr_t kHighTag = uintptr_t{0xb1a5} << 48;

constexpr support::Case kCases[] = {
    {"low_tagged_1", tagged<1>},
    {"low_tagged_7", tagged<7>},
    {"high_tagged", tagged<kHighTag>},
    {"both_tagged", tagged<kHighTag | 5>},
    {"interior", interior<kSecretSize / 2>},
    {"last_byte", interior<kSecretSize - 1>},
    {"function_capture", in_function},
};

} // namespace

const std::span<const support::Case> kPointers = kCases;

} // namespace roots
