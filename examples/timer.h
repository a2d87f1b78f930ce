// Tickers, all fired by one timer thread.
//
// A ticker gives a tick at each interval to whoever waits for it; a tick that nobody has fetched by the next one is
// dropped. It is fired until it is stopped: the timer thread keeps it alive.
#pragma once

#include "examples/channel.h"
#include "examples/service.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace examples {

class Ticker {
public:
  using Clock = std::chrono::steady_clock;

  explicit Ticker(Clock::duration interval) : interval_(interval), next_(Clock::now() + interval) {}

  // Waits for the next tick. False: the ticker was stopped.
  bool wait_for_tick() { return ticks_.receive().has_value(); }

private:
  friend class TimerThread;
  struct Tick {};

  void fire_if_due(Clock::time_point now) {
    if (now < next_) return;
    ticks_.try_send({});
    next_ = now + interval_;
  }

  const Clock::duration interval_;
  Clock::time_point next_; // of the timer thread
  Channel<Tick> ticks_{1};
};

class TimerThread {
public:
  TimerThread() : thread_([this] { fire_tickers(); }) {}
  ~TimerThread() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      wake_.notify_one();
    }
    thread_.join();
  }

  std::shared_ptr<Ticker> start_ticker(Ticker::Clock::duration interval) {
    auto ticker = std::make_shared<Ticker>(interval);
    std::lock_guard lock(mutex_);
    tickers_.push_back(ticker);
    wake_.notify_one();
    return ticker;
  }

  void stop_ticker(const std::shared_ptr<Ticker> &ticker) {
    std::lock_guard lock(mutex_);
    std::erase(tickers_, ticker);
    ticker->ticks_.close();
  }

  size_t tickers() {
    std::lock_guard lock(mutex_);
    return tickers_.size();
  }

private:
  static constexpr std::chrono::hours kLongTime{24};

  void fire_tickers() {
    name_this_thread("timer");
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      auto now = Ticker::Clock::now();
      auto next = now + kLongTime;
      for (auto &ticker : tickers_) {
        ticker->fire_if_due(now);
        next = std::min<Ticker::Clock::time_point>(next, ticker->next_);
      }
      wake_.wait_until(lock, next);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Ticker>> tickers_;
  bool stopping_ = false;
  std::thread thread_; // last: it uses all of the above
};

} // namespace examples
