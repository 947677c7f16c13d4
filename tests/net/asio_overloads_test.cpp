// SPDX-License-Identifier: MIT
// A view or a dynamic chain in each place where Asio takes a sequence of buffers or a dynamic buffer: all of these
// compile, and move the bytes they should.
#include <slabbuf/net/dynamic_chain.hpp>

#include <slabbuf/pool/pool.hpp>

// GCC 12 believes that Asio moves bytes within an empty vector.
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif
#include <asio/buffered_read_stream.hpp>
#include <asio/buffered_stream.hpp>
#include <asio/buffered_write_stream.hpp>
#pragma GCC diagnostic pop

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/buffers_iterator.hpp>
#include <asio/completion_condition.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstddef>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/chain_of_blocks.hpp"
#include "support/loopback_pair.hpp"
#include "support/udp_pair.hpp"

namespace slabbuf {
namespace {

using net::chain_view;
using net::const_chain_view;
using net::dynamic_chain;

static_assert(std::is_default_constructible_v<chain_view> && std::is_copy_assignable_v<chain_view>);
static_assert(std::is_same_v<chain_view::value_type, asio::mutable_buffer>);
static_assert(std::is_same_v<const_chain_view::value_type, asio::const_buffer>);
static_assert(std::is_copy_constructible_v<dynamic_chain<local_pool>>);
static_assert(std::is_nothrow_move_constructible_v<dynamic_chain<local_pool>>);
static_assert(std::is_same_v<decltype(std::declval<const dynamic_chain<local_pool>&>().data(0, 1)), const_chain_view>);
static_assert(std::is_same_v<decltype(std::declval<dynamic_chain<local_pool>&>().data(0, 1)), chain_view>);

class asio_overloads_test : public ::testing::Test {
 protected:
  // Twenty blocks: more than a composed operation takes at once.
  local_pool pool;
  std::string text;
  buffer_chain chain = support::chain_of_blocks(pool, 20, 3, text);
  std::string ignored;
  buffer_chain into = support::chain_of_blocks(pool, 20, 3, ignored);
  asio::io_context context;
  asio::error_code ec;

  void run() {
    context.restart();
    context.run();
  }
  // What was read into `into` is what `chain` has.
  void expect_same() {
    EXPECT_EQ(support::text_of(into), text);
    std::string blank(text.size(), '?');
    asio::buffer_copy(chain_view(into), asio::buffer(blank));
  }
  auto all() {
    return [this](asio::error_code error, std::size_t count) {
      EXPECT_FALSE(error);
      EXPECT_EQ(count, text.size());
    };
  }
};

// As a byte, and as one that cannot be written, wherever an iterator over bytes may go.
template <class View, class Byte>
void expect_iterates(const View& view, std::string_view expected) {
  using iterator = asio::buffers_iterator<View, Byte>;
  iterator at;
  at = iterator::begin(view);
  const iterator end = iterator::end(view);
  ASSERT_EQ(end - at, static_cast<std::ptrdiff_t>(expected.size()));
  EXPECT_EQ(std::string(at, end), expected);
  at += 5;
  at = at + 2;
  at = (-1) + at;
  at -= 1;
  at = at - 1;
  EXPECT_EQ(*at, expected[4]);
  EXPECT_EQ(*at++, expected[4]);
  EXPECT_EQ(*at--, expected[5]);
  EXPECT_EQ(*++at, expected[5]);
  EXPECT_EQ(*--at, expected[4]);
  EXPECT_EQ(at[3], expected[7]);
  EXPECT_LT(at, end);
  EXPECT_NE(at, end);
  EXPECT_EQ(std::string(std::make_reverse_iterator(end), std::make_reverse_iterator(iterator::begin(view))),
            std::string(expected.rbegin(), expected.rend()));
}

TEST_F(asio_overloads_test, BytesAreIteratedOver) {
  expect_iterates<chain_view, char>(chain_view(chain), text);
  expect_iterates<chain_view, const char>(chain_view(chain), text);
  expect_iterates<const_chain_view, const char>(const_chain_view(chain), text);
  *asio::buffers_begin(chain_view(chain)) = '#';
  EXPECT_EQ(*asio::buffers_begin(const_chain_view(chain)), '#');
}

TEST_F(asio_overloads_test, BuffersAreCopiedFromAndToEachOther) {
  EXPECT_EQ(asio::buffer_copy(chain_view(into), const_chain_view(chain)), text.size());
  expect_same();
  EXPECT_EQ(asio::buffer_copy(chain_view(into), chain_view(chain), 7), 7U);
  std::string string(text.size(), '?');
  const std::array<asio::mutable_buffer, 2> two{asio::buffer(string.data(), 5), asio::buffer(string) + 5};
  EXPECT_EQ(asio::buffer_copy(two, const_chain_view(chain)), text.size());
  EXPECT_EQ(string, text);
  const std::vector<asio::const_buffer> some{asio::buffer(text), asio::buffer(text)};
  EXPECT_EQ(asio::buffer_copy(chain_view(into), some), text.size());
  expect_same();
  EXPECT_FALSE(asio::buffer_size(chain_view()));
}

TEST_F(asio_overloads_test, ASocketSendsAndReceives) {
  support::loopback_pair pair(context);
  EXPECT_EQ(pair.far.send(const_chain_view(chain)), text.size());
  EXPECT_EQ(pair.near.receive(chain_view(into), 0, ec), text.size());
  expect_same();
  EXPECT_EQ(pair.far.send(chain_view(chain), 0), text.size());
  EXPECT_EQ(pair.near.receive(chain_view(into)), text.size());
  expect_same();
  EXPECT_EQ(pair.far.write_some(const_chain_view(chain), ec), text.size());
  EXPECT_EQ(pair.near.read_some(chain_view(into), ec), text.size());
  expect_same();
  pair.far.async_send(const_chain_view(chain), all());
  pair.near.async_receive(chain_view(into), all());
  run();
  expect_same();
  pair.far.async_write_some(chain_view(chain), all());
  pair.near.async_read_some(chain_view(into), all());
  run();
  expect_same();
}

TEST_F(asio_overloads_test, ADatagramIsGatheredAndScattered) {
  support::udp_pair pair(context);
  asio::ip::udp::endpoint from;
  EXPECT_EQ(pair.far.send_to(const_chain_view(chain), pair.near.local_endpoint()), text.size());
  EXPECT_EQ(pair.near.receive_from(chain_view(into), from), text.size());
  EXPECT_EQ(from, pair.far.local_endpoint());
  expect_same();
  pair.far.async_send_to(chain_view(chain), pair.near.local_endpoint(), all());
  pair.near.async_receive_from(chain_view(into), from, all());
  run();
  expect_same();
}

TEST_F(asio_overloads_test, ComposedOperationsTakeEveryForm) {
  support::loopback_pair pair(context);
  EXPECT_EQ(asio::write(pair.far, const_chain_view(chain)), text.size());
  EXPECT_EQ(asio::read(pair.near, chain_view(into)), text.size());
  expect_same();
  EXPECT_EQ(asio::write(pair.far, chain_view(chain), ec), text.size());
  EXPECT_EQ(asio::read(pair.near, chain_view(into), ec), text.size());
  expect_same();
  EXPECT_EQ(asio::write(pair.far, const_chain_view(chain), asio::transfer_all()), text.size());
  EXPECT_EQ(asio::read(pair.near, chain_view(into), asio::transfer_exactly(text.size())), text.size());
  expect_same();
  EXPECT_EQ(asio::write(pair.far, const_chain_view(chain), asio::transfer_exactly(9), ec), 9U);
  EXPECT_EQ(asio::read(pair.near, chain_view(into), asio::transfer_at_least(9), ec), 9U);
  asio::async_write(pair.far, chain_view(chain), asio::transfer_all(), all());
  asio::async_read(pair.near, chain_view(into), asio::transfer_all(), all());
  run();
  expect_same();
}

TEST_F(asio_overloads_test, BufferedStreamsTakeThemInBothDirections) {
  support::loopback_pair pair(context);
  asio::buffered_stream<support::loopback_pair::socket&> both(pair.near);
  EXPECT_EQ(asio::write(both, const_chain_view(chain)), text.size());
  both.flush();
  asio::buffered_read_stream<support::loopback_pair::socket&> reader(pair.far);
  EXPECT_EQ(asio::read(reader, chain_view(into)), text.size());
  expect_same();
  asio::buffered_write_stream<support::loopback_pair::socket&> writer(pair.far);
  EXPECT_EQ(writer.write_some(const_chain_view(chain), ec), text.size());
  EXPECT_EQ(writer.flush(ec), text.size());
  EXPECT_GT(both.peek(chain_view(into), ec), 0U);
  EXPECT_EQ(asio::read(both, chain_view(into)), text.size());
  expect_same();
  asio::async_write(writer, chain_view(chain), all());
  run();
  writer.async_flush(all());
  asio::async_read(both, chain_view(into), all());
  run();
  expect_same();
}

// One object for one call after the other, as a streambuf is used, and as dynamic_buffer(string) is.
TEST_F(asio_overloads_test, ADynamicChainStaysInUse) {
  support::loopback_pair pair(context);
  buffer_chain bytes;
  dynamic_chain dynamic(bytes, pool, 25);
  asio::write(pair.far, asio::buffer("first\nsecond\nthird, which is longer than that"));
  EXPECT_EQ(asio::read_until(pair.near, dynamic, '\n'), 6U);
  dynamic.consume(6);
  EXPECT_EQ(asio::read_until(pair.near, dynamic, "\n", ec), 7U);
  dynamic.consume(7);
  EXPECT_EQ(asio::read_until(pair.near, dynamic, '\n', ec), 0U);
  EXPECT_EQ(ec, asio::error::not_found) << "25 bytes without one";
  EXPECT_EQ(dynamic.size(), 25U);
  EXPECT_EQ(dynamic.size(), dynamic.max_size());
  EXPECT_THROW(asio::read_until(pair.near, dynamic, '\n'), std::system_error);
  EXPECT_THROW(dynamic.prepare(1), std::length_error);
  EXPECT_THROW(dynamic.grow(1), std::length_error);
  EXPECT_EQ(asio::write(pair.far, dynamic), 25U) << "and consumed";
  EXPECT_EQ(dynamic.size(), 0U);

  dynamic_chain copy = dynamic;
  asio::buffer_copy(copy.prepare(4), asio::buffer("abcd", 4));
  copy.commit(4);
  EXPECT_EQ(dynamic.size(), 4U) << "a copy is the same buffer";
  dynamic_chain moved = std::move(copy);
  moved.consume(100);
  EXPECT_EQ(dynamic.size(), 0U);
}

}  // namespace
}  // namespace slabbuf
