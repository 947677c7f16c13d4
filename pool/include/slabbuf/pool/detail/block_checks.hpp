// SPDX-License-Identifier: MIT
// What a hardened or watched pool does with every block that goes out and comes back.
// Threads: any, for different blocks.
// Lifetime: as the pool.
//
//     level   out bit of every block   still zero when taken and given     canary behind it
//     off     -                        -                                   -
//     cheap   yes                      its first and last 64 bytes         -
//     full    yes                      all of it                           yes
//
//     | block: class size, zero while free | canary, while out | ... stride |
//
// Free blocks are zero (zeroing.hpp), so a byte that is not was written by somebody who did not own it,
// and nothing has to be kept to find out. Whatever the level, under AddressSanitizer or memcheck free
// blocks are unreadable.
#pragma once

#include <slabbuf/pool/detail/bin.hpp>
#include <slabbuf/pool/detail/slab.hpp>
#include <slabbuf/pool/failure.hpp>
#include <slabbuf/pool/pool_options.hpp>

#include <cstddef>
#include <optional>

namespace slabbuf::detail {

class block_checks {
 public:
  /// `cleared`: whether blocks are zero when they are free.
  block_checks(hardening level, bool cleared) noexcept : level_(level), cleared_(cleared) {}

  /// The block goes out. Returns what is wrong with it.
  std::optional<misuse> take(const block_class& of, std::byte* block) const noexcept;

  /// A block of some slab is about to be cleared and given back by somebody who has no handle of it. Returns
  /// why not.
  std::optional<misuse> before_give(const std::byte* block) const noexcept;

  /// The block came back, and has been cleared as far as its holder said it was written. Returns what is
  /// wrong with it or with giving it back.
  std::optional<misuse> give(const block_class& of, std::byte* block) const noexcept;

 private:
  bool still_zero(const std::byte* block, std::size_t bytes) const noexcept;

  const hardening level_;
  const bool cleared_;
};

}  // namespace slabbuf::detail
