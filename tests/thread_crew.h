// A crew of std::threads. Owner: the tests and benchmarks.
#pragma once

#include "scanner/crew.h"

#include <thread>
#include <vector>

namespace castaway::testing {

class ThreadCrew final : public Crew {
public:
  explicit ThreadCrew(size_t size) : size_(size) {}
  size_t size_for(uint64_t) const override { return size_; }
  void run(size_t count, void (*work)(void *, size_t), void *context) override {
    std::vector<std::thread> threads;
    for (size_t i = 1; i < count; ++i) threads.emplace_back(work, context, i);
    work(context, 0);
    for (std::thread &thread : threads) thread.join();
  }
  void rest() override { std::this_thread::yield(); }

private:
  size_t size_;
};

} // namespace castaway::testing
