// SPDX-License-Identifier: MIT
// Closing in the middle of everything: an exchange is stopped after one handler, after two, and so on, by either side
// and in each way there is. Every operation ends, none ends well that has not got everything, and nothing is held.
#include <slabbuf/net/tls_stream.hpp>

#include <slabbuf/pool/buffer_chain.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "support/tls_pair.hpp"

namespace slabbuf {
namespace {

using support::pool_tls_stream;

// More than a write sends in a turn, so that reads and writes take turns.
constexpr std::size_t message_bytes = std::size_t{1} << 20;

// Of the server's peer, the client; of the server itself; of all there is.
enum class closing { peer_closes, peer_resets, peer_stops_sending, own_close, own_cancel, context_dies };

std::string name_of(closing how) {
  switch (how) {
    case closing::peer_closes: return "PeerCloses";
    case closing::peer_resets: return "PeerResets";
    case closing::peer_stops_sending: return "PeerStopsSending";
    case closing::own_close: return "OwnClose";
    case closing::own_cancel: return "OwnCancel";
    case closing::context_dies: return "ContextDies";
  }
  return {};
}

// One side: shakes hands, sends its message while it receives the other's, says goodbye. The client knows how much it
// will get; the server reads until the end.
class talker {
 public:
  talker(pool_tls_stream& own, concurrent_pool& from, pool_tls_stream::handshake_type type)
      : stream_(own), pool_(from), type_(type) {}

  void start() {
    ++pending_;
    stream_.async_handshake(type_, [this](asio::error_code ec) {
      if (ended(ec)) return;
      read();
      write();
    });
  }

  bool is_over() const { return pending_ == 0; }
  bool has_failed() const { return failed_; }
  /// All bytes, and the other's goodbye behind them.
  bool has_everything() const { return said_goodbye_ && received_ == message_bytes; }

 private:
  // Of an operation. After an error, the connection is closed as soon as nothing is under way.
  bool ended(asio::error_code ec) {
    EXPECT_NE(pending_, 0U);
    --pending_;
    if (ec) failed_ = true;
    if (failed_ && pending_ == 0) stream_.next_layer().close();
    return failed_;
  }
  void read() {
    ++pending_;
    net::async_read_some(stream_, pool_, [this](asio::error_code ec, const buffer& bytes) {
      received_ += bytes.size();
      const bool is_end = type_ == pool_tls_stream::server && ec == asio::error::eof;
      if (ended(is_end ? asio::error_code() : ec)) return;
      read_all_ = type_ == pool_tls_stream::server ? is_end : received_ == message_bytes;
      read_all_ ? say_goodbye() : read();
    });
  }
  void write() {
    ++pending_;
    const std::string text(message_bytes, 'm');
    buffer_chain message;
    message.append_copy(pool_, std::as_bytes(std::span(text)));
    net::async_write(stream_, std::move(message), [this](asio::error_code ec, std::size_t) {
      if (ended(ec)) return;
      wrote_all_ = true;
      say_goodbye();
    });
  }
  void say_goodbye() {
    if (!wrote_all_ || !read_all_) return;
    ++pending_;
    stream_.async_shutdown([this](asio::error_code ec) {
      if (!ended(ec)) said_goodbye_ = true;
    });
  }

  pool_tls_stream& stream_;
  concurrent_pool& pool_;
  pool_tls_stream::handshake_type type_;
  std::size_t pending_ = 0;
  std::size_t received_ = 0;
  bool read_all_ = false;
  bool wrote_all_ = false;
  bool said_goodbye_ = false;
  bool failed_ = false;
};

class TlsClosing : public ::testing::TestWithParam<std::tuple<int, closing>> {
 protected:
  static void close(support::tls_pair& pair, closing how) {
    auto& own = pair.server.next_layer();
    auto& peer = pair.client.next_layer();
    asio::error_code ignored;  // it may be closed already
    switch (how) {
      case closing::peer_resets: peer.set_option(asio::socket_base::linger(true, 0), ignored); [[fallthrough]];
      case closing::peer_closes: peer.close(ignored); break;
      case closing::peer_stops_sending: peer.shutdown(asio::socket_base::shutdown_send, ignored); break;
      case closing::own_close: own.close(ignored); break;
      case closing::own_cancel: own.cancel(ignored); break;
      case closing::context_dies: break;
    }
  }

  // Stops the exchange after so many handlers. False when it was over by then.
  bool is_stopped_after(std::size_t handlers, closing how) {
    asio::io_context io;
    support::tls_pair pair(io, contexts, pool);
    talker server(pair.server, pool, pool_tls_stream::server);
    talker client(pair.client, pool, pool_tls_stream::client);
    server.start();
    client.start();
    for (std::size_t ran = 0; ran < handlers; ++ran)
      if (io.run_one() == 0) return false;
    if (how == closing::context_dies) return true;
    close(pair, how);
    while (!server.is_over() || !client.is_over()) {
      if (io.run_one() == 0) break;
    }
    EXPECT_TRUE(server.is_over() && client.is_over());
    EXPECT_TRUE(server.has_failed() || server.has_everything());
    EXPECT_TRUE(client.has_failed() || client.has_everything());
    EXPECT_EQ(pair.server.held_bytes() + pair.client.held_bytes(), 0U);
    EXPECT_EQ(pool.stats().in_use, 0U) << "while the streams are there";
    return true;
  }

  concurrent_pool pool;
  support::tls_contexts contexts{std::get<0>(GetParam())};
};

INSTANTIATE_TEST_SUITE_P(Ways, TlsClosing,
                         ::testing::Combine(::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                                            ::testing::Values(closing::peer_closes, closing::peer_resets,
                                                              closing::peer_stops_sending, closing::own_close,
                                                              closing::own_cancel, closing::context_dies)),
                         [](const auto& each) {
                           return name_of(std::get<1>(each.param)) +
                                  (std::get<0>(each.param) == TLS1_2_VERSION ? "Tls12" : "Tls13");
                         });

TEST_P(TlsClosing, InTheMiddleOfEverythingEndsIt) {
  std::size_t handlers = 0;
  while (is_stopped_after(handlers, std::get<1>(GetParam()))) {
    ASSERT_EQ(pool.stats().in_use, 0U) << "after " << handlers;
    ASSERT_FALSE(HasFailure()) << "after " << handlers;
    handlers += 1 + handlers / 16;  // the handshake one by one, reads and writes by the way
  }
  EXPECT_GT(handlers, 20U);
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_TRUE(pool.check_invariants());
}

}  // namespace
}  // namespace slabbuf
