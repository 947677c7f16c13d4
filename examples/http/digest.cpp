// SPDX-License-Identifier: MIT
#include "http/digest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <stdexcept>

namespace slabbuf::examples {
namespace {

constexpr std::string_view algorithm = "sha-256";

// 32 bytes are 44 characters, the last of which pads.
constexpr std::size_t encoded_size = 44;

constexpr std::string_view lower = "abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view key_letters = "abcdefghijklmnopqrstuvwxyz0123456789_-.*";
constexpr std::string_view base64_letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

// What parses a dictionary of byte sequences from left to right, and refuses whatever else there is.
class dictionary_reader {
 public:
  explicit dictionary_reader(std::string_view text) : rest_(text) {
    skip(" ");
    const std::size_t last = rest_.find_last_not_of(' ');
    rest_ = rest_.substr(0, last == std::string_view::npos ? 0 : last + 1);
  }

  bool at_end() const noexcept { return rest_.empty(); }

  std::string_view take_key() {
    if (rest_.empty() || (lower.find(rest_.front()) == std::string_view::npos && rest_.front() != '*')) refuse();
    return take(key_letters);
  }

  // What is between the colons.
  std::string_view take_bytes() {
    expect('=');
    expect(':');
    const std::string_view bytes = take(base64_letters);
    expect(':');
    return bytes;
  }

  // Parameters mean nothing here, and a comma says that there is another member.
  void take_end_of_member() {
    while (!rest_.empty() && rest_.front() == ';') {
      rest_.remove_prefix(1);
      skip(" ");
      take_key();
      if (!rest_.empty() && rest_.front() == '=') take_parameter_value();
    }
    skip(" \t");
    if (rest_.empty()) return;
    expect(',');
    skip(" \t");
    if (rest_.empty()) refuse();
  }

 private:
  [[noreturn]] static void refuse() { throw std::invalid_argument("not a digest as HTTP writes it"); }

  void skip(std::string_view letters) noexcept {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(letters), rest_.size()));
  }
  std::string_view take(std::string_view letters) noexcept {
    const std::string_view taken = rest_.substr(0, rest_.find_first_not_of(letters));
    rest_.remove_prefix(taken.size());
    return taken;
  }
  void expect(char letter) {
    if (rest_.empty() || rest_.front() != letter) refuse();
    rest_.remove_prefix(1);
  }

  // A string, or whatever has no blanks and separates nothing: a number, a token, bytes, a boolean.
  void take_parameter_value() {
    expect('=');
    if (rest_.empty()) refuse();
    if (rest_.front() != '"') {
      const std::string_view value = rest_.substr(0, rest_.find_first_of(" \t,;\""));
      if (value.empty()) refuse();
      rest_.remove_prefix(value.size());
      return;
    }
    rest_.remove_prefix(1);
    while (!rest_.empty() && rest_.front() != '"') {
      if (rest_.front() == '\\') rest_.remove_prefix(1);
      if (rest_.empty()) refuse();
      rest_.remove_prefix(1);
    }
    expect('"');
  }

  std::string_view rest_;
};

sha256 decode(std::string_view encoded) {
  const std::size_t padding = encoded.find('=');
  std::array<unsigned char, 33> decoded{};
  if (encoded.size() != encoded_size || padding != encoded_size - 1 ||
      ::EVP_DecodeBlock(decoded.data(), reinterpret_cast<const unsigned char*>(encoded.data()), encoded_size) != 33) {
    throw std::invalid_argument("a sha-256 that has not 32 bytes");
  }
  sha256 digest{};
  for (std::size_t index = 0; index < digest.size(); ++index) digest[index] = std::byte{decoded[index]};
  return digest;
}

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
  return fmt::format("{}=:{}:", algorithm, reinterpret_cast<const char*>(encoded.data()));
}

std::optional<sha256> parse_digest_field(std::string_view field) {
  dictionary_reader reader(field);
  std::optional<sha256> digest;
  while (!reader.at_end()) {
    const std::string_view key = reader.take_key();
    const std::string_view encoded = reader.take_bytes();
    // Of several, the last one counts.
    if (key == algorithm) digest = decode(encoded);
    reader.take_end_of_member();
  }
  return digest;
}

std::string to_hex(const sha256& digest) {
  std::string text;
  for (const std::byte each : digest) text += fmt::format("{:02x}", std::to_integer<unsigned>(each));
  return text;
}

}  // namespace slabbuf::examples
