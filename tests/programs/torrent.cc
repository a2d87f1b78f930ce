// A thread that loses as much before a torrent of allocations as after it, at 500 places each. Of what it allocates in
// the torrent and after it, few are recorded. Ends when its input does.
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <unistd.h>
#include <utility>

namespace {

constexpr size_t kSize = 64 << 10;
constexpr int kPlaces = 500, kLostAtEach = 40;

void *volatile kept;
volatile int last_place; // no place's code is another's, with which it would be merged

template <int place> [[gnu::noinline]] void lose_at() {
  for (int i = 0; i < kLostAtEach; ++i) kept = malloc(kSize);
  last_place = place;
}

template <int first, int... places> void lose_at_all(std::integer_sequence<int, places...>) {
  (lose_at<first + places>(), ...);
}

[[gnu::noinline]] void lose_before() {
  lose_at_all<0>(std::make_integer_sequence<int, kPlaces>());
  last_place = -1;
}

[[gnu::noinline]] void lose_after() {
  lose_at_all<kPlaces>(std::make_integer_sequence<int, kPlaces>());
  last_place = -2;
}

[[gnu::noinline]] void torrent() {
  constexpr int kBlocks = 400'000; // 25 GiB
  for (int i = 0; i < kBlocks; ++i) {
    kept = malloc(kSize);
    free(kept);
  }
  kept = nullptr;
}

} // namespace

int main() {
  std::thread([] {
    lose_before();
    torrent();
    lose_after();
    kept = nullptr;
  }).join();
  puts("READY");
  fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  _exit(0);
}
