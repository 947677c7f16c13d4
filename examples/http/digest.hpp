// SPDX-License-Identifier: MIT
// SHA-256 of what is sent, and the Repr-Digest field that carries it (RFC 9530).
// Threads: one at a time for a hash; functions of values otherwise.
// Lifetime: values.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace slabbuf::examples {

using sha256 = std::array<std::byte, 32>;

class sha256_hash {
 public:
  /// Of nothing yet. Throws std::bad_alloc.
  sha256_hash();

  void update(std::span<const std::byte> bytes) noexcept;
  /// Of all bytes so far; the next ones belong to another hash.
  sha256 finish() noexcept;

 private:
  struct free_context {
    void operator()(EVP_MD_CTX* context) const noexcept { ::EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, free_context> context_;
};

/// "sha-256=:BASE64:", the value of Repr-Digest.
std::string digest_field(const sha256& digest);

/// The inverse, of all lines of the field, joined by commas: a dictionary whose members are byte sequences (RFC 8941,
/// 3.2). Other algorithms are skipped; no sha-256, nothing. Throws std::invalid_argument, for people, when the field is
/// no such dictionary or its sha-256 has not 32 bytes.
std::optional<sha256> parse_digest_field(std::string_view field);

/// 64 digits.
std::string to_hex(const sha256& digest);

}  // namespace slabbuf::examples
