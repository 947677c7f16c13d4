// SPDX-License-Identifier: MIT
// The same scripted exchanges on asio::ssl::stream and on tls_stream end alike, error codes included: each test runs on
// both, and with peers of both kinds.
#include <slabbuf/net/tls_stream.hpp>

#include <slabbuf/net/tls_context.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/ssl/host_name_verification.hpp>
#include <asio/write.hpp>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "support/handlers.hpp"
#include "support/tls_pair.hpp"

namespace slabbuf {
namespace {

using support::asio_tls_stream;
using support::pool_tls_stream;
using support::tls_contexts;

template <class Server, class Client, int version>
struct setup {
  using server = Server;
  using client = Client;
  static constexpr int protocol = version;
};

struct setup_name {
  template <class Setup>
  static std::string GetName(int) {
    const auto name = [](bool of_asio) { return of_asio ? "Asio" : "Pool"; };
    return std::string(name(std::is_same_v<typename Setup::server, asio_tls_stream>)) + "Server" +
           name(std::is_same_v<typename Setup::client, asio_tls_stream>) + "Client" +
           (Setup::protocol == TLS1_2_VERSION ? "Tls12" : "Tls13");
  }
};

using setups = ::testing::Types<
    setup<asio_tls_stream, asio_tls_stream, TLS1_2_VERSION>, setup<asio_tls_stream, asio_tls_stream, TLS1_3_VERSION>,
    setup<pool_tls_stream, asio_tls_stream, TLS1_2_VERSION>, setup<pool_tls_stream, asio_tls_stream, TLS1_3_VERSION>,
    setup<asio_tls_stream, pool_tls_stream, TLS1_2_VERSION>, setup<asio_tls_stream, pool_tls_stream, TLS1_3_VERSION>,
    setup<pool_tls_stream, pool_tls_stream, TLS1_2_VERSION>, setup<pool_tls_stream, pool_tls_stream, TLS1_3_VERSION>>;

template <class Setup>
class TlsModel : public ::testing::Test {
 protected:
  using pair_type = support::basic_tls_pair<typename Setup::server, typename Setup::client>;

  void TearDown() override {
    EXPECT_EQ(pool.stats().in_use, 0U) << "while the streams are there";
    streams.reset();
    EXPECT_EQ(pool.stats().in_use, 0U);
  }
  pair_type& make() { return streams.emplace(io, contexts, pool); }
  pair_type& connect() {
    make();
    const auto [server, client] = streams->shake_hands();
    EXPECT_FALSE(server) << server.message();
    EXPECT_FALSE(client) << client.message();
    return *streams;
  }
  /// Runs until that is known, or nothing is left to run: then it says timed_out.
  void until(std::optional<asio::error_code>& known) {
    while (!known && io.run_one() != 0) continue;
    io.restart();
    if (!known) known = asio::error::timed_out;
  }
  /// Runs one operation to its end.
  template <class Start>
  asio::error_code run(Start&& start) {
    std::optional<asio::error_code> ended;
    start(support::noting(ended));
    until(ended);
    return *ended;
  }
  template <class Stream>
  asio::error_code write(Stream& stream, std::string_view text) {
    return run([&](auto handler) { asio::async_write(stream, asio::buffer(text), std::move(handler)); });
  }
  template <class Stream>
  std::pair<asio::error_code, std::string> read(Stream& stream) {
    std::array<char, 100> bytes;
    std::size_t count = 0;
    const asio::error_code ec = run([&](auto handler) {
      handler.count = &count;
      stream.async_read_some(asio::buffer(bytes), handler);
    });
    return {ec, std::string(bytes.data(), count)};
  }

  concurrent_pool pool;
  asio::io_context io;
  tls_contexts contexts{Setup::protocol};
  std::optional<pair_type> streams;
};
TYPED_TEST_SUITE(TlsModel, setups, setup_name);

TYPED_TEST(TlsModel, EchoesAMessage) {
  auto& pair = this->connect();
  EXPECT_FALSE(this->write(pair.client, "question"));
  EXPECT_EQ(this->read(pair.server).second, "question");
  EXPECT_FALSE(this->write(pair.server, "answer"));
  EXPECT_EQ(this->read(pair.client).second, "answer");
}

TYPED_TEST(TlsModel, ReadsAndWritesOfNothingSucceedAtOnce) {
  auto& pair = this->connect();
  EXPECT_FALSE(this->run([&](auto handler) { pair.server.async_read_some(asio::mutable_buffer(), handler); }));
  EXPECT_FALSE(this->run([&](auto handler) { pair.server.async_write_some(asio::const_buffer(), handler); }));
}

TYPED_TEST(TlsModel, CloseNotifyIsTheEndOfTheStream) {
  auto& pair = this->connect();
  std::optional<asio::error_code> closed;
  EXPECT_FALSE(this->write(pair.client, "last words"));
  pair.client.async_shutdown(support::noting(closed));
  EXPECT_EQ(this->read(pair.server).second, "last words");
  EXPECT_EQ(this->read(pair.server).first, asio::error::eof);
  EXPECT_EQ(this->read(pair.server).first, asio::error::eof) << "and again";
  EXPECT_FALSE(closed);
  EXPECT_FALSE(this->run([&](auto handler) { pair.server.async_shutdown(handler); }));
  this->until(closed);
  EXPECT_FALSE(*closed) << closed->message();
}

TYPED_TEST(TlsModel, BothSidesMayShutDownAtOnce) {
  auto& pair = this->connect();
  std::optional<asio::error_code> client;
  pair.client.async_shutdown(support::noting(client));
  EXPECT_FALSE(this->run([&](auto handler) { pair.server.async_shutdown(handler); }));
  this->until(client);
  EXPECT_FALSE(*client);
}

TYPED_TEST(TlsModel, EndOfConnectionWithoutCloseNotifyIsTruncation) {
  auto& pair = this->connect();
  EXPECT_FALSE(this->write(pair.client, "half a"));
  pair.client.lowest_layer().shutdown(asio::socket_base::shutdown_send);
  EXPECT_EQ(this->read(pair.server).second, "half a");
  EXPECT_EQ(this->read(pair.server).first, asio::ssl::error::stream_truncated);
}

TYPED_TEST(TlsModel, ShutdownWithoutAnswerIsTruncation) {
  auto& pair = this->connect();
  std::optional<asio::error_code> ended;
  pair.server.async_shutdown(support::noting(ended));
  pair.client.lowest_layer().shutdown(asio::socket_base::shutdown_send);
  this->until(ended);
  EXPECT_EQ(*ended, asio::ssl::error::stream_truncated);
}

TYPED_TEST(TlsModel, DataAfterCloseNotifyIsAnErrorOfTheShutdown) {
  auto& pair = this->connect();
  EXPECT_FALSE(this->write(pair.client, "not read"));
  const asio::error_code ec = this->run([&](auto handler) { pair.server.async_shutdown(handler); });
  EXPECT_EQ(&ec.category(), &asio::error::get_ssl_category());
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(ec.value())), SSL_R_APPLICATION_DATA_AFTER_CLOSE_NOTIFY);
}

TYPED_TEST(TlsModel, AfterAShutdownThatFailedAReadWaitsForNothing) {
  auto& pair = this->connect();
  EXPECT_FALSE(this->write(pair.client, "not read"));
  EXPECT_TRUE(this->run([&](auto handler) { pair.server.async_shutdown(handler); }));
  EXPECT_EQ(this->read(pair.server).first, asio::ssl::error::unspecified_system_error);
}

TYPED_TEST(TlsModel, AWriteBehindCloseNotifyTakesNothing) {
  auto& pair = this->connect();
  asio::cancellation_signal signal;
  std::optional<asio::error_code> ended;
  pair.server.async_shutdown(asio::bind_cancellation_slot(signal.slot(), support::noting(ended)));
  EXPECT_EQ(this->read(pair.client).first, asio::error::eof);
  signal.emit(asio::cancellation_type::terminal);
  this->until(ended);
  for (int time = 0; time < 2; ++time) {
    EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(this->write(pair.server, "late").value())),
              SSL_R_PROTOCOL_IS_SHUTDOWN);
  }
  EXPECT_FALSE(this->run([&](auto handler) { pair.client.async_shutdown(handler); }));
  EXPECT_FALSE(this->run([&](auto handler) { pair.server.async_shutdown(handler); }));
}

TYPED_TEST(TlsModel, AReadBeforeTheHandshakeSaysSoAndHarmsNothing) {
  auto& pair = this->make();
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(this->read(pair.client).first.value())), SSL_R_UNINITIALIZED);
  const auto [server, client] = pair.shake_hands();
  EXPECT_FALSE(server);
  EXPECT_FALSE(client);
  EXPECT_FALSE(this->write(pair.server, "welcome"));
  EXPECT_EQ(this->read(pair.client).second, "welcome");
}

TYPED_TEST(TlsModel, AHandshakeThatIsOverSucceedsAgain) {
  auto& pair = this->connect();
  EXPECT_FALSE(this->run([&](auto handler) { pair.server.async_handshake(asio::ssl::stream_base::server, handler); }));
}

TYPED_TEST(TlsModel, AServerMayAskForACertificateLater) {
  if (TypeParam::protocol != TLS1_3_VERSION) GTEST_SKIP() << "is of TLS 1.3";
  SSL_CTX* const client = this->contexts.client.native_handle();
  support::set_up(client, &support::client_certificate(), TLS1_3_VERSION);
  SSL_CTX_set_post_handshake_auth(client, 1);
  auto& pair = this->connect();
  SSL* const server = pair.server.native_handle();
  SSL_set_verify(server, SSL_VERIFY_PEER, nullptr);
  ASSERT_EQ(SSL_verify_client_post_handshake(server), 1);
  EXPECT_FALSE(this->run([&](auto handler) { pair.server.async_handshake(asio::ssl::stream_base::server, handler); }));
  EXPECT_FALSE(this->write(pair.server, "who is it?"));
  EXPECT_EQ(this->read(pair.client).second, "who is it?");
  EXPECT_FALSE(this->write(pair.client, "me"));
  EXPECT_EQ(this->read(pair.server).second, "me");
  X509* const seen = SSL_get1_peer_certificate(server);
  EXPECT_NE(seen, nullptr);
  X509_free(seen);
}

// A log, a store of sessions: what a program does in a callback may be an operation on another connection.
template <class Stream>
struct used_in_a_callback {
  static inline Stream* stream = nullptr;
  static void log(const SSL*, const char*) {
    if (stream == nullptr) return;
    std::exchange(stream, nullptr)->async_write_some(asio::buffer("log", 3), [](asio::error_code, std::size_t) {});
  }
};

TYPED_TEST(TlsModel, AnotherStreamMayBeUsedInACallback) {
  using used = used_in_a_callback<typename TypeParam::client>;
  tls_contexts of_other{TypeParam::protocol};
  typename TestFixture::pair_type other(this->io, of_other, this->pool);
  other.shake_hands();
  used::stream = &other.client;
  SSL_CTX_set_keylog_callback(this->contexts.client.native_handle(), &used::log);
  auto& pair = this->connect();
  EXPECT_EQ(used::stream, nullptr);
  EXPECT_FALSE(this->write(pair.client, "hello"));
  EXPECT_EQ(this->read(pair.server).second, "hello");
  EXPECT_EQ(this->read(other.server).second, "log");
}

TYPED_TEST(TlsModel, AConnectionThatIsClearedMayBeginAnew) {
  auto& pair = this->connect();
  pair.client.lowest_layer().close();
  EXPECT_TRUE(this->read(pair.server).first);
  support::loopback_pair fresh(this->io);
  pair.server.next_layer() = std::move(fresh.near);
  pair.client.next_layer() = support::tls_socket(std::move(fresh.far));
  SSL_clear(pair.server.native_handle());
  SSL_clear(pair.client.native_handle());
  const auto [server, client] = pair.shake_hands();
  EXPECT_FALSE(server) << server.message();
  EXPECT_FALSE(client) << client.message();
  EXPECT_FALSE(this->write(pair.client, "again"));
  EXPECT_EQ(this->read(pair.server).second, "again");
}

TYPED_TEST(TlsModel, AResetIsTheSystemsError) {
  auto& pair = this->connect();
  std::optional<asio::error_code> ended;
  char byte = 0;
  pair.server.async_read_some(asio::buffer(&byte, 1), support::noting(ended));
  pair.client.lowest_layer().set_option(asio::socket_base::linger(true, 0));
  pair.client.lowest_layer().close();
  this->until(ended);
  EXPECT_EQ(*ended, asio::error::connection_reset);
}

TYPED_TEST(TlsModel, EndOfConnectionInTheHandshakeIsTruncation) {
  auto& pair = this->make();
  pair.client.lowest_layer().close();
  EXPECT_EQ(this->run([&](auto handler) { pair.server.async_handshake(asio::ssl::stream_base::server, handler); }),
            asio::ssl::error::stream_truncated);
}

TYPED_TEST(TlsModel, AnUntrustedCertificateFailsTheHandshake) {
  const support::certificate stranger = support::make_certificate("stranger.test");
  support::set_up(this->contexts.server.native_handle(), &stranger);
  const auto [server, client] = this->make().shake_hands();
  EXPECT_EQ(&client.category(), &asio::error::get_ssl_category());
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(client.value())), SSL_R_CERTIFICATE_VERIFY_FAILED);
  // In TLS 1.3 the server is done before its client has looked at the certificate.
  const asio::error_code later = server ? server : this->read(this->streams->server).first;
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(later.value())), SSL_R_TLSV1_ALERT_UNKNOWN_CA);
}

TYPED_TEST(TlsModel, NoCommonCipherFailsTheHandshake) {
  SSL_CTX* const server_context = this->contexts.server.native_handle();
  SSL_CTX* const client_context = this->contexts.client.native_handle();
  SSL_CTX_set_cipher_list(server_context, "ECDHE-ECDSA-AES128-GCM-SHA256");
  SSL_CTX_set_cipher_list(client_context, "ECDHE-ECDSA-AES256-GCM-SHA384");
  SSL_CTX_set_ciphersuites(server_context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set_ciphersuites(client_context, "TLS_AES_256_GCM_SHA384");
  const auto [server, client] = this->make().shake_hands();
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(server.value())), SSL_R_NO_SHARED_CIPHER);
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(client.value())), SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE);
}

TYPED_TEST(TlsModel, PlainTextIsNoHandshake) {
  // Plain text where a ClientHello is expected.
  auto& pair = this->make();
  asio::write(pair.client.next_layer(), asio::buffer("GET / HTTP/1.1\r\n\r\n", 18));
  const asio::error_code ec =
      this->run([&](auto handler) { pair.server.async_handshake(asio::ssl::stream_base::server, handler); });
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(ec.value())), SSL_R_HTTP_REQUEST);
}

TYPED_TEST(TlsModel, AClientCertificateCanBeDemanded) {
  this->contexts.server.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  const auto [refused, unused] = this->make().shake_hands();
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(refused.value())), SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
  support::set_up(this->contexts.client.native_handle(), &support::client_certificate());
  auto& pair = this->connect();
  X509* const seen = SSL_get1_peer_certificate(pair.server.native_handle());
  ASSERT_NE(seen, nullptr);
  EXPECT_EQ(X509_check_host(seen, "client.test", 0, 0, nullptr), 1);
  X509_free(seen);
}

TYPED_TEST(TlsModel, NamesAreSentAndChecked) {
  auto& pair = this->make();
  ASSERT_TRUE(net::set_server_name(pair.client.native_handle(), "server.test"));
  const auto [server, client] = pair.shake_hands();
  EXPECT_FALSE(client) << client.message();
  EXPECT_STREQ(SSL_get_servername(pair.server.native_handle(), TLSEXT_NAMETYPE_host_name), "server.test");

  auto& other = this->make();
  ASSERT_TRUE(net::set_server_name(other.client.native_handle(), "other.test"));
  EXPECT_EQ(ERR_GET_REASON(static_cast<unsigned long>(other.shake_hands().second.value())),
            SSL_R_CERTIFICATE_VERIFY_FAILED);
}

TYPED_TEST(TlsModel, AProtocolIsAgreedOn) {
  const net::alpn_protocols known{"h2", "http/1.1"};
  const net::alpn_protocols wanted{"http/1.1"};
  known.accept(this->contexts.server.native_handle());
  ASSERT_TRUE(wanted.offer(this->contexts.client.native_handle()));
  auto& pair = this->connect();
  EXPECT_EQ(net::agreed_protocol(pair.server.native_handle()), "http/1.1");
  EXPECT_EQ(net::agreed_protocol(pair.client.native_handle()), "http/1.1");
}

TYPED_TEST(TlsModel, NoProtocolInCommonIsNoProtocol) {
  const net::alpn_protocols known{"h2"};
  const net::alpn_protocols wanted{"http/1.1"};
  known.accept(this->contexts.server.native_handle());
  ASSERT_TRUE(wanted.offer(this->contexts.client.native_handle()));
  auto& pair = this->connect();
  EXPECT_EQ(net::agreed_protocol(pair.client.native_handle()), "");
  EXPECT_THROW(net::alpn_protocols({""}), std::invalid_argument);
}

TYPED_TEST(TlsModel, ATicketResumesTheSession) {
  ASSERT_TRUE(net::prepare_for_small_connections(this->contexts.server.native_handle()));
  SSL_SESSION* kept = nullptr;
  {
    auto& pair = this->connect();
    EXPECT_FALSE(this->write(pair.server, "ticket"));
    EXPECT_EQ(this->read(pair.client).second, "ticket");
    kept = SSL_get1_session(pair.client.native_handle());
    EXPECT_FALSE(SSL_session_reused(pair.client.native_handle()));
    // Or OpenSSL takes the session for a bad one.
    SSL_set_shutdown(pair.client.native_handle(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
  auto& pair = this->make();
  ASSERT_EQ(SSL_set_session(pair.client.native_handle(), kept), 1);
  const auto [server, client] = pair.shake_hands();
  EXPECT_FALSE(server) << server.message();
  EXPECT_FALSE(client) << client.message();
  EXPECT_TRUE(SSL_session_reused(pair.server.native_handle()));
  EXPECT_TRUE(SSL_session_reused(pair.client.native_handle()));
  EXPECT_FALSE(this->write(pair.client, "resumed"));
  EXPECT_EQ(this->read(pair.server).second, "resumed");
  SSL_SESSION_free(kept);
}

TYPED_TEST(TlsModel, ACancelledReadLosesNothing) {
  auto& pair = this->connect();
  asio::cancellation_signal cancel;
  std::optional<asio::error_code> ended;
  char byte = 0;
  pair.server.async_read_some(asio::buffer(&byte, 1),
                              asio::bind_cancellation_slot(cancel.slot(), support::noting(ended)));
  this->io.poll();
  this->io.restart();
  EXPECT_FALSE(ended);
  cancel.emit(asio::cancellation_type::terminal);
  this->until(ended);
  this->io.restart();
  EXPECT_EQ(*ended, asio::error::operation_aborted);
  EXPECT_FALSE(this->write(pair.client, "still here"));
  EXPECT_EQ(this->read(pair.server).second, "still here");
}

TYPED_TEST(TlsModel, ClosingTheSocketAborts) {
  auto& pair = this->connect();
  std::optional<asio::error_code> ended;
  char byte = 0;
  pair.server.async_read_some(asio::buffer(&byte, 1), support::noting(ended));
  this->io.poll();
  this->io.restart();
  pair.server.lowest_layer().close();
  this->until(ended);
  EXPECT_EQ(*ended, asio::error::operation_aborted);
}

TYPED_TEST(TlsModel, OperationsOnAClosedSocketSaySo) {
  auto& pair = this->connect();
  pair.server.lowest_layer().close();
  EXPECT_EQ(this->read(pair.server).first, asio::error::bad_descriptor);
  EXPECT_EQ(this->write(pair.server, "x"), asio::error::bad_descriptor);
}

TYPED_TEST(TlsModel, KeysMayBeUpdatedWhileBytesGoBothWays) {
  if (TypeParam::protocol != TLS1_3_VERSION) GTEST_SKIP() << "TLS 1.3 only";
  auto& pair = this->connect();
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(SSL_key_update(pair.client.native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
    EXPECT_FALSE(this->write(pair.client, "new keys"));
    EXPECT_EQ(this->read(pair.server).second, "new keys");
    EXPECT_FALSE(this->write(pair.server, "mine, too"));
    EXPECT_EQ(this->read(pair.client).second, "mine, too");
  }
}

}  // namespace
}  // namespace slabbuf
