// SPDX-License-Identifier: MIT
// A read and a write of one connection that both need its input: in the middle of a message that follows the handshake
// OpenSSL writes nothing before it has the rest. And what a read has to send.
#include <slabbuf/net/detail/tls_connection.hpp>

#include <slabbuf/net/tls_stream.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/tls_certificates.hpp"
#include "support/tls_engines.hpp"
#include "support/tls_pair.hpp"

namespace slabbuf {
namespace {

using net::detail::tls_side;

// Waits that a test ends itself.
class TlsConnection : public ::testing::Test {
 protected:
  using handler = std::function<void(asio::error_code)>;

  void wait(tls_side side, handler op) {
    connection.wait_for_input(
        side, io.get_executor(), [this](handler waiting) { first = std::move(waiting); }, std::move(op));
  }
  handler noting(tls_side side) {
    return [this, side](asio::error_code) { woken.emplace_back(side, connection.waited(side)); };
  }
  // How many operations were woken: not what poll() says, as a ring has handlers of its own.
  std::size_t run() {
    const std::size_t before = woken.size();
    io.restart();
    io.poll();
    return woken.size() - before;
  }
  bool receives_in_a_step() {
    bool receives = false;
    connection.make_step([&] {
      // The descriptor is none: whoever tries it meets an error.
      char byte = 0;
      const ::iovec part{&byte, 1};
      std::size_t count = 0;
      receives = connection.read(-1, {&part, 1}, count).status != support::tls_status::want_read;
      return 0;
    });
    return receives;
  }

  asio::io_context io;
  concurrent_pool pool;
  support::context_ptr context = support::make_context(TLS_client_method(), nullptr, TLS1_3_VERSION);
  support::context_ptr server_context =
      support::make_context(TLS_server_method(), &support::server_certificate(), TLS1_3_VERSION);
  net::detail::tls_connection<asio::io_context::executor_type> connection{context.get(), pool.core()};
  handler first;  // waits for the descriptor
  std::vector<std::pair<tls_side, bool>> woken;
};

TEST_F(TlsConnection, TheSecondWaitIsBehindTheFirstAndEndsWithItsStep) {
  wait(tls_side::receiving, noting(tls_side::receiving));
  ASSERT_TRUE(first);
  handler of_first = std::exchange(first, nullptr);
  wait(tls_side::sending, noting(tls_side::sending));
  EXPECT_FALSE(first) << "it does not wait for the descriptor";
  EXPECT_EQ(run(), 0U);
  of_first({});
  EXPECT_EQ(run(), 0U) << "no step was made";
  connection.make_step([] { return 0; });
  EXPECT_EQ(run(), 1U);
  const std::vector<std::pair<tls_side, bool>> expected{{tls_side::receiving, false}, {tls_side::sending, true}};
  EXPECT_EQ(woken, expected);
  wait(tls_side::sending, noting(tls_side::sending));
  EXPECT_TRUE(first) << "there is nobody before it now";
}

TEST_F(TlsConnection, AnOperationThatEndsWithoutAStepWakesTheOther) {
  wait(tls_side::sending, noting(tls_side::sending));
  wait(tls_side::receiving, noting(tls_side::receiving));
  connection.waited(tls_side::sending);
  connection.wake();
  EXPECT_EQ(run(), 1U);
  EXPECT_EQ(woken.back(), std::pair(tls_side::receiving, true));
  connection.wake();
  EXPECT_EQ(run(), 0U) << "nobody waits";
}

TEST_F(TlsConnection, OnlyAStepThatNobodyWaitsBesideReceives) {
  support::descriptor_pair line;
  support::tls_engine server(server_context.get(), pool.core());
  support::shake_hands(server, line.ends[0], connection, line.ends[1]);
  wait(tls_side::sending, noting(tls_side::sending));
  EXPECT_FALSE(receives_in_a_step());
  connection.waited(tls_side::sending);
  EXPECT_TRUE(receives_in_a_step());
}

TEST_F(TlsConnection, AWaitThatCannotBeginIsNone) {
  const auto refused = [](const handler&) { throw std::runtime_error("no memory"); };
  EXPECT_THROW(connection.wait_for_input(tls_side::receiving, io.get_executor(), refused, handler()),
               std::runtime_error);
  wait(tls_side::sending, noting(tls_side::sending));
  EXPECT_TRUE(first) << "it is the first";
}

// A server of its own making, which hands out its records one by one: OpenSSL between two pieces of memory.
class record_server {
 public:
  record_server(SSL_CTX* context, int descriptor)
      : ssl(SSL_new(context)), descriptor_(descriptor), in_(BIO_new(BIO_s_mem())), out_(BIO_new(BIO_s_mem())) {
    BIO_set_mem_eof_return(in_, -1);
    SSL_set_bio(ssl, in_, out_);
    SSL_set_accept_state(ssl);
  }
  record_server(const record_server&) = delete;
  record_server& operator=(const record_server&) = delete;
  ~record_server() { SSL_free(ssl); }

  void receive(std::size_t bytes_max = 65536) {
    std::string bytes(bytes_max, '?');
    const ::ssize_t got = ::recv(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got > 0) BIO_write(in_, bytes.data(), static_cast<int>(got));
  }
  /// What OpenSSL has to send and was not taken yet.
  std::string& to_send() {
    std::array<char, 4096> bytes;
    for (int got = 0; (got = BIO_read(out_, bytes.data(), static_cast<int>(bytes.size()))) > 0;)
      to_send_.append(bytes.data(), static_cast<std::size_t>(got));
    return to_send_;
  }
  void send(std::size_t bytes) {
    ASSERT_LE(bytes, to_send().size());
    ASSERT_EQ(::send(descriptor_, to_send_.data(), bytes, 0), static_cast<::ssize_t>(bytes));
    to_send_.erase(0, bytes);
  }
  void send_all() { send(to_send().size()); }
  std::size_t first_record_bytes() {
    const auto byte = [this](std::size_t at) {
      return static_cast<std::size_t>(static_cast<unsigned char>(to_send().at(at)));
    };
    return 5 + byte(3) * 256 + byte(4);
  }

  SSL* const ssl;

 private:
  int descriptor_;
  BIO* in_;
  BIO* out_;
  std::string to_send_;
};

int make_a_large_ticket(SSL* of, void*) {
  const std::string much(1500, 'a');
  return SSL_SESSION_set1_ticket_appdata(SSL_get_session(of), much.data(), much.size());
}

class TlsMessageAfterTheHandshake : public ::testing::Test {
 protected:
  static constexpr std::chrono::seconds patience{30};

  void connect() {
    server.emplace(contexts.server.native_handle(), line.ends[0]);
    client.emplace(support::tls_socket(io, asio::ip::tcp::v4(), ::dup(line.ends[1])), contexts.client, pool);
    std::optional<asio::error_code> ended;
    client->async_handshake(asio::ssl::stream_base::client, [&](asio::error_code ec) { ended = ec; });
    until([&] {
      server->receive();
      const bool is_over = SSL_accept(server->ssl) == 1;
      if (!is_over) server->send_all();
      return is_over && ended.has_value();
    });
    EXPECT_FALSE(*ended) << ended->message();
  }
  template <class Condition>
  void until(Condition&& condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "it never happened";
      io.restart();
      io.run_one_for(std::chrono::milliseconds(1));
    }
  }
  std::size_t available() {
    int count = 0;
    EXPECT_EQ(::ioctl(line.ends[1], FIONREAD, &count), 0);
    return static_cast<std::size_t>(count);
  }
  void read() {
    got.reset();
    client->async_read_some(asio::buffer(bytes),
                            asio::bind_cancellation_slot(signal.slot(), [this](asio::error_code ec, std::size_t count) {
                              got.emplace(ec, count);
                            }));
  }
  void cancel_read() {
    signal.emit(asio::cancellation_type::total);
    until([&] { return got.has_value(); });
    EXPECT_EQ(got->first, asio::error::operation_aborted);
  }
  void write() {
    written.reset();
    client->async_write_some(asio::buffer("x", 1), [this](asio::error_code ec, std::size_t) { written = ec; });
  }
  /// The client has a part of a ticket, and waits for the rest of it in a read.
  void send_a_part_of_a_ticket(std::size_t more) {
    SSL_CTX* const context = contexts.server.native_handle();
    SSL_CTX_set_session_ticket_cb(context, &make_a_large_ticket, nullptr, nullptr);
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_max_send_fragment(context, 512);
    connect();
    ASSERT_EQ(SSL_write(server->ssl, "hello", 5), 5);
    read();
    server->send(server->first_record_bytes() + more);
    until([&] { return SSL_in_init(client->native_handle()) != 0; });
  }
  /// And the socket has it, of which nobody has been told.
  void send_the_rest() {
    const std::size_t rest = server->to_send().size();
    server->send_all();
    until([&] { return available() == rest; });
  }
  void both_end() {
    until([&] { return got.has_value() && written.has_value(); });
    EXPECT_EQ(*got, std::pair(asio::error_code(), std::size_t{5}));
    EXPECT_FALSE(*written) << written->message();
  }

  asio::io_context io;
  concurrent_pool pool;
  support::tls_contexts contexts{TLS1_3_VERSION};
  support::descriptor_pair line;  // which has room for a known number of bytes, as a connection of TCP has not
  std::optional<record_server> server;
  std::optional<support::pool_tls_stream> client;
  asio::cancellation_signal signal;
  std::array<char, 64> bytes{};
  std::optional<std::pair<asio::error_code, std::size_t>> got;
  std::optional<asio::error_code> written;
};

TEST_F(TlsMessageAfterTheHandshake, AWriteLeavesTheRestOfItToTheReadThatWaits) {
  send_a_part_of_a_ticket(0);
  send_the_rest();
  write();
  both_end();
}

TEST_F(TlsMessageAfterTheHandshake, AReadLeavesTheRestOfItToTheWriteThatWaits) {
  send_a_part_of_a_ticket(100);
  cancel_read();
  write();
  send_the_rest();
  read();
  both_end();
}

TEST_F(TlsMessageAfterTheHandshake, AReadThatIsCancelledBehindAWriteIsOver) {
  send_a_part_of_a_ticket(100);
  cancel_read();
  write();
  read();
  cancel_read();
  EXPECT_FALSE(written);
  server->send_all();
  until([&] { return written.has_value(); });
  EXPECT_FALSE(*written) << written->message();
  read();
  both_end();
}

// A certificate that is asked for, with many above it, is more than the socket has room for: the read that was asked
// sends the rest when there is room, and nobody writes.
TEST_F(TlsMessageAfterTheHandshake, AReadSendsAllOfItsAnswer) {
  const int little = 4608;
  ASSERT_EQ(::setsockopt(line.ends[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof little), 0);
  SSL_CTX* const context = contexts.client.native_handle();
  support::set_up(context, &support::client_certificate(), TLS1_3_VERSION);
  SSL_CTX_set_post_handshake_auth(context, 1);
  SSL_CTX_set_num_tickets(contexts.server.native_handle(), 0);
  connect();
  // As much as the server does not read; the last write ends with the socket nearly full.
  const std::string much(16000, 'm');
  for (int time = 0; time < 3; ++time) {
    std::optional<asio::error_code> sent;
    asio::async_write(*client, asio::buffer(much), [&](asio::error_code ec, std::size_t) { sent = ec; });
    io.restart();
    io.poll();
    until([&] {
      if (!sent) server->receive(600);
      return sent.has_value();
    });
    ASSERT_FALSE(*sent) << sent->message();
  }
  for (int time = 0; time < 12; ++time)
    SSL_add1_chain_cert(client->native_handle(), SSL_get_certificate(client->native_handle()));
  read();
  SSL_set_verify(server->ssl, SSL_VERIFY_PEER, nullptr);
  ASSERT_EQ(SSL_verify_client_post_handshake(server->ssl), 1);
  ASSERT_EQ(SSL_do_handshake(server->ssl), 1);
  server->send_all();
  until([&] { return client->held_bytes() != 0; });
  std::size_t received = 0;
  std::string into(20000, '?');
  X509* seen = nullptr;
  until([&] {
    server->receive();
    for (int count = 0; (count = SSL_read(server->ssl, into.data(), static_cast<int>(into.size()))) > 0;)
      received += static_cast<std::size_t>(count);
    if (seen == nullptr) seen = SSL_get1_peer_certificate(server->ssl);
    return seen != nullptr && received == 3 * much.size();
  });
  X509_free(seen);
  EXPECT_EQ(client->held_bytes(), 0U);
  EXPECT_FALSE(got) << "there was nothing to read";
}

}  // namespace
}  // namespace slabbuf
