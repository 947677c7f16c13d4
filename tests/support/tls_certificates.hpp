// SPDX-License-Identifier: MIT
// Certificates made when a test runs, good for an hour: nothing secret is kept, and nothing expires in a repository.
// Threads: any.
#pragma once

#include <openssl/ssl.h>

#include <string>

namespace slabbuf::support {

struct certificate {
  std::string chain_pem;
  std::string key_pem;
};

enum class key_kind { p256, rsa2048 };

/// A certificate for `name` (also as DNS name), signed by `issuer`, or by itself as an authority when that is
/// null. Throws std::runtime_error.
certificate make_certificate(const std::string& name, const certificate* issuer = nullptr,
                             key_kind kind = key_kind::p256);

/// Its private key in PEM, encrypted. Throws likewise.
std::string encrypted_key(const certificate& of, const std::string& passphrase);

/// The authority of all tests of this process, and a server's and a client's certificate from it.
const certificate& test_authority();
const certificate& server_certificate();
const certificate& client_certificate();
const certificate& rsa_server_certificate();

/// Uses `own` and trusts the authority; versions as TLS1_2_VERSION.
void set_up(SSL_CTX* context, const certificate* own, int version = 0);

}  // namespace slabbuf::support
