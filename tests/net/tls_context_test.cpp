// SPDX-License-Identifier: MIT
#include <slabbuf/net/tls_context.hpp>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "support/tls_engines.hpp"

namespace slabbuf::net {
namespace {

using support::context_ptr;

TEST(TlsContext, PreparesForSmallConnections) {
  const context_ptr context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET);
  ASSERT_TRUE(prepare_for_small_connections(context.get()));
  EXPECT_EQ(SSL_CTX_get_session_cache_mode(context.get()), SSL_SESS_CACHE_OFF);
  EXPECT_EQ(SSL_CTX_get_num_tickets(context.get()), 1U);
  EXPECT_EQ(SSL_CTX_get_min_proto_version(context.get()), TLS1_2_VERSION);
  EXPECT_NE(SSL_CTX_get_mode(context.get()) & SSL_MODE_RELEASE_BUFFERS, 0);
  const auto options = SSL_CTX_get_options(context.get());
  EXPECT_EQ(options & SSL_OP_NO_TICKET, 0U);
  for (const auto each : {SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION, SSL_OP_CIPHER_SERVER_PREFERENCE})
    EXPECT_NE(options & each, 0U) << each;
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
