// SPDX-License-Identifier: MIT
// A certificate for localhost that its own key has signed, made when the test runs.
// Threads: one.
// Lifetime: owns key and certificate; an SSL_CTX that uses them counts references of its own.
#pragma once

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <stdexcept>

namespace slabbuf::support {

class test_certificate {
 public:
  /// An elliptic curve's key, which is made in no time. Throws std::runtime_error.
  test_certificate() : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    X509* const made = certificate_.get();
    check(key_ != nullptr && made != nullptr);
    check(X509_set_version(made, X509_VERSION_3) == 1);
    check(ASN1_INTEGER_set(X509_get_serialNumber(made), 1) == 1);
    check(X509_gmtime_adj(X509_getm_notBefore(made), -3600) != nullptr);
    check(X509_gmtime_adj(X509_getm_notAfter(made), 24 * 3600) != nullptr);
    X509_NAME* const name = X509_get_subject_name(made);
    const auto* const host = reinterpret_cast<const unsigned char*>("localhost");
    check(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, host, -1, -1, 0) == 1);
    check(X509_set_issuer_name(made, name) == 1);
    check(X509_set_pubkey(made, key_.get()) == 1);
    check(X509_sign(made, key_.get(), EVP_sha256()) != 0);
  }

  /// Makes `context` a server's. Throws std::runtime_error.
  void use_in(SSL_CTX* context) const {
    check(SSL_CTX_use_certificate(context, certificate_.get()) == 1);
    check(SSL_CTX_use_PrivateKey(context, key_.get()) == 1);
  }

 private:
  struct deleter {
    void operator()(EVP_PKEY* dying) const noexcept { EVP_PKEY_free(dying); }
    void operator()(X509* dying) const noexcept { X509_free(dying); }
  };
  static void check(bool good) {
    if (!good) throw std::runtime_error("test_certificate: OpenSSL refuses");
  }

  std::unique_ptr<EVP_PKEY, deleter> key_;
  std::unique_ptr<X509, deleter> certificate_;
};

}  // namespace slabbuf::support
