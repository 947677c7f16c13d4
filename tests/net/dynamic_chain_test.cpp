// SPDX-License-Identifier: MIT
// A chain where Asio wants a dynamic buffer, of either version.
#include <slabbuf/net/dynamic_chain.hpp>

#include <slabbuf/pool/pool.hpp>

#include <gtest/gtest.h>
#include <asio/buffer.hpp>
#include <asio/buffers_iterator.hpp>
#include <asio/completion_condition.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/read_until.hpp>
#include <asio/write.hpp>

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "support/loopback_pair.hpp"

namespace slabbuf {
namespace {

struct until_semicolon {
  template <class Iterator>
  std::pair<Iterator, bool> operator()(Iterator begin, Iterator end) const {
    while (begin != end && *begin != ';') ++begin;
    return begin == end ? std::pair(begin, false) : std::pair(++begin, true);
  }
};

}  // namespace
}  // namespace slabbuf

template <>
struct asio::is_match_condition<slabbuf::until_semicolon> : std::true_type {};

namespace slabbuf {
namespace {

using net::dynamic_chain;

static_assert(asio::is_dynamic_buffer_v1<dynamic_chain<local_pool>>::value);
static_assert(asio::is_dynamic_buffer_v2<dynamic_chain<local_pool>>::value);

// Only what version 1 has.
template <class Dynamic>
class first_version {
 public:
  using const_buffers_type = typename Dynamic::const_buffers_type;
  using mutable_buffers_type = typename Dynamic::mutable_buffers_type;

  first_version(buffer_chain& chain, local_pool& pool, std::size_t bytes_max = SIZE_MAX)
      : all_(chain, pool, bytes_max) {}
  std::size_t size() const { return all_.size(); }
  std::size_t max_size() const { return all_.max_size(); }
  std::size_t capacity() const { return all_.capacity(); }
  const_buffers_type data() const { return all_.data(); }
  mutable_buffers_type prepare(std::size_t count) { return all_.prepare(count); }
  void commit(std::size_t count) { all_.commit(count); }
  void consume(std::size_t count) { all_.consume(count); }

 private:
  Dynamic all_;
};
static_assert(asio::is_dynamic_buffer_v1<first_version<dynamic_chain<local_pool>>>::value);
static_assert(!asio::is_dynamic_buffer_v2<first_version<dynamic_chain<local_pool>>>::value);

std::string text_of(const buffer_chain& chain) {
  std::string text(chain.size(), '?');
  asio::buffer_copy(asio::buffer(text), net::const_chain_view(chain));
  return text;
}

template <class Dynamic>
class dynamic_chain_test : public ::testing::Test {
 protected:
  ~dynamic_chain_test() override {
    chain_.clear();
    EXPECT_EQ(pool_.stats().in_use, 0U);
  }
  Dynamic dynamic(std::size_t bytes_max = SIZE_MAX) { return Dynamic(chain_, pool_, bytes_max); }
  void send(std::string_view text) { asio::write(pair_.far, asio::buffer(text)); }

  local_pool pool_;
  buffer_chain chain_;
  asio::io_context context_;
  support::loopback_pair pair_{context_};
};
using versions = ::testing::Types<dynamic_chain<local_pool>, first_version<dynamic_chain<local_pool>>>;
TYPED_TEST_SUITE(dynamic_chain_test, versions);

TYPED_TEST(dynamic_chain_test, ReadsUntilACharacterAStringOrACondition) {
  this->send("one\ntwo\r\nthree;rest");
  EXPECT_EQ(asio::read_until(this->pair_.near, this->dynamic(), '\n'), 4U);
  this->chain_.consume(4);
  EXPECT_EQ(asio::read_until(this->pair_.near, this->dynamic(), "\r\n"), 5U);
  this->chain_.consume(5);
  EXPECT_EQ(asio::read_until(this->pair_.near, this->dynamic(), until_semicolon()), 6U);
  this->chain_.consume(6);
  EXPECT_EQ(text_of(this->chain_), "rest");
}

// Lines that begin and end anywhere in blocks, the delimiter between two blocks among them.
TYPED_TEST(dynamic_chain_test, FramesLinesOfAnyLength) {
  std::string sent;
  std::size_t lines = 0;
  for (const std::size_t length : std::initializer_list<std::size_t>{0, 1, 510, 511, 512, 513, 3000, 70'000, 5}) {
    sent += std::string(length, 'x') + "\r\n";
    ++lines;
  }
  std::string seen;
  std::function<void()> next = [&] {
    asio::async_read_until(this->pair_.near, this->dynamic(), "\r\n", [&](asio::error_code ec, std::size_t bytes) {
      ASSERT_FALSE(ec) << ec.message();
      const buffer_chain line = this->chain_.split(bytes);
      seen += text_of(line);
      if (--lines != 0) next();
    });
  };
  next();
  std::size_t written = 0;
  asio::async_write(this->pair_.far, asio::buffer(sent), [&](asio::error_code, std::size_t bytes) { written = bytes; });
  this->context_.run();
  EXPECT_EQ(written, sent.size());
  EXPECT_EQ(seen, sent);
  EXPECT_EQ(this->chain_.size(), 0U);
}

TYPED_TEST(dynamic_chain_test, ReadsExactlyAndUntilTheEnd) {
  this->send(std::string(5000, 'y'));
  EXPECT_EQ(asio::read(this->pair_.near, this->dynamic(), asio::transfer_exactly(1234)), 1234U);
  EXPECT_EQ(text_of(this->chain_), std::string(1234, 'y'));
  this->pair_.far.shutdown(asio::socket_base::shutdown_send);
  asio::error_code ended;
  std::size_t rest = 0;
  asio::async_read(this->pair_.near, this->dynamic(), [&](asio::error_code ec, std::size_t bytes) {
    ended = ec;
    rest = bytes;
  });
  this->context_.run();
  EXPECT_EQ(ended, asio::error::eof);
  EXPECT_EQ(rest, 5000U - 1234U);
  EXPECT_EQ(text_of(this->chain_), std::string(5000, 'y'));
}

TYPED_TEST(dynamic_chain_test, WritesWhatItHasAndConsumesIt) {
  this->chain_.append_copy(this->pool_, std::as_bytes(std::span(std::string_view("hello, world"))));
  EXPECT_EQ(asio::write(this->pair_.near, this->dynamic()), 12U);
  EXPECT_TRUE(this->chain_.empty());
  std::string seen(12, '?');
  asio::read(this->pair_.far, asio::buffer(seen));
  EXPECT_EQ(seen, "hello, world");
}

TYPED_TEST(dynamic_chain_test, StopsAtItsLimit) {
  this->send(std::string(3000, 'n'));
  asio::error_code ec;
  asio::read_until(this->pair_.near, this->dynamic(1000), '\n', ec);
  EXPECT_EQ(ec, asio::error::not_found);
  EXPECT_EQ(this->chain_.size(), 1000U);
}

// The budget is a limit of another kind: an exception, as from std::string; what was read is still there.
TYPED_TEST(dynamic_chain_test, ThrowsWhereTheBudgetHasNoRoom) {
  local_pool tight({.budget_bytes_max = 4096});
  buffer_chain chain;
  this->send(std::string(9000, 'n'));
  EXPECT_THROW(asio::read_until(this->pair_.near, TypeParam(chain, tight), '\n'), std::bad_alloc);
  EXPECT_EQ(text_of(chain), std::string(chain.size(), 'n'));
}

TEST(dynamic_chain_v2_test, GrowsShrinksAndShowsAnyPart) {
  local_pool pool({.size_classes = {8}});
  buffer_chain chain;
  dynamic_chain dynamic(chain, pool, 100);
  dynamic.grow(30);
  EXPECT_EQ(dynamic.size(), 30U);
  EXPECT_GE(dynamic.capacity(), 30U);
  std::string letters = "abcdefghijklmnopqrstuvwxyz0123";
  asio::buffer_copy(dynamic.data(0, 30), asio::buffer(letters));
  for (std::size_t position = 0; position <= 31; ++position) {
    for (std::size_t count = 0; count <= 31; ++count) {
      const std::string expected = position <= 30 ? letters.substr(position, count) : "";
      std::string seen(expected.size(), '?');
      ASSERT_EQ(asio::buffer_size(dynamic.data(position, count)), expected.size()) << position << ' ' << count;
      asio::buffer_copy(asio::buffer(seen), std::as_const(dynamic).data(position, count));
      ASSERT_EQ(seen, expected);
    }
  }
  dynamic.shrink(5);
  dynamic.consume(3);
  EXPECT_EQ(text_of(chain), letters.substr(3, 22));
  EXPECT_THROW(dynamic.grow(79), std::length_error);
  EXPECT_THROW(dynamic.prepare(79), std::length_error);
  dynamic.shrink(1000);
  EXPECT_EQ(dynamic.size(), 0U);
  dynamic.consume(1000);
  EXPECT_EQ(dynamic.max_size(), 100U);
}

TEST(dynamic_chain_v2_test, FewerBytesMayBeCommittedThanPrepared) {
  local_pool pool({.size_classes = {8}});
  buffer_chain chain;
  dynamic_chain dynamic(chain, pool);
  for (const std::size_t committed : std::initializer_list<std::size_t>{20, 0, 3, 20}) {
    const std::size_t before = dynamic.size();
    const auto room = dynamic.prepare(20);
    ASSERT_EQ(asio::buffer_size(room), 20U);
    asio::buffer_copy(room, asio::buffer(std::string(20, 'x')));
    dynamic.commit(committed);
    EXPECT_EQ(dynamic.size(), before + committed);
  }
  dynamic.commit(5);
  EXPECT_EQ(text_of(chain), std::string(43, 'x')) << "nothing was prepared";
}

}  // namespace
}  // namespace slabbuf
