// SPDX-License-Identifier: MIT
// file_client as a child process in a directory of its own, and files to move.
#pragma once

#include "support/child_process.hpp"
#include "support/scripted_server.hpp"
#include "support/temporary_files.hpp"

#include "http/digest.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace slabbuf {

class FileClient : public ::testing::Test {
 protected:
  struct outcome {
    int status;
    std::string errors;
  };

  static std::vector<std::string> command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), FILE_CLIENT);
    return arguments;
  }
  static outcome run(std::vector<std::string> arguments) {
    support::child_process child(command(std::move(arguments)));
    const int status = child.wait();
    return {status, child.standard_error()};
  }
  outcome get(const std::string& url, std::vector<std::string> options = {}) {
    options.insert(options.end(), {"get", url, files.path("target")});
    return run(std::move(options));
  }
  outcome put(const std::string& url, std::vector<std::string> options = {}) {
    options.insert(options.end(), {"put", files.path("source"), url});
    return run(std::move(options));
  }

  void expect_got(const outcome& result, const std::string& content) {
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(files.read("target") == content, true);
    EXPECT_FALSE(left_over());
  }
  // Whether something beside the target is left.
  bool left_over() const {
    return std::filesystem::exists(files.path(".target.part")) ||
           std::filesystem::exists(files.path(".target.part.json"));
  }

  static std::string random_content(std::size_t size, unsigned seed = 1) {
    std::string content(size, '\0');
    std::uint64_t state = seed * 0x9E3779B97F4A7C15U + 1;
    for (char& each : content) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      each = static_cast<char>(state >> 56);
    }
    return content;
  }
  static std::string digest_of(const std::string& content) {
    examples::sha256_hash hash;
    hash.update(std::as_bytes(std::span(content)));
    return examples::digest_field(hash.finish());
  }

  // Answers a GET or HEAD as a server with ranges does; `up_to` of the bytes, and then it ends.
  static void serve(support::scripted_request& request, const std::string& content, const std::string& fields = {},
                    std::size_t up_to = SIZE_MAX) {
    const std::string range = request.field("Range");
    std::size_t first = 0;
    std::size_t last = content.size() - 1;
    std::string head = "HTTP/1.1 200 OK\r\n";
    if (!range.empty()) {
      first = std::stoul(range.substr(range.find('=') + 1));
      last = std::stoul(range.substr(range.find('-') + 1));
      head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + std::to_string(first) + "-" +
             std::to_string(last) + "/" + std::to_string(content.size()) + "\r\n";
    }
    const std::string part = content.substr(first, last - first + 1);
    request.send(head + "ETag: \"one\"\r\nAccept-Ranges: bytes\r\n" + fields +
                 "Content-Length: " + std::to_string(part.size()) + "\r\n\r\n");
    if (request.method() == "HEAD") return;
    request.send(std::string_view(part).substr(0, up_to));
    if (up_to < part.size()) request.close();
  }

  support::temporary_files files;
};

}  // namespace slabbuf
