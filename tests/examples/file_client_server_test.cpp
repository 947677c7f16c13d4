// SPDX-License-Identifier: MIT
// file_client and file_server, each with the other, plain and over TLS.
#include "examples/file_client_fixture.hpp"
#include "examples/file_server_fixture.hpp"
#include "support/breaking_proxy.hpp"
#include "support/tls_certificates.hpp"

#include <filesystem>
#include <string>

namespace slabbuf {
namespace {

class FileClientAndServer : public FileClient {
 protected:
  FileClientAndServer() {
    const support::certificate own = support::make_certificate("localhost", &support::test_authority());
    files.write("authority", support::test_authority().chain_pem);
    std::filesystem::create_directory(files.path("root"));
    server.emplace(files.path("root"),
                   std::vector<std::string>{"--https", "127.0.0.1:0", "--cert", files.write("chain", own.chain_pem),
                                            "--key", files.write("key", own.key_pem), "--writable"});
    const std::string line = server->child().read_line();
    tls_port = line.substr(line.rfind(':') + 1);
  }
  ~FileClientAndServer() override { server->stop(); }

  std::string plain(const std::string& target) const {
    return "http://127.0.0.1:" + std::to_string(server->endpoint().port()) + target;
  }
  std::string tls(const std::string& target, const std::string& host = "localhost") const {
    return "https://" + host + ":" + tls_port + target;
  }
  std::vector<std::string> trusting(std::vector<std::string> options = {}) const {
    options.insert(options.end(), {"--ca", files.path("authority")});
    return options;
  }

  std::optional<support::file_server> server;
  std::string tls_port;
};

TEST_F(FileClientAndServer, GetWhatTheyPut) {
  const std::string content = random_content(9'000'001);
  files.write("source", content);
  for (const std::string& url : {plain("/file"), tls("/file")}) {
    SCOPED_TRACE(url);
    const outcome result = put(url, trusting());
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(files.read("root/file") == content, true);
    expect_got(get(url, trusting()), content);
    expect_got(get(url, trusting({"--connections", "5"})), content);
    files.write("root/file", "");
    expect_got(get(url, trusting()), "");
  }
}

TEST_F(FileClientAndServer, TrustNoCertificateThatNobodyVouchesFor) {
  files.write("root/file", "content");
  const outcome unknown = get(tls("/file"));
  EXPECT_EQ(unknown.status, 5);
  EXPECT_NE(unknown.errors.find("is not trusted"), std::string::npos) << unknown.errors;
  const outcome other_name = get(tls("/file", "127.0.0.1"), trusting());
  EXPECT_EQ(other_name.status, 5);
  EXPECT_NE(other_name.errors.find("IP address mismatch"), std::string::npos) << other_name.errors;
  EXPECT_FALSE(std::filesystem::exists(files.path("target")));
  EXPECT_FALSE(left_over());
  expect_got(get(tls("/file", "127.0.0.1"), {"--insecure"}), "content");
  const outcome no_authority = get(tls("/file"), {"--ca", files.path("no such file")});
  EXPECT_EQ(no_authority.status, 1);
  EXPECT_NE(no_authority.errors.find("--ca"), std::string::npos) << no_authority.errors;
}

TEST_F(FileClientAndServer, SayWhenOneSpeaksTlsAndTheOtherDoesNot) {
  const outcome to_plain =
      get("https://localhost:" + std::to_string(server->endpoint().port()) + "/", trusting({"--retries", "0"}));
  EXPECT_EQ(to_plain.status, 5) << to_plain.errors;
  const outcome to_tls = get("http://localhost:" + tls_port + "/", {"--retries", "0"});
  EXPECT_TRUE(to_tls.status == 3 || to_tls.status == 4) << to_tls.status << to_tls.errors;
}

TEST_F(FileClientAndServer, MoveEveryByteOnceOverANetworkThatBreaks) {
  const std::string content = random_content(6'000'000);
  files.write("source", content);
  for (const bool over_tls : {false, true}) {
    SCOPED_TRACE(over_tls);
    const asio::ip::tcp::endpoint to(
        asio::ip::address_v4::loopback(),
        over_tls ? static_cast<std::uint16_t>(std::stoi(tls_port)) : server->endpoint().port());
    const auto url = [&](const support::breaking_proxy& proxy) {
      return (over_tls ? "https://localhost:" : "http://localhost:") + std::to_string(proxy.port()) + "/file";
    };
    support::breaking_proxy uploads(to, 3, 1'500'000);
    const outcome sent = put(url(uploads), trusting());
    EXPECT_EQ(sent.status, 0) << sent.errors;
    EXPECT_EQ(uploads.cuts_left(), 0U);
    EXPECT_NE(sent.errors.find("goes on after"), std::string::npos) << sent.errors;
    EXPECT_EQ(files.read("root/file") == content, true);

    support::breaking_proxy downloads(to, 3, 1'500'000);
    expect_got(get(url(downloads), trusting()), content);
    EXPECT_EQ(downloads.cuts_left(), 0U);
    support::breaking_proxy parts(to, 6, 900'000);
    expect_got(get(url(parts), trusting({"--connections", "4"})), content);
    EXPECT_EQ(parts.cuts_left(), 0U);
    std::filesystem::remove(files.path("root/file"));
  }
}

TEST_F(FileClientAndServer, NothingIsReplacedByWhatTheServerRefuses) {
  files.write("source", "content");
  std::filesystem::create_directory(files.path("root/directory"));
  EXPECT_EQ(put(plain("/directory")).status, 4);
  EXPECT_EQ(put(plain("/no/such/directory/file")).status, 4);
  EXPECT_EQ(get(plain("/nothing")).status, 4);
  EXPECT_EQ(put(plain("/directory/")).status, 0);
  EXPECT_EQ(files.read("root/directory/source"), "content");
}

}  // namespace
}  // namespace slabbuf
