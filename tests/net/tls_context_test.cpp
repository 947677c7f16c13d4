// SPDX-License-Identifier: MIT
#include <slabbuf/net/tls_context.hpp>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
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
    support::linked_engines pair(server, client.get());
    pair.shake_hands();
    ERR_clear_error();
    return SSL_is_init_finished(pair.server.ssl()) != 0;
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
    support::linked_engines pair(server.get(), client.get());
    pair.shake_hands();
    std::string nothing;
    support::engine_pair::read_all(pair.client, pair.line.ends[1], nothing);  // a ticket of TLS 1.3
    EXPECT_EQ(sessions, 1) << SSL_get_version(pair.client.ssl());
  }
}

// Whatever the client would rather have: the server prefers the smaller state, and takes what there is.
TEST(TlsContext, PrefersTheSmallerHash) {
  const context_ptr server = support::make_context(TLS_server_method(), &support::server_certificate(), TLS1_3_VERSION);
  ASSERT_TRUE(prepare_for_small_connections(server.get()));
  const auto agreed = [&](const char* wanted) {
    const context_ptr client = support::make_context(TLS_client_method(), nullptr, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(client.get(), wanted);
    support::linked_engines pair(server.get(), client.get());
    pair.shake_hands();
    return std::string(SSL_get_cipher_name(pair.server.ssl()));
  };
  EXPECT_EQ(agreed("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(agreed("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"), "TLS_AES_256_GCM_SHA384");
  EXPECT_EQ(agreed("TLS_CHACHA20_POLY1305_SHA256"), "TLS_CHACHA20_POLY1305_SHA256");
}

using x509_ptr = std::unique_ptr<X509, void (*)(X509*)>;
using connection_ptr = std::unique_ptr<SSL, void (*)(SSL*)>;

connection_ptr client_connection() {
  const context_ptr context(SSL_CTX_new(TLS_client_method()));
  return {SSL_new(context.get()), &SSL_free};
}

std::string asked_name(const SSL* connection) {
  const char* const name = SSL_get_servername(connection, TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

std::string expected_address(SSL* connection) {
  const std::unique_ptr<char, void (*)(char*)> text(X509_VERIFY_PARAM_get1_ip_asc(SSL_get0_param(connection)),
                                                    [](char* memory) { OPENSSL_free(memory); });
  return text ? text.get() : "";
}

std::string expected_host(SSL* connection) {
  const char* const name = X509_VERIFY_PARAM_get0_host(SSL_get0_param(connection), 0);
  return name != nullptr ? name : "";
}

TEST(TlsContext, RefusesNamesThatCannotBeServers) {
  const connection_ptr connection = client_connection();
  EXPECT_TRUE(set_server_name(connection.get(), "server.test"));
  for (const std::string& each :
       {std::string(), std::string(256, 'x'), std::string("other.test\0.evil", 16), std::string("127.0.0.1\0", 10),
        std::string(1, '\0'), std::string("[::1]"), std::string("fe80::1%lo"), std::string("other.test:443")}) {
    EXPECT_FALSE(set_server_name(connection.get(), each)) << each;
    EXPECT_EQ(asked_name(connection.get()), "server.test") << each;
    EXPECT_EQ(expected_host(connection.get()), "server.test") << each;
    EXPECT_EQ(expected_address(connection.get()), "") << each;
  }
}

// RFC 6066, 3: literal addresses are not permitted there.
TEST(TlsContext, DoesNotAskForAddresses) {
  for (const char* const each : {"127.0.0.1", "::1", "2001:db8::1"}) {
    const connection_ptr connection = client_connection();
    EXPECT_TRUE(set_server_name(connection.get(), "server.test"));
    EXPECT_TRUE(set_server_name(connection.get(), each));
    EXPECT_EQ(asked_name(connection.get()), "");
    EXPECT_EQ(expected_host(connection.get()), "");
    EXPECT_NE(expected_address(connection.get()), "") << each;
    EXPECT_TRUE(set_server_name(connection.get(), "server.test"));
    EXPECT_EQ(asked_name(connection.get()), "server.test");
    EXPECT_EQ(expected_host(connection.get()), "server.test");
    EXPECT_EQ(expected_address(connection.get()), "") << each;
  }
}

// For 127.0.0.1 and ::1, and with a common name that is an address but says nothing: signed by itself.
void set_up_addresses(SSL_CTX* context) {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  const x509_ptr made(X509_new(), &X509_free);
  X509_set_version(made.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_set_pubkey(made.get(), key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("127.0.0.2"), -1, -1, 0);
  X509_set_issuer_name(made.get(), X509_get_subject_name(made.get()));
  const std::unique_ptr<X509_EXTENSION, void (*)(X509_EXTENSION*)> addresses(
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1,IP:::1"), &X509_EXTENSION_free);
  ASSERT_EQ(X509_add_ext(made.get(), addresses.get(), -1), 1);
  ASSERT_NE(X509_sign(made.get(), key.get(), EVP_sha256()), 0);
  ASSERT_EQ(SSL_CTX_use_certificate(context, made.get()), 1);
  ASSERT_EQ(SSL_CTX_use_PrivateKey(context, key.get()), 1);
}

TEST(TlsContext, AcceptsACertificateForTheAddress) {
  const context_ptr server(SSL_CTX_new(TLS_server_method()));
  set_up_addresses(server.get());
  const context_ptr client(SSL_CTX_new(TLS_client_method()));
  X509_STORE_add_cert(SSL_CTX_get_cert_store(client.get()), SSL_CTX_get0_certificate(server.get()));
  SSL_CTX_set_verify(client.get(), SSL_VERIFY_PEER, nullptr);
  const auto result_for = [&](const char* name) {
    support::linked_engines pair(server.get(), client.get());
    EXPECT_TRUE(set_server_name(pair.client.ssl(), name));
    pair.shake_hands();
    ERR_clear_error();
    return SSL_get_verify_result(pair.client.ssl());
  };
  EXPECT_EQ(result_for("127.0.0.1"), X509_V_OK);
  EXPECT_EQ(result_for("::1"), X509_V_OK);
  EXPECT_EQ(result_for("127.0.0.2"), X509_V_ERR_IP_ADDRESS_MISMATCH);
  EXPECT_EQ(result_for("server.test"), X509_V_ERR_HOSTNAME_MISMATCH);
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

context_ptr asking_server(long cache, int version) {
  context_ptr made = support::make_context(TLS_server_method(), &support::server_certificate(), version);
  EXPECT_TRUE(prepare_for_small_connections(made.get()));
  SSL_CTX_set_session_cache_mode(made.get(), cache);
  SSL_CTX_set_verify(made.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_id_context(made.get(), reinterpret_cast<const unsigned char*>("test"), 4);
  return made;
}

// Sends the authority's certificate, too.
context_ptr certified_client(int version) {
  context_ptr made = support::make_context(TLS_client_method(), &support::client_certificate(), version);
  SSL_CTX_set_session_cache_mode(made.get(), SSL_SESS_CACHE_OFF);
  const std::string& text = support::test_authority().chain_pem;
  const std::unique_ptr<BIO, int (*)(BIO*)> source(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())),
                                                   &BIO_free);
  const x509_ptr authority(PEM_read_bio_X509(source.get(), nullptr, nullptr, nullptr), &X509_free);
  SSL_CTX_add1_chain_cert(made.get(), authority.get());
  return made;
}

// A server that asks for certificates, and a client that has one, after the handshake.
struct certified_pair : support::engine_pair {
  certified_pair(long cache, int version) : engine_pair(asking_server(cache, version), certified_client(version)) {}
  int sent() const { return sk_X509_num(SSL_get_peer_cert_chain(server.ssl())); }
  int verified() const { return sk_X509_num(SSL_get0_verified_chain(server.ssl())); }
};

TEST(TlsContext, ForgetsTheAuthoritiesOfAClient) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    certified_pair peers(SSL_SESS_CACHE_OFF, version);
    ASSERT_EQ(peers.sent(), 1);
    ASSERT_EQ(peers.verified(), 2);
    forget_peer_chain(peers.server.ssl());
    EXPECT_EQ(peers.sent(), 0);
    EXPECT_EQ(peers.verified(), 0);
    EXPECT_EQ(SSL_get_verify_result(peers.server.ssl()), X509_V_OK);
    const x509_ptr own(SSL_get1_peer_certificate(peers.server.ssl()), &X509_free);
    ASSERT_NE(own, nullptr);
    EXPECT_EQ(X509_check_host(own.get(), "client.test", 0, 0, nullptr), 1);
    forget_peer_chain(peers.server.ssl());  // again

    std::string got;
    support::engine_pair::read_all(peers.client, peers.line.ends[1], got);  // a ticket of TLS 1.3
    const std::unique_ptr<SSL_SESSION, void (*)(SSL_SESSION*)> session(SSL_get1_session(peers.client.ssl()),
                                                                       &SSL_SESSION_free);
    support::linked_engines again(peers.server_context.get(), peers.client_context.get());
    SSL_set_session(again.client.ssl(), session.get());
    again.shake_hands();
    EXPECT_NE(SSL_session_reused(again.server.ssl()), 0);
    EXPECT_NE(SSL_get0_peer_certificate(again.server.ssl()), nullptr);
    forget_peer_chain(again.server.ssl());
  }
}

// Other connections, of other threads, may have the same session.
TEST(TlsContext, LeavesWhatASharedSessionHas) {
  const certified_pair peers(SSL_SESS_CACHE_SERVER, TLS1_2_VERSION);
  forget_peer_chain(peers.server.ssl());
  EXPECT_EQ(peers.sent(), 1);
  EXPECT_EQ(peers.verified(), 0);
  const int of_server = sk_X509_num(SSL_get_peer_cert_chain(peers.client.ssl()));
  EXPECT_GT(of_server, 0);
  forget_peer_chain(peers.client.ssl());
  EXPECT_EQ(sk_X509_num(SSL_get_peer_cert_chain(peers.client.ssl())), of_server);
}

// Nothing to forget is no mistake: a client has no list of ciphers, and before the handshake there are no keys.
TEST(TlsContext, ForgetsOnlyWhatIsThere) {
  const connection_ptr connection = client_connection();
  forget_handshake(connection.get());
  forget_peer_chain(connection.get());
  EXPECT_EQ(SSL_get_client_ciphers(connection.get()), nullptr);
}

}  // namespace
}  // namespace slabbuf::net
