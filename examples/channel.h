// A channel between threads, as in Go: what one sends another receives, in order.
//
// With capacity 0 a sender waits until somebody has taken its value; with capacity N it waits only while N values lie
// ahead of it. Nobody owns a channel: the parties share it (std::shared_ptr). That is how threads leak: a party that
// goes away does not tell the others, and whoever still waits, waits for nobody.
//
// Thread-safe. A closed channel takes no more values and gives out those that it has.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace examples {

template <typename T> class Channel {
public:
  explicit Channel(size_t capacity = 0) : capacity_(capacity) {}
  Channel(const Channel &) = delete;
  Channel &operator=(const Channel &) = delete;

  // Waits, without a time limit, until the value is taken or fits into the buffer. False: closed.
  bool send(T value) {
    std::unique_lock lock(mutex_);
    if (closed_) return false;
    items_.push_back(std::move(value));
    uint64_t ticket = ++sent_;
    arrived_.notify_one();
    taken_.wait(lock, [&] { return closed_ || ticket <= received_ + capacity_; });
    return true;
  }

  // Never waits. False: the buffer is full, or the channel closed.
  bool try_send(T value) {
    std::lock_guard lock(mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(value));
    ++sent_;
    arrived_.notify_one();
    return true;
  }

  // Waits, without a time limit, for a value. Nothing: closed and empty.
  std::optional<T> receive() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return closed_ || !items_.empty(); });
    return take();
  }

  // Waits for a value until the time limit. Nothing: none came, or closed and empty.
  std::optional<T> receive_for(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, limit, [&] { return closed_ || !items_.empty(); });
    return take();
  }

  // Ends every wait on this channel, now and later.
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    arrived_.notify_all();
    taken_.notify_all();
  }

private:
  // REQUIRES: mutex_ is held.
  std::optional<T> take() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> value(std::move(items_.front()));
    items_.pop_front();
    ++received_;
    taken_.notify_all();
    return value;
  }

  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable arrived_; // an item, or the end
  std::condition_variable taken_;   // an item, or the end
  std::deque<T> items_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  bool closed_ = false;
};

} // namespace examples
