// SPDX-License-Identifier: MIT
// A hashed timing wheel (Varghese and Lauck, 1987, scheme 6) whose entries are moved lazily: what a
// deadline_wheel is without its timer. Time is counted in ticks.
// Threads: one.
// Lifetime: an entry that is armed is disarmed before it dies, and takes itself out then; a wheel that dies disarms its
// entries and lets them go.
//
//       now                      every tick looks at one slot; an entry whose deadline was put off since it was
//        v                       put there moves on, the others have expired
//     | 0 | 1 | 2 | ... | 255 |
//
// Invariants: an armed entry is linked; a linked one is in slot `looked_at % slots`, and now < looked_at <=
// max(deadline, now + 1).
// Putting a deadline off is one store and a comparison, whatever the number of entries; a tick costs its slot.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace slabbuf::net::detail {

class timing_wheel {
 public:
  /// A deadline further away than this is looked at once on the way for each turn of the wheel.
  static constexpr std::uint32_t slots = 256;

  /// Most ticks until a deadline: those before and after `now` must be told apart when it wraps.
  static constexpr std::uint32_t ticks_max = std::uint32_t{1} << 30;

  class entry {
   public:
    entry() noexcept = default;
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;
    ~entry() { unlink(); }

    /// Whether a wheel looks after it: armed, or disarmed since its slot was last looked at.
    bool linked() const noexcept { return next_ != this; }

   private:
    friend class timing_wheel;

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
    std::uint32_t deadline_ = 0;   // the tick it expires at, when armed
    std::uint32_t looked_at_ = 0;  // the tick its slot is looked at, when linked
    bool armed_ = false;
  };

  timing_wheel() noexcept = default;
  timing_wheel(const timing_wheel&) = delete;
  timing_wheel& operator=(const timing_wheel&) = delete;
  ~timing_wheel() {
    for (entry& slot : slots_) {
      while (slot.linked()) {
        slot.next_->armed_ = false;
        slot.next_->unlink();
      }
    }
  }

  /// It expires at the `ticks`-th tick from now (at least the next one, at most ticks_max) instead of whenever it would
  /// have.
  void arm(entry& armed, std::uint32_t ticks) noexcept {
    if (!armed.armed_) ++armed_count_;
    armed.armed_ = true;
    armed.deadline_ = now_ + std::clamp(ticks, std::uint32_t{1}, ticks_max);
    // Where it is, it is looked at in time.
    if (armed.linked() && before_or_at(armed.looked_at_, armed.deadline_)) return;
    armed.unlink();
    place(armed);
  }

  /// It does not expire. It leaves its slot when that is looked at, so that arming it again is as cheap.
  void disarm(entry& disarmed) noexcept {
    if (disarmed.armed_) --armed_count_;
    disarmed.armed_ = false;
  }
  static bool is_armed(const entry& asked) noexcept { return asked.armed_; }

  /// One tick on: disarms every entry whose deadline it is, and then calls `expire(entry&)`, which may do anything with
  /// any entry, and throw. Returns false when no entry is armed any more, so that ticks may stop; arm() makes them
  /// necessary again.
  template <class Expire>
  bool advance(Expire expire) {
    ++now_;
    list due(*this);  // apart, because an entry that moves on may land in this slot again
    due.take(slots_[now_ % slots]);
    while (entry* const each = due.pop()) {
      if (before_or_at(each->deadline_, now_)) {
        disarm(*each);
        expire(*each);
      } else {
        place(*each);
      }
    }
    return armed_count_ != 0;
  }

  /// Calls `action(entry&)` for every armed entry. It may do anything with any entry, and throw; one that
  /// it arms may be called or not.
  template <class Action>
  void for_each(Action action) {
    list all(*this);
    for (entry& slot : slots_) all.take(slot);
    while (entry* const each = all.pop()) {
      place(*each);
      action(*each);
    }
  }

 private:
  // Entries on their way from slots to somewhere. Whoever works on them may throw: the rest goes back then.
  class list {
   public:
    explicit list(timing_wheel& wheel) noexcept : wheel_(wheel) {}
    list(const list&) = delete;
    list& operator=(const list&) = delete;
    ~list() {
      while (entry* const each = pop()) wheel_.place(*each);
    }

    void take(entry& slot) noexcept {
      while (slot.linked()) {
        entry& each = *slot.next_;
        each.unlink();
        each.link_before(head_);
      }
    }
    // The next one that is armed, out of the list; those that are not leave it on the way. Null when that was all.
    entry* pop() noexcept {
      while (head_.linked()) {
        entry& each = *head_.next_;
        each.unlink();
        if (each.armed_) return &each;
      }
      return nullptr;
    }

   private:
    timing_wheel& wheel_;
    entry head_;
  };

  static bool before_or_at(std::uint32_t one, std::uint32_t other) noexcept {
    return static_cast<std::int32_t>(other - one) >= 0;
  }
  void place(entry& placed) noexcept {
    const std::uint32_t ticks = std::clamp(placed.deadline_ - now_, std::uint32_t{1}, slots);
    placed.looked_at_ = now_ + ticks;
    placed.link_before(slots_[placed.looked_at_ % slots]);
  }

  std::array<entry, slots> slots_;
  std::uint32_t now_ = 0;
  std::size_t armed_count_ = 0;
};

}  // namespace slabbuf::net::detail
