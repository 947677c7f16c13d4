// SPDX-License-Identifier: MIT
#include "common/reloadable_tls_context.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "support/temporary_files.hpp"
#include "support/tls_certificates.hpp"

namespace slabbuf::examples {
namespace {

using support::certificate;

class ReloadableTlsContext : public ::testing::Test {
 protected:
  void put(const certificate& one) {
    files.write("cert.pem", one.chain_pem);
    files.write("key.pem", one.key_pem);
  }
  tls_files names() const { return {files.path("cert.pem"), files.path("key.pem")}; }

  // What the constructor says of the files as they are.
  std::string fault() const {
    try {
      const reloadable_tls_context made(names());
    } catch (const std::runtime_error& refused) {
      return refused.what();
    }
    return {};
  }
  static std::string name_in(const std::shared_ptr<SSL_CTX>& context) {
    char name[100] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_CTX_get0_certificate(context.get())), NID_commonName, name,
                              sizeof name);
    return name;
  }

  support::temporary_files files;
};

TEST_F(ReloadableTlsContext, TakesACertificateAndItsKey) {
  put(support::server_certificate());
  const reloadable_tls_context made(names(), {"http/1.1"});
  EXPECT_EQ(name_in(made.current()), "server.test");
  EXPECT_EQ(SSL_CTX_check_private_key(made.current().get()), 1);
}

TEST_F(ReloadableTlsContext, NamesTheFileAndWhatIsWrongWithIt) {
  const std::string of_certificate = fmt::format("cannot use '{}' as a certificate in PEM: ", files.path("cert.pem"));
  const std::string of_key =
      fmt::format("cannot use '{}' as the private key of '{}' in PEM: ", files.path("key.pem"), files.path("cert.pem"));
  EXPECT_EQ(fault(), of_certificate + "No such file or directory");
  put(support::server_certificate());
  EXPECT_EQ(fault(), "");
  files.write("cert.pem", "not a certificate\n");
  EXPECT_EQ(fault(), of_certificate + "it has no line -----BEGIN CERTIFICATE-----");
  put(support::server_certificate());
  files.write("key.pem", support::client_certificate().key_pem);
  EXPECT_EQ(fault(), of_key + "key values mismatch");
  files.write("key.pem", "not a key\n");
  EXPECT_EQ(fault(), of_key + "it has no line -----BEGIN PRIVATE KEY-----");
  files.remove("key.pem");
  EXPECT_EQ(fault(), of_key + "No such file or directory");
}

TEST_F(ReloadableTlsContext, SaysWhatAFileIsThatIsNoCertificateOrNoKey) {
  const std::string& certificate_pem = support::server_certificate().chain_pem;
  const std::string& key_pem = support::server_certificate().key_pem;
  const auto fault_with = [this](const std::string& certificate, const std::string& key) {
    files.write("cert.pem", certificate);
    files.write("key.pem", key);
    const std::string text = fault();
    return text.substr(text.rfind(": ") + 2);
  };
  EXPECT_EQ(fault_with("", key_pem), "it is empty");
  EXPECT_EQ(fault_with(certificate_pem, ""), "it is empty");
  EXPECT_EQ(fault_with(key_pem, key_pem), "it is a private key");
  EXPECT_EQ(fault_with(certificate_pem, certificate_pem), "it is a certificate");
  // The line is there, and what follows is none: that is for OpenSSL to say.
  EXPECT_EQ(fault_with("-----BEGIN CERTIFICATE-----\n", key_pem).find("it "), std::string::npos);
  files.write("cert.pem", certificate_pem);
  files.remove("key.pem");
  std::filesystem::create_directory(files.path("key.pem"));
  EXPECT_NE(fault().find("it is a directory"), std::string::npos) << fault();
}

TEST_F(ReloadableTlsContext, AsksNobodyForAPassphrase) {
  put(support::server_certificate());
  files.write("key.pem", support::encrypted_key(support::server_certificate(), "secret"));
  EXPECT_NE(fault().find("it is encrypted"), std::string::npos) << fault();
}

TEST_F(ReloadableTlsContext, AReloadIsForThoseWhoComeLater) {
  put(support::server_certificate());
  reloadable_tls_context made(names());
  const std::shared_ptr<SSL_CTX> before = made.current();
  put(support::make_certificate("renewed.test", &support::test_authority()));
  EXPECT_EQ(made.current(), before) << "not by itself";
  EXPECT_TRUE(made.reload());
  EXPECT_EQ(name_in(made.current()), "renewed.test");
  EXPECT_EQ(name_in(before), "server.test");
}

TEST_F(ReloadableTlsContext, KeepsWhatItHasWhenTheNewOneCannotBeUsed) {
  put(support::server_certificate());
  reloadable_tls_context made(names());
  const std::shared_ptr<SSL_CTX> before = made.current();
  files.write("key.pem", support::client_certificate().key_pem);
  EXPECT_FALSE(made.reload());
  files.remove("cert.pem");
  EXPECT_FALSE(made.reload());
  EXPECT_EQ(made.current(), before);
  put(support::client_certificate());
  EXPECT_TRUE(made.reload());
}

}  // namespace
}  // namespace slabbuf::examples
