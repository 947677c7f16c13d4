// SPDX-License-Identifier: MIT
// pool_core for those who wait for the budget.
#include <slabbuf/pool/detail/pool_core.hpp>

#include <mutex>
#include <utility>

namespace slabbuf::detail {

void pool_core::wait(waiter& added) noexcept {
  {
    const std::lock_guard lock(line_mutex_);
    line_.push_back(added);
    waiting_.fetch_add(1);
  }
  // From here on nothing is cached any more, and what was goes to the depot. `added` may be gone already.
  reclaim();
  serve();
}

bool pool_core::stop_waiting(waiter& removed) noexcept {
  {
    const std::lock_guard lock(line_mutex_);
    if (!removed.in_line) return false;
    line_.remove(removed);
    waiting_.fetch_sub(1);
  }
  serve();  // the next one may want less
  return true;
}

// Gives the first in line what it waits for, and the next ones, as far as the budget goes. No lock of the
// pool is held by the caller.
void pool_core::serve() noexcept {
  if (waiting_.load() == 0) return;
  const std::lock_guard lock(line_mutex_);
  while (waiter* const first = line_.first()) {
    take_for(*first);
    if (first->block == nullptr && first->why == refusal::budget) {
      first->why = refusal::none;
      return;
    }
    line_.remove(*first);
    waiting_.fetch_sub(1);
    first->told(*first);
  }
}

void pool_core::take_for(waiter& first) noexcept {
  const std::size_t index = table_.find(first.size);
  thread_cache::taken got{};
  if (index != size_class_table::npos) {
    got = take_uncached(index);
  } else {
    const depot::oversize_block made = depot_.take_oversize(first.size, &classes_[table_.count()].of);
    got = {made.data, made.why, made.data != nullptr && sample_uncached()};
  }
  first.block = got.block;
  first.why = got.why;
  first.sampled = got.sampled;
}

pool_core::taken pool_core::collect(waiter& told) noexcept {
  const std::size_t index = table_.find(told.size);
  return hand_out({std::exchange(told.block, nullptr), refusal::none, told.sampled},
                  index != size_class_table::npos ? index : table_.count(), told.size);
}

}  // namespace slabbuf::detail
