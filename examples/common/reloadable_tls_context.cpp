// SPDX-License-Identifier: MIT
#include "common/reloadable_tls_context.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

// Of several errors, the first is the cause.
std::string openssl_reason() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (ERR_SYSTEM_ERROR(code)) return std::generic_category().message(ERR_GET_REASON(code));
  const char* const reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "OpenSSL does not say why";
}

constexpr std::string_view certificate_mark = "CERTIFICATE-----";  // ends the first line of one in PEM
constexpr std::string_view key_mark = "PRIVATE KEY-----";

// What is wrong with a file that OpenSSL cannot use, where that can be seen; else what OpenSSL says, which of all these
// is "no start line" or less. Not of what can be read once, as a pipe.
std::string fault_of(const std::string& file, std::string_view wanted, const std::string& openssl_says) {
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(file, ignored);
  if (std::filesystem::is_directory(status)) return "it is a directory";
  if (!std::filesystem::is_regular_file(status)) return openssl_says;
  std::ifstream stream(file, std::ios::binary);
  if (!stream.is_open()) return openssl_says;
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  if (text.empty()) return "it is empty";
  if (text.find(wanted) != std::string::npos) return openssl_says;
  if (wanted == certificate_mark && text.find(key_mark) != std::string::npos) return "it is a private key";
  if (wanted == key_mark && text.find(certificate_mark) != std::string::npos) return "it is a certificate";
  return wanted == certificate_mark ? "it has no line -----BEGIN CERTIFICATE-----"
                                    : "it has no line -----BEGIN PRIVATE KEY-----";
}

// Called for an encrypted key. OpenSSL's own would ask at the terminal, and wait.
int refuse_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

void log_validity(const std::string& file, const SSL_CTX* context) {
  const ASN1_TIME* const end = X509_get0_notAfter(SSL_CTX_get0_certificate(context));
  std::tm time{};
  if (ASN1_TIME_to_tm(end, &time) != 1) return;
  if (X509_cmp_current_time(end) < 0) {
    spdlog::warn("certificate {} has expired: {:%Y-%m-%d %H:%M:%S} UTC", file, time);
  } else {
    spdlog::info("certificate {} is good until {:%Y-%m-%d %H:%M:%S} UTC", file, time);
  }
}

}  // namespace

reloadable_tls_context::reloadable_tls_context(tls_files files, std::initializer_list<std::string_view> protocols)
    : files_(std::move(files)) {
  if (protocols.size() != 0) protocols_.emplace(protocols);
  current_ = load();
}

std::shared_ptr<SSL_CTX> reloadable_tls_context::load() const {
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> made(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free);
  if (made == nullptr || !net::prepare_for_small_connections(made.get()))
    throw std::runtime_error("cannot set up TLS: " + openssl_reason());
  if (protocols_) protocols_->accept(made.get());
  if (SSL_CTX_use_certificate_chain_file(made.get(), files_.certificate.c_str()) != 1) {
    throw std::runtime_error(fmt::format("cannot use '{}' as a certificate in PEM: {}", files_.certificate,
                                         fault_of(files_.certificate, certificate_mark, openssl_reason())));
  }
  bool asked_for_passphrase = false;
  SSL_CTX_set_default_passwd_cb(made.get(), &refuse_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(made.get(), &asked_for_passphrase);
  const int key_used = SSL_CTX_use_PrivateKey_file(made.get(), files_.key.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_set_default_passwd_cb_userdata(made.get(), nullptr);
  SSL_CTX_set_default_passwd_cb(made.get(), nullptr);
  if (key_used != 1) {
    const std::string reason = fault_of(files_.key, key_mark, openssl_reason());
    throw std::runtime_error(fmt::format("cannot use '{}' as the private key of '{}' in PEM: {}", files_.key,
                                         files_.certificate,
                                         asked_for_passphrase ? "it is encrypted, which is not supported" : reason));
  }
  log_validity(files_.certificate, made.get());
  return made;
}

std::shared_ptr<SSL_CTX> reloadable_tls_context::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

void reloadable_tls_context::warn_unless_readable() const {
  for (const std::string& file : {files_.certificate, files_.key}) {
    if (std::ifstream(file).is_open()) continue;
    spdlog::warn(
        "SIGHUP will not bring a new certificate: this user cannot read '{}' ({}). Let its group read the file and "
        "search the directories above it, or restart when the certificate is renewed",
        file, std::generic_category().message(errno));
  }
}

bool reloadable_tls_context::reload() noexcept try {
  std::shared_ptr<SSL_CTX> fresh = load();
  const std::lock_guard lock(mutex_);
  current_.swap(fresh);  // the old one is freed after the lock, by its last connection at the latest
  return true;
} catch (const std::exception& fault) {
  spdlog::error("the certificate in use stays: {}", fault.what());
  return false;
}

}  // namespace slabbuf::examples
