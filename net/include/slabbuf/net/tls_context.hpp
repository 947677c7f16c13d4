// SPDX-License-Identifier: MIT
// Setting up OpenSSL's contexts and connections: small idle connections, names, protocols. All of it is a call or three
// of OpenSSL's own, which remain for everything else.
// Threads: as OpenSSL: a context is set up before it is used.
// Lifetime: see each.
#pragma once

#include <openssl/ssl.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace slabbuf::net {

/// Prepares a server's or a client's context for many connections that are idle most of the time; call it when all else
/// is set, and before a connection is made of the context. Returns whether OpenSSL did what it was told. Nothing that
/// the program forbade is allowed afterwards:
///  - sessions are resumed by tickets alone: no cache in a server, which would keep every session. A client's cache and
///    the callback for its new sessions stay as they are. So does SSL_OP_NO_TICKET: such a server resumes nothing;
///  - one ticket a handshake at most, instead of two;
///  - of the suites of TLS 1.3 that the context has, TLS_AES_128_GCM_SHA256 comes first, and a server goes by its own
///    order: a SHA-256 state takes less than a SHA-384 one, and a connection keeps two of them. No suite is added;
///  - no compression, no renegotiation; TLS 1.2 where less was allowed, and else the minimum that was set.
bool prepare_for_small_connections(SSL_CTX* context) noexcept;

/// The client's side of a connection: asks for `name`, and accepts only a certificate for it (when the verify mode asks
/// for one). An IP address (127.0.0.1, ::1) is not asked for, which RFC 6066 forbids, but the certificate must be for
/// it. Returns whether OpenSSL did. False, and nothing has changed, for what is neither: empty, longer than 255 bytes,
/// with a NUL, or with a colon (an address in brackets, or with a zone).
bool set_server_name(SSL* connection, const std::string& name) noexcept;

/// Frees what OpenSSL keeps as long as the connection and needs only for the handshake: the keys of the key exchange,
/// which are a secret less then, too, and a server's list of the ciphers that its client knows. A tls_stream does it
/// when the handshake is done. Afterwards SSL_get_peer_tmp_key() gives an empty key, SSL_get_client_ciphers() an empty
/// list; SSL_get_negotiated_group() and SSL_get_current_cipher() say what they always did.
void forget_handshake(SSL* connection) noexcept;

/// Frees the certificates of authorities that a server keeps for each client with a certificate, as they were sent and
/// as they were verified: 3 to 4 KB each. For a program that asked for client certificates, after the handshake and
/// after it has looked at them; SSL_get_peer_cert_chain() and SSL_get0_verified_chain() give an empty list then. The
/// client's own certificate stays, as does the result of the verification. What was sent belongs to the session, which
/// connections may share: it is freed only in a server whose context has no session cache
/// (prepare_for_small_connections()), and nobody else may use the connection's session at the time.
void forget_peer_chain(SSL* connection) noexcept;

/// Protocols above TLS in the order of preference (ALPN), such as "http/1.1".
class alpn_protocols {
 public:
  /// Names of 1 to 255 bytes; throws std::invalid_argument for others.
  alpn_protocols(std::initializer_list<std::string_view> names);

  /// A client offers them: on all connections made of the context from now on. Copied.
  bool offer(SSL_CTX* context) const noexcept;

  /// A server takes the first of them that the client offers, and goes on without one when there is none. This object
  /// must outlive the context, and stay where it is.
  void accept(SSL_CTX* context) const noexcept;

 private:
  static int select(SSL* connection, const unsigned char** chosen, unsigned char* chosen_length,
                    const unsigned char* offered, unsigned int offered_length, void* self) noexcept;

  std::string wire_;  // each preceded by its length
};

/// What both sides agreed on; empty when nothing. Good as long as the connection.
std::string_view agreed_protocol(const SSL* connection) noexcept;

}  // namespace slabbuf::net
