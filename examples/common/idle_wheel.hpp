// SPDX-License-Identifier: MIT
// Idle deadlines of many connections for the price of one timer: a timing wheel (Varghese and Lauck,
// 1987) whose entries are moved lazily.
// Threads: one, the one that runs the connections.
// Lifetime: an entry takes itself out when it dies; the wheel must outlive its entries.
//
//     now_              every tick looks at one slot; an entry that was active since it was put
//      v                there moves to the slot of its real deadline, the others have expired
//     | 0 | 1 | 2 | ... | 15 |
//
// Invariant: an entry's slot is at most its deadline. Cost of activity: one store. An entry expires
// between one and 1 + 1/8 timeouts after it was last active.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace slabbuf::examples {

class idle_wheel {
 public:
  /// Ticks in one timeout: whoever owns the wheel calls advance() that often.
  static constexpr std::uint32_t ticks_per_timeout = 8;

  class entry {
   public:
    entry() noexcept = default;
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;
    ~entry() { unlink(); }

   private:
    friend class idle_wheel;

    void unlink() noexcept {
      previous_->next_ = next_;
      next_->previous_ = previous_;
      previous_ = next_ = this;
    }
    void link_before(entry& other) noexcept {
      next_ = &other;
      previous_ = other.previous_;
      previous_->next_ = this;
      other.previous_ = this;
    }

    entry* previous_ = this;
    entry* next_ = this;
    std::uint32_t active_tick_ = 0;  // when it was last active
  };

  idle_wheel() noexcept = default;
  idle_wheel(const idle_wheel&) = delete;
  idle_wheel& operator=(const idle_wheel&) = delete;

  /// Adds an entry that is active now.
  void add(entry& added) noexcept {
    touch(added);
    place(added);
  }

  /// The connection was active.
  void touch(entry& active) const noexcept { active.active_tick_ = now_; }

  /// One tick on: calls `expire(entry&)` for every entry that was idle for a timeout. It may destroy
  /// that entry, and no other.
  template <class Expire>
  void advance(Expire expire) {
    ++now_;
    entry& slot = slots_[now_ % slots_.size()];
    entry due;  // its own list, because an entry that moves on may land in this slot again
    if (slot.next_ != &slot) {
      due.link_before(slot);
      slot.unlink();
    }
    while (due.next_ != &due) {
      entry& each = *due.next_;
      each.unlink();
      place(each);
      if (now_ - each.active_tick_ > ticks_per_timeout) expire(each);
    }
  }

  /// Calls `action(entry&)` for every entry. It may destroy that entry, and no other.
  template <class Action>
  void for_each(Action action) {
    for (entry& slot : slots_) {
      for (entry* each = slot.next_; each != &slot;) {
        entry* const next = each->next_;
        action(*each);
        each = next;
      }
    }
  }

 private:
  void place(entry& placed) noexcept {
    // An entry is due one tick after its timeout, when more than a whole timeout has gone by. One
    // that is overdue is looked at again on the next tick.
    const std::uint32_t deadline = placed.active_tick_ + ticks_per_timeout + 1;
    const std::uint32_t slot = static_cast<std::int32_t>(deadline - now_) > 0 ? deadline : now_ + 1;
    placed.link_before(slots_[slot % slots_.size()]);
  }

  std::array<entry, 2 * std::size_t{ticks_per_timeout}> slots_;
  std::uint32_t now_ = 0;
};

}  // namespace slabbuf::examples
