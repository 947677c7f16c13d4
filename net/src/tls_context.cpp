// SPDX-License-Identifier: MIT
#include <slabbuf/net/tls_context.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509_vfy.h>

#include <array>
#include <cstddef>
#include <new>
#include <stdexcept>

namespace slabbuf::net {
namespace {

// Puts the suite of TLS 1.3 with the smallest state before the others that the context has. Throws std::bad_alloc.
bool prefer_smallest_suite(SSL_CTX* context) {
  STACK_OF(SSL_CIPHER)* const all = SSL_CTX_get_ciphers(context);
  std::string names;
  bool has_smallest = false;
  for (int index = 0; index < sk_SSL_CIPHER_num(all); ++index) {
    const SSL_CIPHER* const each = sk_SSL_CIPHER_value(all, index);
    if (SSL_CIPHER_get_version(each) != std::string_view("TLSv1.3")) continue;
    if (SSL_CIPHER_get_id(each) == TLS1_3_CK_AES_128_GCM_SHA256) {
      has_smallest = true;
    } else {
      names += ':';
      names += SSL_CIPHER_get_name(each);
    }
  }
  if (!has_smallest) return true;
  return SSL_CTX_set_ciphersuites(context, (TLS1_3_RFC_AES_128_GCM_SHA256 + names).c_str()) == 1;
}

}  // namespace

bool prepare_for_small_connections(SSL_CTX* context) noexcept {
  SSL_CTX_set_session_cache_mode(context, SSL_CTX_get_session_cache_mode(context) & ~SSL_SESS_CACHE_SERVER);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  if (SSL_CTX_get_num_tickets(context) > 1 && SSL_CTX_set_num_tickets(context, 1) != 1) return false;
  // 0, the lowest there is, is less than any version.
  if (SSL_CTX_get_min_proto_version(context) < TLS1_2_VERSION &&
      SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
    return false;
  try {
    return prefer_smallest_suite(context);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool set_server_name(SSL* connection, const std::string& name) noexcept {
  if (name.empty() || name.size() > TLSEXT_MAXLEN_host_name || name.find('\0') != std::string::npos) return false;
  std::array<unsigned char, sizeof(::in6_addr)> address{};
  std::size_t address_bytes = 0;
  if (::inet_pton(AF_INET, name.c_str(), address.data()) == 1) {
    address_bytes = sizeof(::in_addr);
  } else if (::inet_pton(AF_INET6, name.c_str(), address.data()) == 1) {
    address_bytes = sizeof(::in6_addr);
  } else if (name.find(':') != std::string::npos) {
    return false;  // [::1], or with a zone
  }
  // Whichever of the two it is not is taken back, as a connection may have been told another name before. The first is
  // what the macro SSL_set_tlsext_host_name is.
  const char* const host = address_bytes == 0 ? name.c_str() : nullptr;
  return SSL_ctrl(connection, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, const_cast<char*>(host)) == 1 &&
         SSL_set1_host(connection, host) == 1 &&
         X509_VERIFY_PARAM_set1_ip(SSL_get0_param(connection), address_bytes != 0 ? address.data() : nullptr,
                                   address_bytes) == 1;
}

void forget_handshake(SSL* connection) noexcept {
  for (const int which : {SSL_CTRL_GET_TMP_KEY, SSL_CTRL_GET_PEER_TMP_KEY}) {
    EVP_PKEY* key = nullptr;
    if (SSL_ctrl(connection, which, 0, &key) != 1 || key == nullptr) continue;
    // There is no way to take it out of the connection; but setting the type of a key, to what it is, empties it.
    EVP_PKEY_set_type(key, EVP_PKEY_get_base_id(key));
    EVP_PKEY_free(key);
  }
  ERR_clear_error();  // where a key has no such type
  if (STACK_OF(SSL_CIPHER)* const ciphers = SSL_get_client_ciphers(connection)) {
    sk_SSL_CIPHER_zero(ciphers);
    sk_SSL_CIPHER_reserve(ciphers, 0);  // as much as it needs: which is the only way to let it go of the rest
  }
}

void forget_peer_chain(SSL* connection) noexcept {
  const auto empty = [](STACK_OF(X509) * chain) {
    // There is no way to take them out of the connection, either.
    while (X509* const last = sk_X509_pop(chain)) X509_free(last);
  };
  empty(SSL_get0_verified_chain(connection));
  const long cache = SSL_CTX_get_session_cache_mode(SSL_get_SSL_CTX(connection));
  if (SSL_is_server(connection) != 0 && (cache & SSL_SESS_CACHE_SERVER) == 0)
    empty(SSL_get_peer_cert_chain(connection));
}

alpn_protocols::alpn_protocols(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (name.empty() || name.size() > 255) throw std::invalid_argument("alpn_protocols: a name has 1 to 255 bytes");
    wire_ += static_cast<char>(name.size());
    wire_ += name;
  }
}

bool alpn_protocols::offer(SSL_CTX* context) const noexcept {
  // 0 is success here.
  return SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(wire_.data()),
                                 static_cast<unsigned int>(wire_.size())) == 0;
}

void alpn_protocols::accept(SSL_CTX* context) const noexcept {
  // OpenSSL's argument knows no const; select() changes nothing.
  SSL_CTX_set_alpn_select_cb(context, &select, const_cast<alpn_protocols*>(this));
}

int alpn_protocols::select(SSL*, const unsigned char** chosen, unsigned char* chosen_length,
                           const unsigned char* offered, unsigned int offered_length, void* self) noexcept {
  const std::string& wire = static_cast<const alpn_protocols*>(self)->wire_;
  unsigned char* found = nullptr;
  const int result = SSL_select_next_proto(&found, chosen_length, reinterpret_cast<const unsigned char*>(wire.data()),
                                           static_cast<unsigned int>(wire.size()), offered, offered_length);
  if (result != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_NOACK;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

std::string_view agreed_protocol(const SSL* connection) noexcept {
  const unsigned char* name = nullptr;
  unsigned int length = 0;
  SSL_get0_alpn_selected(connection, &name, &length);
  return {reinterpret_cast<const char*>(name), length};
}

}  // namespace slabbuf::net
