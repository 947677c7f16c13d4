// SPDX-License-Identifier: MIT
// The bytes a connection sends and must get back: a reproducible random stream that is never stored.
// Threads: immutable after construction; any number of threads may read one.
// Lifetime: a value of 8 bytes.
//
// Byte n depends on n, the seed and the connection only (splitmix64 as a function of a counter, Steele,
// Lea and Flood, 2014), so the sender makes its bytes where it stands and the receiver checks where *it*
// stands, however far apart they are. Streams of different connections differ, so an echo that reaches
// the wrong connection is found.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace slabbuf::bench {

static_assert(std::endian::native == std::endian::little, "byte n of the stream is byte n % 8 of a word in memory");

/// One step of splitmix64: a good 64-bit hash.
inline std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

class random_stream {
 public:
  random_stream(std::uint64_t seed, std::uint64_t connection) noexcept : key_(mix(mix(seed) + connection * step)) {}

  /// Bytes [offset, offset + to.size()) of the stream.
  void fill(std::uint64_t offset, std::span<std::byte> to) const noexcept {
    walk(offset, to.size(), [&](std::size_t done, const std::uint64_t& word, std::size_t count) {
      std::memcpy(to.data() + done, &word, count);
      return true;
    });
  }

  /// Index of the first byte of `got` that is not the stream's at `offset`; got.size() when all are.
  std::size_t first_difference(std::uint64_t offset, std::span<const std::byte> got) const noexcept {
    std::size_t same = got.size();
    walk(offset, got.size(), [&](std::size_t done, const std::uint64_t& word, std::size_t count) {
      if (std::memcmp(got.data() + done, &word, count) == 0) return true;
      same = done;
      return false;
    });
    while (same < got.size() && got[same] == at(offset + same)) ++same;
    return same;
  }

  std::byte at(std::uint64_t offset) const noexcept {
    return static_cast<std::byte>((word_at(offset / word_bytes) >> (8 * (offset % word_bytes))) & 0xff);
  }

 private:
  static constexpr std::size_t word_bytes = 8;
  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15U;  // 2^64 / golden ratio

  std::uint64_t word_at(std::uint64_t index) const noexcept { return mix(key_ + (index + 1) * step); }

  // Calls `visit(done, word, count)` for the stretch, a word at a time, until it returns false. The
  // middle, nearly all of it, is whole words: there `count` is a constant once this is inlined.
  template <class Visit>
  void walk(std::uint64_t offset, std::size_t size, Visit visit) const noexcept {
    std::size_t done = 0;
    if (const std::size_t skipped = offset % word_bytes; skipped != 0 && size != 0) {
      done = std::min(word_bytes - skipped, size);
      if (!visit(std::size_t{0}, word_at(offset / word_bytes) >> (8 * skipped), done)) return;
    }
    for (; size - done >= word_bytes; done += word_bytes) {
      if (!visit(done, word_at((offset + done) / word_bytes), word_bytes)) return;
    }
    if (done < size) visit(done, word_at((offset + done) / word_bytes), size - done);
  }

  std::uint64_t key_;
};

}  // namespace slabbuf::bench
