// SPDX-License-Identifier: MIT
#include "support/tls_certificates.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <stdexcept>

namespace slabbuf::support {
namespace {

template <auto release>
struct releaser {
  template <class T>
  void operator()(T* object) const {
    release(object);
  }
};
using bio_ptr = std::unique_ptr<BIO, releaser<BIO_free_all>>;
using key_ptr = std::unique_ptr<EVP_PKEY, releaser<EVP_PKEY_free>>;
using x509_ptr = std::unique_ptr<X509, releaser<X509_free>>;

void require(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string("tls_certificates: ") + what);
}

std::string text_of(const bio_ptr& memory) {
  char* text = nullptr;
  const long length = BIO_get_mem_data(memory.get(), &text);
  return {text, static_cast<std::size_t>(length)};
}

bio_ptr reader(const std::string& text) { return bio_ptr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

x509_ptr x509_of(const certificate& from) {
  return x509_ptr(PEM_read_bio_X509(reader(from.chain_pem).get(), nullptr, nullptr, nullptr));
}

key_ptr key_of(const certificate& from) {
  return key_ptr(PEM_read_bio_PrivateKey(reader(from.key_pem).get(), nullptr, nullptr, nullptr));
}

void add_extension(X509* to, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context{};
  X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, releaser<X509_EXTENSION_free>> made(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  require(made != nullptr && X509_add_ext(to, made.get(), -1) == 1, "extension");
}

}  // namespace

certificate make_certificate(const std::string& name, const certificate* issuer, key_kind kind) {
  const key_ptr key(kind == key_kind::rsa2048 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"));
  const x509_ptr made(X509_new());
  require(key != nullptr && made != nullptr, "key");
  static long serial = 0;
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_set_pubkey(made.get(), key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  const x509_ptr issuing = issuer != nullptr ? x509_of(*issuer) : nullptr;
  const key_ptr signing = issuer != nullptr ? key_of(*issuer) : nullptr;
  X509* const above = issuing ? issuing.get() : made.get();
  X509_set_issuer_name(made.get(), X509_get_subject_name(above));
  add_extension(made.get(), above, NID_basic_constraints, issuer != nullptr ? "CA:FALSE" : "critical,CA:TRUE");
  if (issuer != nullptr) add_extension(made.get(), above, NID_subject_alt_name, "DNS:" + name);
  require(X509_sign(made.get(), signing ? signing.get() : key.get(), EVP_sha256()) != 0, "signature");

  const bio_ptr chain_text(BIO_new(BIO_s_mem()));
  const bio_ptr key_text(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_X509(chain_text.get(), made.get()) == 1, "certificate");
  require(PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1, "key");
  return {text_of(chain_text), text_of(key_text)};
}

std::string encrypted_key(const certificate& of, const std::string& passphrase) {
  const bio_ptr text(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_PKCS8PrivateKey(text.get(), key_of(of).get(), EVP_aes_128_cbc(), passphrase.data(),
                                        static_cast<int>(passphrase.size()), nullptr, nullptr) == 1,
          "encrypted key");
  return text_of(text);
}

const certificate& test_authority() {
  static const certificate made = make_certificate("slabbuf test authority");
  return made;
}

const certificate& server_certificate() {
  static const certificate made = make_certificate("server.test", &test_authority());
  return made;
}

const certificate& client_certificate() {
  static const certificate made = make_certificate("client.test", &test_authority());
  return made;
}

const certificate& rsa_server_certificate() {
  static const certificate made = make_certificate("server.test", &test_authority(), key_kind::rsa2048);
  return made;
}

void set_up(SSL_CTX* context, const certificate* own, int version) {
  if (own != nullptr) {
    require(SSL_CTX_use_certificate(context, x509_of(*own).get()) == 1, "use certificate");
    require(SSL_CTX_use_PrivateKey(context, key_of(*own).get()) == 1, "use key");
  }
  require(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), x509_of(test_authority()).get()) == 1, "trust");
  if (version != 0) {
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
  }
}

}  // namespace slabbuf::support
