// SPDX-License-Identifier: MIT
// What file_server answers to the requests of interoperation/requests.json: what RFC 9110 and RFC 9112 want.
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "examples/file_server_fixture.hpp"

namespace slabbuf {
namespace {

using nlohmann::json;
using support::file_server;
using support::FileServer;
using support::http_answer;
using support::http_client;

const json& request_table() {
  static const json table = json::parse(std::ifstream(REQUEST_TABLE));
  return table;
}

class FileServerRequests : public FileServer {
 protected:
  FileServerRequests() {
    ::tm modified{};
    ::strptime(request_table()["modified"].get<std::string>().c_str(), "%a, %d %b %Y %T GMT", &modified);
    const ::timespec then{::timegm(&modified), 0};
    const ::timespec times[]{then, then};
    for (const auto& [name, content] : request_table()["files"].items()) {
      std::filesystem::create_directories(std::filesystem::path(files.path(name)).parent_path());
      files.write(name, content.get<std::string>());
      ::utimensat(AT_FDCWD, files.path(name).c_str(), times, 0);
    }
  }

  static std::string bytes_of(const json& request, const file_server& server) {
    if (request.is_string()) return request.get<std::string>();
    std::string bytes;
    if (request.is_array()) {
      for (const json& piece : request) bytes += bytes_of(piece, server);
    } else if (request.contains("repeat")) {
      for (int left = request["repeat"][1].get<int>(); left > 0; --left) bytes += request["repeat"][0];
    } else {
      bytes = server.ask("HEAD " + request["tag of"].get<std::string>()).field("etag");
    }
    return bytes;
  }

  // On a connection of its own.
  static void check(const json& row, const file_server& server) {
    SCOPED_TRACE(row["what"]);
    const std::string request = bytes_of(row["request"], server);
    http_client client = server.connect();
    client.send(request);
    http_answer answer;
    do {
      answer = client.receive(request.compare(0, 5, "HEAD ") == 0);
    } while (answer.status == 100);
    EXPECT_EQ(answer.status, row["status"]);
    if (row.contains("fields")) {
      for (const auto& [name, value] : row["fields"].items()) EXPECT_EQ(answer.field(lower_case(name)), value) << name;
    }
    if (row.contains("body")) {
      EXPECT_EQ(answer.body, row["body"]);
    }
    // Whatever the row is about: a server that says it closes does.
    const bool closes = answer.field("connection") == "close";
    if (row.contains("then")) {
      EXPECT_EQ(closes ? "closes" : "stays", row["then"]);
    }
    if (closes) {
      EXPECT_TRUE(client.ends());
    } else {
      EXPECT_EQ(client.ask("GET /file").status, 200) << "the request after it";
    }
  }

  static std::string lower_case(std::string text) {
    for (char& each : text) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
    return text;
  }

  void check_all(const char* part, const std::vector<std::string>& options) const {
    file_server server(files.path(""), options);
    ASSERT_FALSE(request_table()[part].empty());
    for (const json& row : request_table()[part]) check(row, server);
    server.stop();
  }
};

TEST_F(FileServerRequests, ThatReadAreAnsweredAsTheRfcsSay) { check_all("reading", {}); }
TEST_F(FileServerRequests, ThatWriteAreAnsweredAsTheRfcsSay) { check_all("writing", {"--writable"}); }

}  // namespace
}  // namespace slabbuf
