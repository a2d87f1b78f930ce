// What a stack of 20 frames costs, warm: ours, libunwind's unw_backtrace, glibc's backtrace(3) (libgcc's unwinder).
// And cold: each frame looked up in the modules' tables, as after forget_frames().
#define UNW_LOCAL_ONLY // libunwind: this process only

#include "runtime/unwind.h"

#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <libunwind.h>
#include <pthread.h>

namespace {

constexpr int kFrames = 20;

castaway::Range own_stack() {
  pthread_attr_t attributes;
  void *address = nullptr;
  size_t size = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &address, &size);
  pthread_attr_destroy(&attributes);
  return {reinterpret_cast<uintptr_t>(address), reinterpret_cast<uintptr_t>(address) + size};
}

// Runs the loop at the end of that many calls, each from a function of its own; the use of `frames` keeps them from
// becoming jumps.
template <int Depth, class Loop> [[gnu::noinline]] size_t at_depth(const Loop &loop) {
  size_t frames;
  if constexpr (Depth == 0) {
    frames = loop();
  } else {
    frames = at_depth<Depth - 1>(loop);
  }
  benchmark::DoNotOptimize(frames);
  return frames;
}

template <class Unwind> void run(benchmark::State &state, Unwind unwind) {
  size_t frames = at_depth<kFrames>([&] {
    size_t count = 0;
    for (auto _ : state) benchmark::DoNotOptimize(count = unwind());
    return count;
  });
  if (frames != kFrames) return state.SkipWithError("stack too short");
  state.counters["frame"] =
      benchmark::Counter(double(kFrames), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void ours(benchmark::State &state) {
  castaway::Range stack = own_stack();
  run(state, [&] {
    uintptr_t pcs[kFrames];
    castaway::FrameRegisters registers;
    castaway::read_own_registers(registers);
    size_t count = castaway::unwind(registers, stack, pcs, kFrames);
    benchmark::DoNotOptimize(pcs);
    return count;
  });
}
BENCHMARK(ours);

void ours_cold(benchmark::State &state) {
  castaway::Range stack = own_stack();
  run(state, [&] {
    uintptr_t pcs[kFrames];
    castaway::FrameRegisters registers;
    castaway::forget_frames();
    castaway::read_own_registers(registers);
    size_t count = castaway::unwind(registers, stack, pcs, kFrames);
    benchmark::DoNotOptimize(pcs);
    return count;
  });
}
BENCHMARK(ours_cold);

void libunwind(benchmark::State &state) {
  run(state, [] {
    void *pcs[kFrames];
    int count = unw_backtrace(pcs, kFrames);
    benchmark::DoNotOptimize(pcs);
    return size_t(count);
  });
}
BENCHMARK(libunwind);

// libunwind defines a backtrace() of its own, hence by hand.
void glibc(benchmark::State &state) {
  using Function = int(void **, int);
  auto function = reinterpret_cast<Function *>(dlsym(dlopen("libc.so.6", RTLD_LAZY), "backtrace"));
  run(state, [function] {
    void *pcs[kFrames];
    int count = function(pcs, kFrames);
    benchmark::DoNotOptimize(pcs);
    return size_t(count);
  });
}
BENCHMARK(glibc);

} // namespace

BENCHMARK_MAIN();
