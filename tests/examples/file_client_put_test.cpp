// SPDX-License-Identifier: MIT
// file_client put, as its users meet it, against servers that know parts of uploads and others that do not.
#include "examples/file_client_fixture.hpp"

#include <atomic>

namespace slabbuf {
namespace {

using support::scripted_request;
using support::scripted_server;

std::size_t content_length(const scripted_request& request) { return std::stoul(request.field("Content-Length")); }

TEST_F(FileClient, PutsAFileWithItsDigest) {
  const std::string content = random_content(700'000);
  files.write("source", content);
  scripted_server server([&](scripted_request& request) {
    EXPECT_EQ(request.method(), "PUT");
    EXPECT_EQ(request.field("Repr-Digest"), digest_of(content));
    EXPECT_EQ(request.field("Content-Range"), "bytes 0-699999/700000");
    EXPECT_EQ(request.field("Expect"), "100-continue");
    request.send("HTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(request.body(content_length(request)) == content, true);
    request.answer("201 Created");
  });
  const outcome result = put(server.url());
  EXPECT_EQ(result.status, 0) << result.errors;
}

TEST_F(FileClient, PutsAFileOfNoBytesAndOneIntoADirectory) {
  files.write("source", "");
  scripted_server server([&](scripted_request& request) {
    EXPECT_EQ(request.target(), "/directory/source");
    EXPECT_EQ(request.field("Content-Length"), "0");
    EXPECT_EQ(request.field("Expect"), "");
    request.answer("204 No Content");
  });
  const outcome result = put(server.url("/directory/"));
  EXPECT_EQ(result.status, 0) << result.errors;
}

TEST_F(FileClient, AServerThatKnowsNoContinueGetsTheBodyAllTheSame) {
  const std::string content = random_content(50'000);
  files.write("source", content);
  scripted_server server([&](scripted_request& request) {
    EXPECT_EQ(request.body(content_length(request)) == content, true);
    request.answer("201 Created");
  });
  EXPECT_EQ(put(server.url()).status, 0);
}

// The first line of a plain text, without what is said already, and without what commands a terminal.
TEST_F(FileClient, ARefusalSaysWhy) {
  files.write("source", random_content(1000));
  struct refusal {
    const char* type;
    std::string body;
    const char* shown;
  };
  for (const refusal& each : {
           refusal{"text/plain; charset=utf-8", "409 Conflict: no such directory\nmore\n",
                   "says 409 Conflict: no such directory\n"},
           refusal{"text/plain", "ask \x1b[2Jagain", "says 409 Conflict: ask ?[2Jagain\n"},
           refusal{"text/plain", "409 Conflict\n", "says 409 Conflict\n"},
           refusal{"text/plain", std::string(5000, 'y'), "says 409 Conflict: yyyyy"},
           refusal{"text/html", "<p>no</p>", "says 409 Conflict\n"},
       }) {
    SCOPED_TRACE(each.body.substr(0, 40));
    scripted_server server([&](scripted_request& request) {
      request.body(content_length(request));
      request.answer("409 Conflict", std::string("Content-Type: ") + each.type + "\r\n", each.body);
    });
    const outcome result = put(server.url());
    EXPECT_EQ(result.status, 4);
    EXPECT_NE(result.errors.find(each.shown), std::string::npos) << result.errors;
    EXPECT_LT(result.errors.size(), 600u);
  }
}

TEST_F(FileClient, ARefusalBeforeTheBodyEndsIt) {
  files.write("source", random_content(50'000'000));
  for (const char* const refusal : {"403 Forbidden", "405 Method Not Allowed", "409 Conflict",
                                    "412 Precondition Failed", "413 Content Too Large", "507 Insufficient Storage"}) {
    SCOPED_TRACE(refusal);
    scripted_server before([&](scripted_request& request) { request.answer(refusal); });
    scripted_server during([&](scripted_request& request) {
      request.send("HTTP/1.1 100 Continue\r\n\r\n");
      request.body(100'000);
      request.answer(refusal);
      request.close();
    });
    for (scripted_server* const server : {&before, &during}) {
      const outcome result = put(server->url());
      // A connection that is reset may take the answer along; then it is tried again, and refused.
      EXPECT_EQ(result.status, 4) << result.errors;
      EXPECT_NE(result.errors.find(refusal), std::string::npos) << result.errors;
    }
  }
}

TEST_F(FileClient, AnUploadGoesOnWhereTheServerSaysItIs) {
  const std::string content = random_content(1'000'000);
  files.write("source", content);
  std::string received;
  std::atomic<int> breaks{2};
  scripted_server server([&](scripted_request& request) {
    const std::string range = request.field("Content-Range");
    if (range == "bytes */1000000") {
      EXPECT_EQ(content_length(request), 0U);
      return request.answer("202 Accepted", "Upload-Offset: " + std::to_string(received.size()) + "\r\n");
    }
    EXPECT_EQ(range, "bytes " + std::to_string(received.size()) + "-999999/1000000");
    EXPECT_EQ(request.field("Repr-Digest"), digest_of(content));
    request.send("HTTP/1.1 100 Continue\r\n\r\n");
    const std::size_t length = content_length(request);
    const bool whole = breaks-- <= 0;
    received += request.body(whole ? length : length / 3);
    whole ? request.answer("201 Created") : request.close();
  });
  const outcome result = put(server.url());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(received == content, true);
  EXPECT_EQ(server.requests().size(), 5U);  // three with bytes, two that ask
}

TEST_F(FileClient, AConflictOfOffsetsIsResolvedByTheServersAndNotForEver) {
  const std::string content = random_content(100'000);
  files.write("source", content);
  scripted_server server([&](scripted_request& request) {
    if (request.field("Content-Range") != "bytes 40000-99999/100000") {
      return request.answer("409 Conflict", "Upload-Offset: 40000\r\n");
    }
    request.send("HTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(request.body(60'000) == content.substr(40'000), true);
    request.answer("204 No Content");
  });
  EXPECT_EQ(put(server.url()).status, 0);

  scripted_server stubborn([&](scripted_request& request) { request.answer("409 Conflict", "Upload-Offset: 7\r\n"); });
  EXPECT_EQ(put(stubborn.url()).status, 4);
  EXPECT_LT(stubborn.requests().size(), 20U);

  for (const char* const offset : {"100001", "x", "-1", "99999999999999999999"}) {
    scripted_server wrong([&](scripted_request& request) {
      request.answer("409 Conflict", std::string("Upload-Offset: ") + offset + "\r\n");
    });
    EXPECT_EQ(put(wrong.url()).status, 4) << offset;
  }
}

TEST_F(FileClient, AServerWithoutPartsGetsAllOfItAgain) {
  const std::string content = random_content(300'000);
  files.write("source", content);
  std::atomic<int> breaks{1};
  scripted_server server([&](scripted_request& request) {
    if (!request.field("Content-Range").empty()) return request.answer("501 Not Implemented");
    request.send("HTTP/1.1 100 Continue\r\n\r\n");
    if (breaks-- > 0) {
      request.body(100'000);
      return request.close();
    }
    EXPECT_EQ(request.body(content_length(request)) == content, true);
    request.answer("200 OK");
  });
  const outcome result = put(server.url());
  EXPECT_EQ(result.status, 0) << result.errors;
}

TEST_F(FileClient, AServerThatTakesTheQuestionForAFileGetsTheFileAllTheSame) {
  const std::string content = random_content(300'000);
  files.write("source", content);
  std::atomic<int> breaks{1};
  std::string stored;
  scripted_server server([&](scripted_request& request) {
    if (breaks-- > 0) {
      request.body(100'000);
      return request.close();
    }
    stored = request.body(content_length(request));
    request.answer("201 Created");
  });
  const outcome result = put(server.url());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(stored == content, true);
}

TEST_F(FileClient, ADigestThatTheServerFindsAnotherIsARefusal) {
  files.write("source", "content");
  scripted_server server([&](scripted_request& request) {
    request.body(content_length(request));
    request.answer("400 Bad Request");
  });
  EXPECT_EQ(put(server.url()).status, 4);
}

TEST_F(FileClient, AnUploadThatBreaksAgainAndAgainIsGivenUp) {
  files.write("source", "content");
  scripted_server server([](scripted_request& request) { request.close(); });
  const outcome result = put(server.url(), {"--retries", "2"});
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(server.requests().size(), 3U);
}

TEST_F(FileClient, AnUploadIsRedirectedOnlyWhereItStaysOne) {
  files.write("source", "content");
  scripted_server server([](scripted_request& request) {
    if (request.target() == "/file") return request.answer("308 Permanent Redirect", "Location: /there\r\n");
    if (request.target() == "/302") return request.answer("302 Found", "Location: /there\r\n");
    EXPECT_EQ(request.target(), "/there");
    request.send("HTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(request.body(7), "content");
    request.answer("201 Created");
  });
  EXPECT_EQ(put(server.url()).status, 0);
  EXPECT_EQ(put(server.url("/302")).status, 4);
}

TEST_F(FileClient, OnlyFilesArePut) {
  scripted_server server([](scripted_request& request) { request.answer("201 Created"); });
  EXPECT_EQ(put(server.url()).status, 1);  // there is none
  std::filesystem::create_directory(files.path("source"));
  const outcome result = put(server.url());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.errors.find("is no file"), std::string::npos) << result.errors;
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(FileClient, AServerThatCannotBeAskedGetsTheBodyAtOnce) {
  const std::string content = random_content(50'000);
  files.write("source", content);
  std::atomic<int> requests{0};
  scripted_server server([&](scripted_request& request) {
    if (++requests == 1) {
      EXPECT_EQ(request.field("Expect"), "100-continue");
      return request.answer("417 Expectation Failed", "Connection: close\r\n");
    }
    EXPECT_EQ(request.field("Expect"), "");
    EXPECT_EQ(request.body(content_length(request)) == content, true);
    request.answer("201 Created");
  });
  const outcome result = put(server.url());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(requests.load(), 2);
}

// By then a part of the body has gone, which such a server has dropped.
TEST_F(FileClient, AServerThatSaysSoLateGetsTheWholeBody) {
  const std::string content = random_content(50'000);
  files.write("source", content);
  std::atomic<int> requests{0};
  scripted_server server([&](scripted_request& request) {
    const bool first = ++requests == 1;
    EXPECT_EQ(content_length(request), content.size());
    EXPECT_EQ(request.body(first ? 1000 : content.size()) == content.substr(0, first ? 1000 : content.size()), true);
    request.answer(first ? "417 Expectation Failed" : "201 Created", "Connection: close\r\n");
  });
  const outcome result = put(server.url());
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(requests.load(), 2);
}

}  // namespace
}  // namespace slabbuf
