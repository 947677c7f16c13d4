// SPDX-License-Identifier: MIT
// 1: buffers of a pool, without Asio. A buffer is zero when it comes, knows what was written into it, and
// goes back by itself.
#include <slabbuf/pool/pool.hpp>

#include <algorithm>
#include <cstdio>
#include <string_view>

int main() {
  slabbuf::local_pool pool({.budget_bytes_max = 1 << 20});

  slabbuf::buffer message = pool.acquire(100);  // the class of 128 bytes fits
  std::printf("%zu bytes of %zu\n", message.size(), message.capacity());

  constexpr std::string_view text = "hello";
  const std::span<std::byte> room = message.writable(text.size());  // only these will be cleared again
  std::transform(text.begin(), text.end(), room.begin(), [](char each) { return static_cast<std::byte>(each); });

  slabbuf::buffer moved = std::move(message);  // one owner; `message` is empty now
  std::printf("%.5s\n", reinterpret_cast<const char*>(moved.data()));
  moved.release();  // or at the end of its scope

  if (!pool.try_acquire(2 << 20)) std::puts("the budget has no room for that");
  try {
    static_cast<void>(pool.acquire(2 << 20));
  } catch (const slabbuf::budget_exceeded& fault) {
    std::puts(fault.what());
  }
  std::fputs(slabbuf::to_text(pool.stats()).c_str(), stdout);
}
