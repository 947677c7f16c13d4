// SPDX-License-Identifier: MIT
#include "http/digest.hpp"

#include <fmt/format.h>

#include <new>

namespace slabbuf::examples {
namespace {

constexpr std::string_view key = "sha-256=:";

// 32 bytes are 44 characters, the last of which pads.
constexpr std::size_t encoded_size = 44;

}  // namespace

sha256_hash::sha256_hash() : context_(::EVP_MD_CTX_new()) {
  if (context_ == nullptr || ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
}

void sha256_hash::update(std::span<const std::byte> bytes) noexcept {
  ::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
}

sha256 sha256_hash::finish() noexcept {
  sha256 digest{};
  ::EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  ::EVP_DigestInit_ex(context_.get(), nullptr, nullptr);
  return digest;
}

std::string digest_field(const sha256& digest) {
  std::array<unsigned char, encoded_size + 1> encoded{};
  ::EVP_EncodeBlock(encoded.data(), reinterpret_cast<const unsigned char*>(digest.data()),
                    static_cast<int>(digest.size()));
  return fmt::format("{}{}:", key, reinterpret_cast<const char*>(encoded.data()));
}

std::optional<sha256> parse_digest_field(std::string_view field) {
  const std::size_t at = field.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  // At the start of a member of the list, not the end of another one's name.
  if (at != 0 && field[at - 1] != ' ' && field[at - 1] != ',' && field[at - 1] != '\t') return std::nullopt;
  const std::string_view encoded = field.substr(at + key.size(), encoded_size + 1);
  if (encoded.size() != encoded_size + 1 || encoded[encoded_size] != ':' || encoded[encoded_size - 1] != '=' ||
      encoded[encoded_size - 2] == '=') {
    return std::nullopt;
  }
  std::array<unsigned char, 33> decoded{};
  if (::EVP_DecodeBlock(decoded.data(), reinterpret_cast<const unsigned char*>(encoded.data()), encoded_size) != 33) {
    return std::nullopt;
  }
  sha256 digest{};
  for (std::size_t index = 0; index < digest.size(); ++index) digest[index] = std::byte{decoded[index]};
  return digest;
}

std::string to_hex(const sha256& digest) {
  std::string text;
  for (const std::byte each : digest) text += fmt::format("{:02x}", std::to_integer<unsigned>(each));
  return text;
}

}  // namespace slabbuf::examples
