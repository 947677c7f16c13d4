// SPDX-License-Identifier: MIT
// Asio does the same with a dynamic_chain as with a std::string: each operation on both, from and to streams that move
// one byte at a time, a few, or all there are, with and without a limit; error, count and bytes must be equal.
#include <slabbuf/net/dynamic_chain.hpp>

#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/completion_condition.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/read_at.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <asio/write_at.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/chain_of_blocks.hpp"

namespace slabbuf {
namespace {

constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

// Reads `letters` and then its end; keeps what is written. At most `step` bytes a call, at a position or in order.
class letter_stream {
 public:
  using executor_type = asio::io_context::executor_type;

  letter_stream(asio::io_context& context, std::size_t step) : context_(&context), step_(step) {}
  executor_type get_executor() const noexcept { return context_->get_executor(); }

  template <class Buffers>
  std::size_t read_some_at(std::uint64_t offset, const Buffers& into, asio::error_code& ec) {
    const std::string_view rest = letters.substr(std::min<std::size_t>(offset, letters.size()));
    const std::size_t count = asio::buffer_copy(into, asio::buffer(rest), step_);
    ec = count == 0 && asio::buffer_size(into) != 0 ? asio::error_code(asio::error::eof) : asio::error_code();
    return count;
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& into, asio::error_code& ec) {
    const std::size_t count = read_some_at(position_, into, ec);
    position_ += count;
    return count;
  }
  template <class Buffers>
  std::size_t write_some_at(std::uint64_t offset, const Buffers& from, asio::error_code& ec) {
    std::string text(std::min(step_, asio::buffer_size(from)), '?');
    asio::buffer_copy(asio::buffer(text), from);
    written.resize(std::max<std::size_t>(written.size(), offset + text.size()), '.');
    written.replace(offset, text.size(), text);
    ec = {};
    return text.size();
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& from, asio::error_code& ec) {
    return write_some_at(written.size(), from, ec);
  }

  template <class Buffers, class Handler>
  void async_read_some(const Buffers& into, Handler handler) {
    asio::error_code ec;
    const std::size_t count = read_some(into, ec);
    asio::post(*context_, [handler = std::move(handler), ec, count]() mutable { handler(ec, count); });
  }
  template <class Buffers, class Handler>
  void async_read_some_at(std::uint64_t offset, const Buffers& into, Handler handler) {
    asio::error_code ec;
    const std::size_t count = read_some_at(offset, into, ec);
    asio::post(*context_, [handler = std::move(handler), ec, count]() mutable { handler(ec, count); });
  }
  template <class Buffers, class Handler>
  void async_write_some(const Buffers& from, Handler handler) {
    asio::error_code ec;
    const std::size_t count = write_some(from, ec);
    asio::post(*context_, [handler = std::move(handler), ec, count]() mutable { handler(ec, count); });
  }

  std::string written;

 private:
  asio::io_context* context_;
  std::size_t step_;
  std::size_t position_ = 0;
};

// What an operation came to: its error and count, each time it was called, and the bytes.
struct outcome {
  std::vector<std::pair<asio::error_code, std::size_t>> results;
  std::string text;
};

class dynamic_chain_reference_test : public ::testing::TestWithParam<std::size_t> {
 protected:
  // Calls `operation(stream, dynamic buffer)`, which returns error and count, three times on each of a string and
  // chains of tiny and of large blocks.
  template <class Operation>
  void same(std::string_view before, std::size_t bytes_max, const Operation& operation) {
    std::string reference(before);
    letter_stream reference_stream(context_, GetParam());
    const outcome expected = run(
        reference_stream, [&] { return asio::dynamic_buffer(reference, bytes_max); }, [&] { return reference; },
        operation);
    for (const std::size_t block : {8U, 4096U}) {
      local_pool pool({.size_classes = {block}});
      buffer_chain chain;
      chain.append_copy(pool, std::as_bytes(std::span(before)));
      letter_stream stream(context_, GetParam());
      const outcome seen = run(
          stream, [&] { return net::dynamic_chain(chain, pool, bytes_max); }, [&] { return support::text_of(chain); },
          operation);
      EXPECT_EQ(seen.results, expected.results) << "blocks of " << block << ", limit " << bytes_max;
      EXPECT_EQ(stream.written, reference_stream.written);
      // How much is read ahead of a delimiter is the buffer's own affair.
      const std::size_t common = std::min(seen.text.size(), expected.text.size());
      EXPECT_EQ(seen.text.substr(0, common), expected.text.substr(0, common));
      for (const auto& [ec, count] : expected.results) EXPECT_GE(seen.text.size() + stream.written.size(), count);
    }
  }

  // The same, by `start(stream, dynamic buffer, handler)`.
  template <class Start>
  void same_async(std::string_view before, std::size_t bytes_max, const Start& start) {
    same(before, bytes_max, [&](letter_stream& stream, auto dynamic) {
      std::vector<std::pair<asio::error_code, std::size_t>> got;
      start(stream, dynamic, [&](asio::error_code ec, std::size_t count) { got.emplace_back(ec, count); });
      context_.restart();
      context_.run();
      EXPECT_EQ(got.size(), 1U);
      return got.at(0);
    });
  }

  asio::io_context context_;

 private:
  template <class Dynamic, class Text, class Operation>
  outcome run(letter_stream& stream, const Dynamic& dynamic, const Text& text, const Operation& operation) {
    outcome all;
    for (int time = 0; time < 3; ++time) all.results.push_back(operation(stream, dynamic()));
    all.text = text();
    return all;
  }
};
INSTANTIATE_TEST_SUITE_P(bytes_at_a_time, dynamic_chain_reference_test, ::testing::Values(1, 10, 1000),
                         [](const auto& each) { return std::to_string(each.param); });

constexpr std::size_t limits[] = {25, 26, 62, 1000, SIZE_MAX};

TEST_P(dynamic_chain_reference_test, ReadsUntilADelimiter) {
  for (const std::size_t limit : limits) {
    const auto each = [&](const auto& delimiter, const char* at_first) {
      same("", limit, [&](letter_stream& stream, auto dynamic) {
        asio::error_code ec;
        const std::size_t count = asio::read_until(stream, dynamic, delimiter, ec);
        return std::pair(ec, count);
      });
      same_async(at_first, limit, [&](letter_stream& stream, auto dynamic, auto handler) {
        asio::async_read_until(stream, dynamic, delimiter, handler);
      });
    };
    for (const char delimiter : {'A', 'Z', 'z', '9', '!'}) each(delimiter, "");
    for (const char* const delimiter : {"AB", "XYZ", "Zabcdefgh", "89", "9!"}) each(delimiter, "....");
  }
}

TEST_P(dynamic_chain_reference_test, ReadsUntilItHasEnough) {
  for (const std::size_t limit : limits) {
    const auto each = [&](const auto& condition) {
      same("....", limit, [&](letter_stream& stream, auto dynamic) {
        asio::error_code ec;
        const std::size_t count = asio::read(stream, dynamic, condition, ec);
        return std::pair(ec, count);
      });
      same_async("", limit, [&](letter_stream& stream, auto dynamic, auto handler) {
        asio::async_read(stream, dynamic, condition, handler);
      });
    };
    each(asio::transfer_all());
    each(asio::transfer_exactly(0));
    each(asio::transfer_exactly(1));
    each(asio::transfer_exactly(42));
    each(asio::transfer_at_least(1));
    each(asio::transfer_at_least(42));
    each([](asio::error_code ec, std::size_t count) -> std::size_t { return ec || count >= 20 ? 0 : 3; });
  }
}

TEST_P(dynamic_chain_reference_test, WritesWhatItHas) {
  const auto each = [&](const auto& condition) {
    same(letters, SIZE_MAX, [&](letter_stream& stream, auto dynamic) {
      asio::error_code ec;
      const std::size_t count = asio::write(stream, dynamic, condition, ec);
      return std::pair(ec, count);
    });
    same_async(letters, SIZE_MAX, [&](letter_stream& stream, auto dynamic, auto handler) {
      asio::async_write(stream, dynamic, condition, handler);
    });
  };
  each(asio::transfer_all());
  each(asio::transfer_exactly(0));
  each(asio::transfer_exactly(42));
  each(asio::transfer_at_least(42));
  each([](asio::error_code ec, std::size_t count) -> std::size_t { return ec || count >= 20 ? 0 : 3; });
}

// Sequences of a fixed size, at a position.
TEST_P(dynamic_chain_reference_test, ViewsAreReadAndWrittenAtAPosition) {
  for (const std::size_t blocks : {0U, 1U, 2U, 17U}) {
    local_pool pool({.size_classes = {8}});
    std::string before;
    buffer_chain chain = support::chain_of_blocks(pool, blocks, 3, before);
    letter_stream stream(context_, GetParam());
    EXPECT_EQ(asio::read_at(stream, 5, net::chain_view(chain)), before.size());
    EXPECT_EQ(support::text_of(chain), letters.substr(5, before.size()));
    std::size_t received = 0;
    asio::async_read_at(stream, 7, net::chain_view(chain), [&](asio::error_code ec, std::size_t count) {
      EXPECT_FALSE(ec);
      received = count;
    });
    context_.restart();
    context_.run();
    EXPECT_EQ(received, before.size());
    EXPECT_EQ(support::text_of(chain), letters.substr(7, before.size()));
    EXPECT_EQ(asio::write_at(stream, 3, net::const_chain_view(chain)), before.size());
    EXPECT_EQ(stream.written, blocks == 0 ? "" : "..." + std::string(letters.substr(7, before.size())));
  }
}

}  // namespace
}  // namespace slabbuf
