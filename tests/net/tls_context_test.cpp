// SPDX-License-Identifier: MIT
#include <slabbuf/net/tls_context.hpp>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <asio/ssl/context.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/tls_engines.hpp"

namespace slabbuf::net {
namespace {

using support::context_ptr;

TEST(TlsContext, PreparesForSmallConnections) {
  const context_ptr context(SSL_CTX_new(TLS_server_method()));
  ASSERT_TRUE(prepare_for_small_connections(context.get()));
  EXPECT_EQ(SSL_CTX_get_session_cache_mode(context.get()), SSL_SESS_CACHE_OFF);
  EXPECT_EQ(SSL_CTX_get_num_tickets(context.get()), 1U);
  EXPECT_EQ(SSL_CTX_get_min_proto_version(context.get()), TLS1_2_VERSION);
  EXPECT_NE(SSL_CTX_get_mode(context.get()) & SSL_MODE_RELEASE_BUFFERS, 0);
  const auto options = SSL_CTX_get_options(context.get());
  for (const auto each : {SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_CIPHER_SERVER_PREFERENCE})
    EXPECT_NE(options & each, 0U) << each;
}

using names = std::vector<std::string>;

// Of TLS 1.3.
names suites_of(const SSL_CTX* context) {
  names found;
  STACK_OF(SSL_CIPHER)* const all = SSL_CTX_get_ciphers(context);
  for (int index = 0; index < sk_SSL_CIPHER_num(all); ++index) {
    const std::string name = SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, index));
    if (name.starts_with("TLS_")) found.push_back(name);
  }
  return found;
}

TEST(TlsContext, RaisesTheLeastVersionAndNeverLowersIt) {
  const auto least_after = [](int least) {
    const context_ptr context(SSL_CTX_new(TLS_method()));
    SSL_CTX_set_min_proto_version(context.get(), least);
    EXPECT_TRUE(prepare_for_small_connections(context.get()));
    return SSL_CTX_get_min_proto_version(context.get());
  };
  EXPECT_EQ(least_after(0), TLS1_2_VERSION);
  EXPECT_EQ(least_after(TLS1_VERSION), TLS1_2_VERSION);
  EXPECT_EQ(least_after(TLS1_2_VERSION), TLS1_2_VERSION);
  EXPECT_EQ(least_after(TLS1_3_VERSION), TLS1_3_VERSION);
}

TEST(TlsContext, ReordersTheSuitesThereAreAndAddsNone) {
  const auto suites_after = [](const char* configured) {
    const context_ptr context(SSL_CTX_new(TLS_method()));
    SSL_CTX_set_ciphersuites(context.get(), configured);
    EXPECT_TRUE(prepare_for_small_connections(context.get()));
    return suites_of(context.get());
  };
  EXPECT_EQ(suites_after("TLS_AES_256_GCM_SHA384"), names{"TLS_AES_256_GCM_SHA384"});
  EXPECT_EQ(suites_after("TLS_AES_128_CCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"),
            (names{"TLS_AES_128_GCM_SHA256", "TLS_AES_128_CCM_SHA256", "TLS_AES_256_GCM_SHA384"}));
  EXPECT_EQ(suites_after("TLS_AES_128_GCM_SHA256"), names{"TLS_AES_128_GCM_SHA256"});
  EXPECT_EQ(suites_after(""), names{});
}

TEST(TlsContext, LeavesTheSuitesOfTls12) {
  const context_ptr context(SSL_CTX_new(TLS_method()));
  SSL_CTX_set_cipher_list(context.get(), "ECDHE-ECDSA-AES256-GCM-SHA384");
  ASSERT_TRUE(prepare_for_small_connections(context.get()));
  STACK_OF(SSL_CIPHER)* const all = SSL_CTX_get_ciphers(context.get());
  EXPECT_EQ(sk_SSL_CIPHER_num(all), 1 + static_cast<int>(suites_of(context.get()).size()));
}

TEST(TlsContext, AStrictServerStaysStrict) {
  asio::ssl::context strict(asio::ssl::context::tlsv13_server);
  SSL_CTX* const server = strict.native_handle();
  support::set_up(server, &support::server_certificate());
  SSL_CTX_set_ciphersuites(server, "TLS_AES_256_GCM_SHA384");
  SSL_CTX_set_options(server, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(server, 0);
  ASSERT_TRUE(prepare_for_small_connections(server));
  EXPECT_NE(SSL_CTX_get_options(server) & SSL_OP_NO_TICKET, 0U);
  EXPECT_EQ(SSL_CTX_get_num_tickets(server), 0U);
  const auto is_accepted = [&](int version, const char* suite) {
    const context_ptr client = support::make_context(TLS_client_method(), nullptr, version);
    SSL_CTX_set_ciphersuites(client.get(), suite);
    concurrent_pool pool;
    const support::descriptor_pair line;
    support::tls_engine here(server, pool.core());
    support::tls_engine there(client.get(), pool.core());
    support::shake_hands(here, line.ends[0], there, line.ends[1]);
    ERR_clear_error();
    return SSL_is_init_finished(here.ssl()) != 0;
  };
  EXPECT_TRUE(is_accepted(TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"));
  EXPECT_FALSE(is_accepted(TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"));
  EXPECT_FALSE(is_accepted(TLS1_2_VERSION, ""));
}

TEST(TlsContext, TurnsOffTheServersSideOfTheSessionCacheAlone) {
  const auto mode_after = [](long mode) {
    const context_ptr context(SSL_CTX_new(TLS_method()));
    SSL_CTX_set_session_cache_mode(context.get(), mode);
    EXPECT_TRUE(prepare_for_small_connections(context.get()));
    return SSL_CTX_get_session_cache_mode(context.get());
  };
  EXPECT_EQ(mode_after(SSL_SESS_CACHE_OFF), SSL_SESS_CACHE_OFF);
  EXPECT_EQ(mode_after(SSL_SESS_CACHE_BOTH), SSL_SESS_CACHE_CLIENT);
  constexpr long of_client = SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL | SSL_SESS_CACHE_NO_AUTO_CLEAR;
  EXPECT_EQ(mode_after(of_client), of_client);
}

// What a client needs to resume a session later.
TEST(TlsContext, AClientIsToldOfItsNewSession) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const context_ptr server = support::make_context(TLS_server_method(), &support::server_certificate(), version);
    const context_ptr client = support::make_context(TLS_client_method(), nullptr, version);
    static int sessions = 0;
    sessions = 0;
    SSL_CTX_set_session_cache_mode(client.get(), SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client.get(), [](SSL*, SSL_SESSION*) {
      ++sessions;
      return 0;
    });
    ASSERT_TRUE(prepare_for_small_connections(server.get()));
    ASSERT_TRUE(prepare_for_small_connections(client.get()));
    concurrent_pool pool;
    const support::descriptor_pair line;
    support::tls_engine here(server.get(), pool.core());
    support::tls_engine there(client.get(), pool.core());
    support::shake_hands(here, line.ends[0], there, line.ends[1]);
    std::string nothing;
    support::engine_pair::read_all(there, line.ends[1], nothing);  // a ticket of TLS 1.3
    EXPECT_EQ(sessions, 1) << SSL_get_version(there.ssl());
  }
}

// Whatever the client would rather have: the server prefers the smaller state, and takes what there is.
TEST(TlsContext, PrefersTheSmallerHash) {
  const context_ptr server = support::make_context(TLS_server_method(), &support::server_certificate(), TLS1_3_VERSION);
  ASSERT_TRUE(prepare_for_small_connections(server.get()));
  const auto agreed = [&](const char* wanted) {
    const context_ptr client = support::make_context(TLS_client_method(), nullptr, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(client.get(), wanted);
    concurrent_pool pool;
    const support::descriptor_pair line;
    support::tls_engine here(server.get(), pool.core());
    support::tls_engine there(client.get(), pool.core());
    support::shake_hands(here, line.ends[0], there, line.ends[1]);
    return std::string(SSL_get_cipher_name(here.ssl()));
  };
  EXPECT_EQ(agreed("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(agreed("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"), "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(agreed("TLS_CHACHA20_POLY1305_SHA256"), "TLS_CHACHA20_POLY1305_SHA256");
}

TEST(TlsContext, RefusesNamesThatCannotBeServers) {
  const context_ptr context(SSL_CTX_new(TLS_client_method()));
  const std::unique_ptr<SSL, void (*)(SSL*)> connection(SSL_new(context.get()), &SSL_free);
  EXPECT_TRUE(set_server_name(connection.get(), "server.test"));
  EXPECT_STREQ(SSL_get_servername(connection.get(), TLSEXT_NAMETYPE_host_name), "server.test");
  EXPECT_STREQ(SSL_get0_peername(connection.get()), nullptr) << "known after the handshake";
  EXPECT_FALSE(set_server_name(connection.get(), std::string(256, 'x'))) << "longer than a name can be";
  EXPECT_FALSE(set_server_name(connection.get(), ""));
}

TEST(TlsContext, RefusesNamesThatCannotBeProtocols) {
  EXPECT_THROW(alpn_protocols({""}), std::invalid_argument);
  EXPECT_THROW(alpn_protocols({"http/1.1", ""}), std::invalid_argument);
  EXPECT_THROW(alpn_protocols({std::string(256, 'x')}), std::invalid_argument);
  EXPECT_NO_THROW(alpn_protocols({std::string(255, 'x')}));
}

TEST(TlsContext, NothingIsAgreedOnWithoutAnOffer) {
  const support::engine_pair pair;
  EXPECT_EQ(agreed_protocol(pair.server.ssl()), "");
  EXPECT_EQ(agreed_protocol(pair.client.ssl()), "");
}

// Nothing to forget is no mistake: a client has no list of ciphers, and before the handshake there are no keys.
TEST(TlsContext, ForgetsOnlyWhatIsThere) {
  const context_ptr context(SSL_CTX_new(TLS_client_method()));
  const std::unique_ptr<SSL, void (*)(SSL*)> connection(SSL_new(context.get()), &SSL_free);
  forget_handshake(connection.get());
  EXPECT_EQ(SSL_get_client_ciphers(connection.get()), nullptr);
}

}  // namespace
}  // namespace slabbuf::net
