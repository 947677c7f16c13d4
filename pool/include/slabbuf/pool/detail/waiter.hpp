// SPDX-License-Identifier: MIT
// Who waits until the budget has room for a block, and the line they stand in. The layer above says how
// somebody is told: the pool calls a plain function.
// Threads: a line from any thread, under its own lock; a waiter is touched under that lock only, from
// pool_core::wait() until it was told or stop_waiting() has returned.
// Lifetime: a waiter must live as long. It belongs to whoever waits.
#pragma once

#include <slabbuf/pool/detail/depot.hpp>

#include <cstddef>

namespace slabbuf::detail {

struct waiter {
  std::size_t size = 0;  // bytes wanted
  /// Called when `block` or `why` is set and the waiter is out of line. Under the line's lock: it must not call
  /// this or any other concurrent pool, and whoever destroys the waiter from another thread calls stop_waiting() first.
  void (*told)(waiter&) noexcept = nullptr;

  std::byte* block = nullptr;   // what it got: pool_core::collect() makes a block to use of it
  bool sampled = false;         // whether to note who took it
  refusal why = refusal::none;  // why it will never get one

  waiter* previous = nullptr;
  waiter* next = nullptr;
  bool in_line = false;
};

/// First come, first served. Does not own the waiters.
class waiting_line {
 public:
  waiter* first() const noexcept { return first_; }

  void push_back(waiter& added) noexcept {
    added.previous = last_;
    added.next = nullptr;
    added.in_line = true;
    (last_ != nullptr ? last_->next : first_) = &added;
    last_ = &added;
  }

  void remove(waiter& removed) noexcept {
    (removed.previous != nullptr ? removed.previous->next : first_) = removed.next;
    (removed.next != nullptr ? removed.next->previous : last_) = removed.previous;
    removed.in_line = false;
  }

 private:
  waiter* first_ = nullptr;
  waiter* last_ = nullptr;
};

}  // namespace slabbuf::detail
