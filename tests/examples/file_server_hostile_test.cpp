// SPDX-License-Identifier: MIT
// What clients try that mean harm: requests hidden behind others, bytes that come or go as slowly as they may, hosts
// that are somebody else's.
#include <poll.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "examples/file_server_fixture.hpp"

namespace slabbuf {
namespace {

using support::file_server;
using support::FileServer;
using support::http_answer;
using support::http_client;

class FileServerHostile : public FileServer {};

const std::string host = "Host: test\r\n";

// Requests of 65,533 bytes in all, the first of which names the victim where the one behind them has its target, were
// positions counted by 16 bits.
std::string requests_before_a_removal() {
  const auto padded = [](const std::string& target, std::size_t bytes) {
    const std::string begin = "GET " + target + " HTTP/1.1\r\n" + host + "X: ";
    return begin + std::string(bytes - begin.size() - 4, 'p') + "\r\n\r\n";
  };
  std::string all = padded("/victim", 1024);
  while (all.size() + 2048 < 65'533) all += padded("/keep", 1024);
  return all + padded("/keep", 65'533 - all.size());
}

TEST_F(FileServerHostile, DoesWhatARequestBehindABodySaysAndNothingElse) {
  files.write("victim", "victim");
  files.write("keep", "keep");
  file_server server(files.path(""), {"--writable", "--threads", "1"});
  const std::string pipelined = requests_before_a_removal() + "DELETE /nosuch HTTP/1.1\r\n" + host + "\r\n";
  for (const bool chunked : {false, true}) {
    http_client client = server.connect();
    // The answer says that the head has been read: the body comes by reads of its own.
    client.send("PUT /up HTTP/1.1\r\n" + host + "Expect: 100-continue\r\n" +
                (chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 10\r\n\r\n"));
    ASSERT_EQ(client.receive().status, 100);
    client.send((chunked ? "a\r\n0123456789\r\n0\r\n\r\n" : "0123456789") + pipelined);
    EXPECT_EQ(client.receive().status / 100, 2);
    http_answer last;
    for (http_answer next = client.receive(); next.status != 0; next = client.receive()) {
      last = next;
      if (next.status == 404) break;
      EXPECT_EQ(next.status, 200);
    }
    if (!chunked) {
      EXPECT_EQ(last.status, 404) << "of what is not there";
    }
    EXPECT_TRUE(std::filesystem::exists(files.path("victim")));
  }
  server.stop();
}

TEST_F(FileServerHostile, LimitsAHeaderBehindABody) {
  files.write("keep", "keep");
  file_server server(files.path(""), {"--writable"});
  for (const std::size_t bytes : {17'000U, 65'400U, 100'000U}) {
    http_client client = server.connect();
    client.send("PUT /up HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    ASSERT_EQ(client.receive().status, 100);
    client.send("0123456789GET /keep HTTP/1.1\r\n" + host + "X: " + std::string(bytes, 'y') + "\r\n\r\n");
    EXPECT_EQ(client.receive().status / 100, 2);
    EXPECT_EQ(client.receive().status, 431) << bytes;
    EXPECT_TRUE(client.ends());
  }
  server.stop();
}

TEST_F(FileServerHostile, RefusesHeadsThatServersReadInDifferentWays) {
  files.write("file", "text");
  file_server server(files.path(""), {"--writable"});
  for (const std::string& head : std::vector<std::string>{
           "GET /file HTTP/1.1\r\n" + host + "A: b\r\n c\r\n", "GET /file HTTP/1.1\r\n" + host + "A:\r\n\tb\r\n",
           "PUT /file HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n chunked\r\n",
           "GET /file HTTP/1.1\r\nHost:\r\n test\r\n", "GET /file HTTP/1.1\r\nHost: a b/<c>@\r\n",
           std::string("GET /file HTTP/1.1\r\nHost: a,b:c\r\n"), std::string("GET /file HTTP/1.1\r\nHost: [::1\r\n"),
           std::string("GET /file HTTP/1.1\r\nHost: :80\r\n"), std::string("GET /file HTTP/1.1\r\nHost: a%2\r\n"),
           "GET /file HTTP/1.1\r\n" + host + ": v\r\n", "GET /file HTTP/1.1\r\n: v\r\n" + host,
           "GET /file RTSP/1.0\r\n" + host, "GET /file ICE/1.0\r\n" + host, "GET  /file HTTP/1.1\r\n" + host,
           "GET /file  HTTP/1.1\r\n" + host}) {
    const std::string request = head + "\r\n";
    http_client client = server.connect();
    client.send(request);
    EXPECT_EQ(client.receive().status, 400) << request;
    EXPECT_TRUE(client.ends());
    // The same, where each byte is looked at alone.
    http_client slow = server.connect();
    for (const char each : request) {
      asio::error_code ignored;  // refused before the end, maybe
      asio::write(slow.socket(), asio::buffer(&each, 1), ignored);
    }
    EXPECT_EQ(slow.receive().status, 400) << request;
  }
  EXPECT_EQ(files.read("file"), "text");
  server.stop();
}

TEST_F(FileServerHostile, SendsNoBodyWithARefusalOfHead) {
  files.write("file", "text");
  file_server server(files.path(""), {"--header-timeout", "1"});
  const std::string long_text(20'000, 'a');
  for (const auto& [request, status] : std::vector<std::pair<std::string, int>>{
           {"HEAD /" + long_text + " HTTP/1.1\r\n" + host + "\r\n", 414},
           {"HEAD /file HTTP/1.1\r\n" + host + "A: " + long_text + "\r\n\r\n", 431},
           {"HEAD /file HTTP/1.1\r\nHost : test\r\n\r\n", 400},
           {"HEAD /file HTTP/1.1\r\n" + host + host + "\r\n", 400},
           {"HEAD /file HTTP/1.1\r\n" + host, 408}}) {
    http_client client = server.connect();
    client.send(request);
    const http_answer answer = client.receive(true);
    EXPECT_EQ(answer.status, status);
    EXPECT_NE(answer.field("content-length"), "0");
    EXPECT_TRUE(client.ends()) << status;
  }
  server.stop();
}

// Sends bytes one by one, `pause` apart, until the server says something, or `most` are sent.
http_answer drip(http_client& client, std::size_t most, std::chrono::milliseconds pause) {
  for (std::size_t sent = 0; sent < most; ++sent) {
    ::pollfd waiting{client.socket().native_handle(), POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(pause.count())) != 0) break;
    client.send("a");
  }
  return client.receive();
}

TEST_F(FileServerHostile, TakesNoUploadThatComesByteByByte) {
  file_server server(files.path(""), {"--body-timeout", "1", "--writable"});
  for (const std::string& length : {std::string("Content-Length: 600\r\n"),
                                    std::string("Content-Range: bytes 0-599/900\r\nContent-Length: 600\r\n")}) {
    http_client client = server.connect();
    client.send("PUT /file HTTP/1.1\r\n" + host + length + "\r\n");
    EXPECT_EQ(drip(client, 599, std::chrono::milliseconds(50)).status, 408);
    EXPECT_TRUE(client.ends());
  }
  EXPECT_FALSE(std::filesystem::exists(files.path("file")));
  server.stop();
}

TEST_F(FileServerHostile, HoldsAtMostOneBlockForASlowClient) {
  file_server server(files.path(""), {"--threads", "1", "--writable", "--admin", "127.0.0.1:0"});
  const asio::ip::tcp::endpoint admin(asio::ip::address_v4::loopback(), support::read_port(server.child(), "admin"));
  const auto blocks_in_use = [&] {
    const auto stats = nlohmann::json::parse(http_client(admin).ask("GET /stats").body);
    return stats.at("pools").at(0).at("in_use").get<std::size_t>();
  };
  const auto until = [](const auto& condition) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition() && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
    return condition();
  };
  constexpr std::size_t count = 20;
  std::deque<http_client> heads;
  for (std::size_t index = 0; index < count; ++index) {
    heads.emplace_back(server.endpoint());
    heads.back().send("GET / HTTP/1.1\r\n" + host + "A: ");
  }
  EXPECT_TRUE(until([&] { return blocks_in_use() == count; })) << blocks_in_use();
  // Longer than the first block is.
  for (http_client& each : heads) each.send(std::string(5000, 'a'));
  EXPECT_EQ(server.ask("GET /none").status, 404) << "all of it has been looked at";
  // The block of that answer may be on its way back still.
  EXPECT_TRUE(until([&] { return blocks_in_use() == count; })) << blocks_in_use();
  heads.clear();
  EXPECT_TRUE(until([&] { return blocks_in_use() == 0; })) << blocks_in_use();
  // Whose bytes have come is waited for with nothing.
  std::deque<http_client> bodies;
  for (std::size_t index = 0; index < count; ++index) {
    bodies.emplace_back(server.endpoint());
    bodies.back().send("PUT /file HTTP/1.1\r\n" + host + "Content-Length: 100000\r\n\r\n" + std::string(50'000, 'b'));
  }
  const auto bytes_kept = [&] {
    std::uintmax_t bytes = 0;
    for (const auto& each : std::filesystem::directory_iterator(files.path(""))) bytes += each.file_size();
    return bytes;
  };
  EXPECT_TRUE(until([&] { return bytes_kept() == count * 50'000; })) << bytes_kept();
  EXPECT_TRUE(until([&] { return blocks_in_use() == 0; })) << blocks_in_use();
  bodies.clear();
  server.stop();
}

// Bytes of a header that are always there when its time runs out.
TEST_F(FileServerHostile, EndsAHeaderThatOutrunsItsDeadline) {
  file_server server(files.path(""), {"--header-timeout", "1", "--threads", "1"});
  std::deque<http_client> clients;
  for (int index = 0; index < 40; ++index) {
    clients.emplace_back(server.endpoint());
    clients.back().send("GET / HTTP/1.1\r\n" + host + "A: ");
  }
  // Fewer bytes each than a header may have.
  std::size_t refused = 0;
  for (int turn = 0; turn < 12'000 && refused < clients.size(); ++turn) {
    refused = 0;
    for (http_client& each : clients) {
      asio::error_code ignored;
      asio::write(each.socket(), asio::buffer("a", 1), ignored);
      ::pollfd waiting{each.socket().native_handle(), POLLIN, 0};
      refused += ::poll(&waiting, 1, 0) != 0 ? 1U : 0U;
    }
  }
  for (http_client& each : clients) EXPECT_EQ(each.receive().status, 408);
  server.stop();
}

TEST_F(FileServerHostile, KnowsItsNamesOnItsOwnMachine) {
  files.write("file", "text");
  file_server server(files.path(""), {"--host", "files.example", "--admin", "127.0.0.1:0"});
  http_client admin({asio::ip::address_v4::loopback(), support::read_port(server.child(), "admin")});
  http_client client = server.connect();
  for (const auto& [name, status] : std::vector<std::pair<std::string, int>>{{"localhost", 200},
                                                                             {"LocalHost:8080", 200},
                                                                             {"localhost.", 200},
                                                                             {"app.localhost:1", 200},
                                                                             {"127.0.0.1:8080", 200},
                                                                             {"192.0.2.1", 200},
                                                                             {"[::1]:8080", 200},
                                                                             {"files.example", 200},
                                                                             {"FILES.example:80", 200},
                                                                             {"", 200},
                                                                             {"evil.example", 421},
                                                                             {"localhost.evil.example", 421},
                                                                             {"evillocalhost", 421},
                                                                             {"127.0.0.1.evil.example", 421},
                                                                             {"1.2.3", 421}}) {
    for (http_client* const each : {&client, &admin}) {
      http_client fresh(each->socket().remote_endpoint());
      const std::string path = each == &admin ? "/healthz" : "/file";
      fresh.send("GET " + path + " HTTP/1.1\r\nHost: " + name + "\r\n\r\n");
      EXPECT_EQ(fresh.receive().status, status) << name << " " << path;
    }
  }
  client.send("GET http://evil.example/file HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.receive().status, 421);
  server.stop();
}

TEST_F(FileServerHostile, LetsNoOtherSiteWrite) {
  files.write("file", "text");
  file_server server(files.path(""), {"--writable"});
  const auto status_of = [&](const std::string& method, const std::string& fields) {
    return server.ask(method + " /file", "Content-Length: 0\r\n" + fields).status;
  };
  for (const char* const fields :
       {"Sec-Fetch-Site: cross-site\r\n", "Origin: http://evil.example\r\n", "Origin: null\r\n",
        "Origin: http://localhost:81\r\n", "Sec-Fetch-Site: same-origin\r\nOrigin: http://evil.example\r\n"}) {
    EXPECT_EQ(status_of("PUT", fields), 403) << fields;
    EXPECT_EQ(status_of("DELETE", fields), 403) << fields;
    EXPECT_EQ(status_of("GET", fields), 200) << fields;
    EXPECT_EQ(files.read("file"), "text");
  }
  EXPECT_EQ(status_of("PUT", "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n"), 204);
  EXPECT_EQ(status_of("PUT", "Origin: http://localhost:80\r\n"), 204) << "that is its port anyway";
  EXPECT_EQ(status_of("DELETE", "Sec-Fetch-Site: none\r\n"), 204);
  server.stop();
}

}  // namespace
}  // namespace slabbuf
