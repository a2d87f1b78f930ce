// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/window_queue.h"

#include "scanner/flag_guard.h"

#include <algorithm>
#include <utility>

namespace castaway {

using Chunk = WindowQueue::Chunk;

// --- the queue -------------------------------------------------------------------------------------------------------

bool WindowQueue::build(size_t windows, size_t pointers, size_t markers, Workspace &workspace) {
  constexpr size_t kMostOwn = 16384; // for heaps that are strewn over much more memory than they have
  own_ = std::min(windows, kMostOwn);
  size_t chunks = (markers + 1) * (own_ + 1) + pointers / Chunk::kRoom;
  waiting_ = take_table<Chunk *>(workspace, windows);
  states_ = take_table<State>(workspace, windows);
  order_ = take_table<uint32_t>(workspace, windows);
  auto memory = reinterpret_cast<uintptr_t>(workspace.take((chunks + 1) * kChunkBytes));
  chunks_ = {reinterpret_cast<Chunk *>((memory + kChunkBytes - 1) & ~(kChunkBytes - 1)), chunks};
  return waiting_.data() && states_.data() && order_.data() && memory;
}

bool WindowQueue::start_round() {
  FlagGuard guard(locked_);
  ready_.store(ready() + std::exchange(later_, 0), std::memory_order_relaxed);
  return ready() > 0;
}

bool WindowQueue::take(Window &window) {
  FlagGuard guard(locked_);
  if (ready() == 0) return false;
  ready_.store(ready() - 1, std::memory_order_relaxed);
  window.number = order_[first_++ % order_.size()];
  State &state = states_[window.number];
  window.held = state == State::held;
  state = State::out;
  window.chunks = waiting_[window.number];
  waiting_[window.number] = nullptr;
  return true;
}

void WindowQueue::release(Chunk *chunks) {
  if (!chunks) return;
  Chunk *last = chunks;
  while (last->next) last = last->next;
  FlagGuard guard(locked_);
  last->next = free_;
  free_ = chunks;
}

void WindowQueue::hold(size_t window) {
  FlagGuard guard(locked_);
  enqueue(window, State::held);
}

void WindowQueue::give(size_t window, Chunk *chunk) {
  FlagGuard guard(locked_);
  enqueue(window, std::max(State::waits, states_[window]));
  chunk->next = waiting_[window];
  waiting_[window] = chunk;
}

Chunk *WindowQueue::fresh() {
  FlagGuard guard(locked_);
  if (!free_) return used_ < chunks_.size() ? &chunks_[used_++] : nullptr;
  Chunk *chunk = free_;
  free_ = chunk->next;
  return chunk;
}

void WindowQueue::enqueue(size_t window, State state) {
  if (states_[window] == State::out)
    order_[(first_ + ready() + later_++) % order_.size()] = static_cast<uint32_t>(window);
  states_[window] = state;
}

// --- a marker's buffer -----------------------------------------------------------------------------------------------

bool WindowBuffer::build(WindowQueue &queue, Workspace &workspace) {
  queue_ = &queue;
  ends_ = take_table<uint16_t *>(workspace, queue.order_.size());
  is_listed_ = take_table<bool>(workspace, queue.order_.size());
  listed_ = take_table<uint32_t>(workspace, queue.own_);
  return ends_.data() && is_listed_.data() && listed_.data();
}

// A new chunk for a window that has none, or a full one.
bool WindowBuffer::extend(size_t window) {
  if (Chunk *full = close(window)) queue_->give(window, full);
  if (!is_listed_[window] && listed_count_ == listed_.size()) give_all();
  Chunk *chunk = queue_->fresh();
  if (!chunk) return false;
  ends_[window] = chunk->granules;
  if (!is_listed_[window]) listed_[listed_count_++] = static_cast<uint32_t>(window);
  is_listed_[window] = true;
  return true;
}

// The chunk of the window, no longer written to; null for none.
Chunk *WindowBuffer::close(size_t window) {
  const uint16_t *end = ends_[window];
  if (!end) return nullptr;
  auto *chunk = reinterpret_cast<Chunk *>((reinterpret_cast<uintptr_t>(end) - 1) & ~(WindowQueue::kChunkBytes - 1));
  chunk->count = static_cast<size_t>(end - chunk->granules);
  ends_[window] = nullptr;
  return chunk;
}

void WindowBuffer::give_all() {
  for (uint32_t window : listed_.first(listed_count_)) {
    if (Chunk *chunk = close(window)) queue_->give(window, chunk);
    is_listed_[window] = false;
  }
  listed_count_ = 0;
}

void WindowBuffer::give_to(WindowQueue::Window &window) {
  Chunk *chunk = close(window.number);
  if (!chunk) return;
  chunk->next = window.chunks;
  window.chunks = chunk;
}

} // namespace castaway
