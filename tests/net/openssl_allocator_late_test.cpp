// SPDX-License-Identifier: MIT
// In a process that has used OpenSSL already, whose allocator it has.
#include <slabbuf/net/openssl_allocator.hpp>

#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include <stdexcept>
#include <string>

#include "support/tls_engines.hpp"

namespace slabbuf::net {
namespace {

std::string refusal_of(concurrent_pool& pool) {
  try {
    install_openssl_allocator(pool);
  } catch (const std::logic_error& refused) {
    return refused.what();
  }
  return {};
}

TEST(OpensslAllocatorLate, IsRefusedAndChangesNothing) {
  const support::context_ptr context(SSL_CTX_new(TLS_client_method()));
  concurrent_pool pool;
  EXPECT_NE(refusal_of(pool).find("too late"), std::string::npos);
  EXPECT_NE(refusal_of(pool).find("too late"), std::string::npos) << "each time";
  EXPECT_THROW(install_openssl_allocator(), std::logic_error);
  OPENSSL_free(OPENSSL_malloc(100));
  support::engine_pair pair;
  EXPECT_NE(SSL_is_init_finished(pair.server.ssl()), 0);
  EXPECT_EQ(pool.stats().acquired, 0U);
  EXPECT_EQ(openssl_heap_stats().oversize + openssl_heap_stats().refused, 0U);
}

}  // namespace
}  // namespace slabbuf::net
