// SPDX-License-Identifier: MIT
// file_client get, as its users meet it, against servers that do what servers do on bad days.
#include "examples/file_client_fixture.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <future>

namespace slabbuf {
namespace {

using support::child_process;
using support::scripted_request;
using support::scripted_server;

TEST_F(FileClient, RefusesWhatItCannotUseWithOneLineAndStatusTwo) {
  const std::vector<std::vector<std::string>> wrong{
      {},
      {"fetch", "http://h/"},
      {"get"},
      {"get", "ftp://h/f"},
      {"get", "http://"},
      {"get", "http://h:0/f"},
      {"get", "http://h:99999/f"},
      {"get", "http://h:8x/f"},
      {"get", "http://user:secret@h/f"},
      {"get", "http://h/a b"},
      {"get", "http://[::1/f"},
      {"get", "http://h/" + std::string(9000, 'x')},
      {"get", "http://h/f", "x", "surplus"},
      {"get", "http://h/f", "--connections", "0"},
      {"get", "http://h/f", "--connections", "65"},
      {"get", "http://h/f", "--timeout", "0"},
      {"put", "file"},
      {"put", "file", "h/f"},
  };
  for (const std::vector<std::string>& arguments : wrong) {
    const outcome result = run(arguments);
    const std::string shown = ::testing::PrintToString(arguments);
    EXPECT_EQ(result.status, 2) << shown;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << shown << result.errors;
  }
}

TEST_F(FileClient, GetsAFileWhoseLengthIsKnownOrInChunksOrUpToTheEndOfTheConnection) {
  const std::string content = random_content(300'000);
  scripted_server server([&](scripted_request& request) {
    if (request.target() == "/length") return request.answer("200 OK", {}, content);
    if (request.target() == "/chunks") {
      request.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n" + content.substr(0, 200'000) +
                   "\r\n");
      return request.send("186a0;x=y\r\n" + content.substr(200'000) + "\r\n0\r\nTrailer: of no interest\r\n\r\n");
    }
    request.send("HTTP/1.0 200 OK\r\n\r\n" + content);
    request.close();
  });
  for (const char* const target : {"/length", "/chunks", "/end"}) {
    SCOPED_TRACE(target);
    expect_got(get(server.url(target)), content);
  }
}

TEST_F(FileClient, AFileOfNoBytesIsOne) {
  scripted_server server(
      [](scripted_request& request) { request.answer("200 OK", "ETag: \"e\"\r\nAccept-Ranges: bytes\r\n"); });
  expect_got(get(server.url()), "");
  expect_got(get(server.url(), {"--connections", "4"}), "");
}

TEST_F(FileClient, VerifiesTheDigestThatTheServerTells) {
  const std::string content = random_content(200'000);
  std::string told = digest_of(content);
  scripted_server server([&](scripted_request& request) {
    EXPECT_EQ(request.field("Want-Repr-Digest"), "sha-256=10");
    request.answer("200 OK", "Repr-Digest: sha-512=:AAAA:, " + told + "\r\n", content);
  });
  expect_got(get(server.url()), content);

  files.write("target", "what was there before");
  told = digest_of("something else");
  const outcome result = get(server.url());
  EXPECT_EQ(result.status, 6) << result.errors;
  EXPECT_EQ(files.read("target"), "what was there before");
  EXPECT_FALSE(left_over());
}

TEST_F(FileClient, GoesOnWhereTheConnectionBroke) {
  const std::string content = random_content(1'000'000);
  std::atomic<int> count{0};
  scripted_server server([&](scripted_request& request) {
    serve(request, content, "Repr-Digest: " + digest_of(content) + "\r\n", count++ < 3 ? 200'000 : SIZE_MAX);
  });
  expect_got(get(server.url()), content);
  const std::vector<std::string> requests = server.requests();
  ASSERT_EQ(requests.size(), 4U);
  EXPECT_EQ(requests[0].find("Range:"), std::string::npos);
  for (std::size_t index = 1; index < 4; ++index) {
    EXPECT_NE(requests[index].find("Range: bytes=" + std::to_string(index * 200'000) + "-999999\r\n"),
              std::string::npos);
    EXPECT_NE(requests[index].find("If-Range: \"one\"\r\n"), std::string::npos);
  }
}

TEST_F(FileClient, BeginsAgainWhereNothingTellsOneFileFromTheNext) {
  const std::string content = random_content(500'000);
  std::atomic<int> count{0};
  scripted_server server([&](scripted_request& request) {
    EXPECT_EQ(request.field("Range"), "");
    request.send("HTTP/1.1 200 OK\r\nETag: W/\"weak\"\r\nContent-Length: 500000\r\n\r\n");
    if (count++ != 0) return request.send(content);
    request.send(std::string(300'000, 'x'));
    request.close();
  });
  expect_got(get(server.url()), content);
}

TEST_F(FileClient, TakesTheNewFileWholeWhenItHasChangedMeanwhile) {
  const std::string content = random_content(100'000, 2);
  std::atomic<int> count{0};
  scripted_server server([&](scripted_request& request) {
    if (count++ == 0) return serve(request, random_content(400'000), {}, 250'000);
    EXPECT_EQ(request.field("If-Range"), "\"one\"");
    request.answer("200 OK", "ETag: \"two\"\r\n", content);
  });
  expect_got(get(server.url()), content);
}

TEST_F(FileClient, AFileThatChangesAllTheTimeIsGivenUp) {
  std::atomic<int> count{0};
  scripted_server server([&](scripted_request& request) {
    request.send("HTTP/1.1 200 OK\r\nETag: \"" + std::to_string(count++) + "\"\r\nContent-Length: 100000\r\n\r\n");
    request.send(std::string(50'000, 'x'));
    request.close();
  });
  EXPECT_EQ(get(server.url()).status, 3);
  EXPECT_FALSE(std::filesystem::exists(files.path("target")));
}

TEST_F(FileClient, AnotherRunGoesOnWhereOneGaveUp) {
  const std::string content = random_content(1'000'000);
  std::atomic<bool> breaks{true};
  scripted_server server([&](scripted_request& request) {
    if (!breaks) return serve(request, content);
    if (request.field("Range").empty()) return serve(request, content, {}, 600'000);
    request.close();
  });
  const outcome broken = get(server.url(), {"--retries", "1"});
  EXPECT_EQ(broken.status, 3) << broken.errors;
  EXPECT_NE(broken.errors.find("are kept"), std::string::npos) << broken.errors;
  EXPECT_TRUE(left_over());
  EXPECT_FALSE(std::filesystem::exists(files.path("target")));
  breaks = false;
  expect_got(get(server.url()), content);
  EXPECT_NE(server.requests().back().find("Range: bytes=600000-999999"), std::string::npos);
}

TEST_F(FileClient, ANoteThatFitsNothingIsNotGoneBy) {
  const std::string content = random_content(100'000);
  scripted_server server([&](scripted_request& request) {
    EXPECT_EQ(request.field("Range"), "");
    serve(request, content);
  });
  const std::string start = R"({"url":")" + server.url() + R"(","etag":"\"one\"","size":100000,"missing":)";
  for (const std::string& note :
       {std::string("no note"), start + "[[50000,200000]]}", start + "[[9,5]]}", start + "[[5,90],[80,100]]}",
        start + "[[50000,100000]]}", std::string(R"({"url":"http://other/","etag":"x","size":1,"missing":[]})")}) {
    SCOPED_TRACE(note);
    files.write(".target.part", "fewer bytes than that");
    files.write(".target.part.json", note);
    expect_got(get(server.url()), content);
  }
}

TEST_F(FileClient, InterruptedItKeepsWhatItHas) {
  const std::string content = random_content(400'000);
  std::promise<void> half;
  std::promise<void> over;
  std::atomic<bool> stalls{true};
  scripted_server server([&](scripted_request& request) {
    if (!stalls.exchange(false)) return serve(request, content);
    request.send("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: 400000\r\n\r\n" + content.substr(0, 300'000));
    half.set_value();
    over.get_future().wait();
    request.close();
  });
  child_process child(command({"get", server.url(), files.path("target")}));
  half.get_future().wait();
  while (!std::filesystem::exists(files.path(".target.part.json"))) std::this_thread::yield();
  child.signal(SIGINT);
  EXPECT_EQ(child.wait(), 130);
  EXPECT_NE(child.standard_error().find("interrupted"), std::string::npos);
  over.set_value();
  expect_got(get(server.url()), content);
  EXPECT_NE(server.requests().back().find("Range: bytes=300000-399999"), std::string::npos);
}

TEST_F(FileClient, SeveralConnectionsGetAPartEach) {
  const std::string content = random_content(5'000'000);
  scripted_server server(
      [&](scripted_request& request) { serve(request, content, "Repr-Digest: " + digest_of(content) + "\r\n"); });
  expect_got(get(server.url(), {"--connections", "4"}), content);
  std::vector<std::string> requests = server.requests();
  ASSERT_EQ(requests.size(), 5U);
  EXPECT_EQ(requests.front().substr(0, 5), "HEAD ");
  for (const char* const range : {"0-1249999", "1250000-2499999", "2500000-3749999", "3750000-4999999"}) {
    EXPECT_EQ(std::count_if(requests.begin(), requests.end(),
                            [&](const std::string& each) {
                              return each.find(std::string("Range: bytes=") + range + "\r\n") != std::string::npos;
                            }),
              1)
        << range;
  }
}

TEST_F(FileClient, SeveralConnectionsGoOnAfterBreakingAndFallBackToOneWithoutParts) {
  const std::string content = random_content(5'000'000);
  std::atomic<int> count{0};
  scripted_server breaking([&](scripted_request& request) {
    serve(request, content, {}, request.method() == "GET" && count++ % 2 == 0 ? 700'000 : SIZE_MAX);
  });
  expect_got(get(breaking.url(), {"--connections", "3"}), content);

  scripted_server plain([&](scripted_request& request) {
    if (request.method() == "HEAD") return request.answer("405 Method Not Allowed");
    request.answer("200 OK", {}, content);
  });
  expect_got(get(plain.url(), {"--connections", "3"}), content);

  scripted_server lying([&](scripted_request& request) {
    if (request.method() == "HEAD") return serve(request, content);
    request.answer("200 OK", {}, content);
  });
  expect_got(get(lying.url(), {"--connections", "3"}), content);
}

TEST_F(FileClient, SaysWhatIsWrongWithAnAnswerAndLeavesTheTargetAlone) {
  const std::string content(1000, 'x');
  struct wrong {
    std::string answer;
    int status;
    std::string said;
  };
  const std::vector<wrong> answers{
      {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 4, "404 Not Found"},
      {"HTTP/1.1 304 Not Modified\r\n\r\n", 4, "304"},
      {"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 4, "without a Location"},
      {"HTTP/1.1 302 Found\r\nLocation: ftp://elsewhere/\r\nContent-Length: 0\r\n\r\n", 4, "neither http"},
      {"HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\n\r\n", 4, "more than 5 redirects"},
      {"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\n0123456789", 4,
       "the part"},
      {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 4, "gzip"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 4, "not a response"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 4, "not a response"},
      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 4, "another protocol"},
      {"SSH-2.0-OpenSSH_9.2\r\n\r\n", 4, "not a response"},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'y') + "\r\n\r\n", 4, "larger than 65536"},
      {"HTTP/1.1 200 OK\r\n" +
           [] {
             std::string fields;
             for (int index = 0; index < 200; ++index) fields += "F: v\r\n";
             return fields;
           }() +
           "\r\n",
       4, "more than 128"},
      {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 4, "503"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nfew", 3, "closed"},
      {"", 3, "closed"},
  };
  files.write("target", "old");
  for (const wrong& each : answers) {
    scripted_server server([&](scripted_request& request) {
      request.send(each.answer);
      request.close();
    });
    const outcome result = get(server.url(), {"--retries", "1"});
    EXPECT_EQ(result.status, each.status) << each.answer.substr(0, 80) << result.errors;
    EXPECT_NE(result.errors.find(each.said), std::string::npos) << each.answer.substr(0, 80) << result.errors;
    EXPECT_EQ(files.read("target"), "old");
    EXPECT_FALSE(left_over());
  }
}

TEST_F(FileClient, InterimAnswersAreSkippedButNotWithoutEnd) {
  scripted_server server([](scripted_request& request) {
    request.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
    request.answer("200 OK", {}, "here it is");
  });
  expect_got(get(server.url()), "here it is");

  scripted_server endless([](scripted_request& request) {
    for (int count = 0; count < 5000; ++count) request.send("HTTP/1.1 102 \r\n\r\n");
    request.close();
  });
  const outcome result = get(endless.url());
  EXPECT_EQ(result.status, 4);
  EXPECT_NE(result.errors.find("larger than"), std::string::npos) << result.errors;
}

TEST_F(FileClient, FollowsRedirectsAndTriesAgainAfterAServersTrouble) {
  std::atomic<int> count{0};
  scripted_server server([&](scripted_request& request) {
    if (request.target() == "/file") return request.answer("301 Moved Permanently", "Location: below/one?x=y\r\n");
    if (request.target() == "/below/one?x=y") return request.answer("307 Temporary Redirect", "Location: /last\r\n");
    EXPECT_EQ(request.target(), "/last");
    if (count++ == 0) return request.answer("503 Service Unavailable");
    request.answer("200 OK", {}, "found");
  });
  expect_got(get(server.url()), "found");
  EXPECT_EQ(get(server.url(), {"--redirects", "1"}).status, 4);
}

TEST_F(FileClient, GivesUpAServerThatIsSilent) {
  std::promise<void> over;
  scripted_server server([&, ended = over.get_future().share()](scripted_request&) { ended.wait(); });
  const outcome result = get(server.url(), {"--timeout", "1", "--retries", "0"});
  EXPECT_EQ(result.status, 3);
  EXPECT_NE(result.errors.find("nothing moved for 1 s"), std::string::npos) << result.errors;
  over.set_value();
}

TEST_F(FileClient, SaysWhatCannotBeWritten) {
  scripted_server server([](scripted_request& request) { request.answer("200 OK", {}, std::string(200'000, 'x')); });
  const outcome nowhere = run({"get", server.url(), files.path("no/such/directory/file")});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_NE(nowhere.errors.find("cannot write"), std::string::npos) << nowhere.errors;
  const outcome nameless = run({"get", server.url("/")});
  EXPECT_EQ(nameless.status, 2);
  // A limit of file sizes stands for a disk that is full.
  child_process full(command({"get", server.url(), files.path("target")}),
                     child_process::limited{RLIMIT_FSIZE, 100'000});
  EXPECT_EQ(full.wait(), 1);
  EXPECT_NE(full.standard_error().find("cannot write: File too large"), std::string::npos);
  EXPECT_FALSE(left_over());
}

TEST_F(FileClient, SaysThatItCannotSayWhatItGot) {
  scripted_server server([](scripted_request& request) { request.answer("200 OK", {}, "content"); });
  child_process child(support::without_output(command({"get", server.url(), files.path("target")})));
  EXPECT_EQ(child.wait(), 1);
  EXPECT_EQ(child.standard_error(), "file_client: standard output cannot be written: No space left on device\n");
  EXPECT_EQ(files.read("target"), "content");
  EXPECT_FALSE(left_over());
}

TEST_F(FileClient, OnlyOneProcessWritesATarget) {
  std::promise<void> over;
  std::promise<void> begun;
  scripted_server server([&](scripted_request& request) {
    begun.set_value();
    over.get_future().wait();
    request.answer("200 OK", {}, "x");
  });
  child_process first(command({"get", server.url(), files.path("target")}));
  begun.get_future().wait();
  const outcome second = get(server.url());
  EXPECT_EQ(second.status, 1);
  EXPECT_NE(second.errors.find("another process"), std::string::npos) << second.errors;
  over.set_value();
  EXPECT_EQ(first.wait(), 0);
}

TEST_F(FileClient, ADirectoryIsWrittenInto) {
  scripted_server server([](scripted_request& request) { request.answer("200 OK", {}, "x"); });
  EXPECT_EQ(run({"get", server.url("/a/the%20name?query"), files.path("")}).status, 0);
  EXPECT_EQ(files.read("the name"), "x");
}

TEST_F(FileClient, WritesThroughALinkAndAsWhoMayReadIt) {
  const std::string content = random_content(1000);
  scripted_server server([&](scripted_request& request) { request.answer("200 OK", "", content); });
  files.write("real", "old");
  std::filesystem::permissions(files.path("real"),
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::create_symlink("real", files.path("target"));
  expect_got(get(server.url()), content);
  EXPECT_TRUE(std::filesystem::is_symlink(files.path("target")));
  EXPECT_EQ(files.read("real") == content, true);
  EXPECT_EQ(std::filesystem::status(files.path("real")).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(FileClient, MakesTheFileThatALinkNames) {
  scripted_server server([](scripted_request& request) { request.answer("200 OK", "", "text"); });
  std::filesystem::create_symlink("between", files.path("target"));
  std::filesystem::create_symlink(files.path("real"), files.path("between"));
  expect_got(get(server.url()), "text");
  EXPECT_TRUE(std::filesystem::is_symlink(files.path("target")));
  EXPECT_TRUE(std::filesystem::is_symlink(files.path("between")));
  EXPECT_EQ(files.read("real"), "text");
  std::filesystem::create_symlink("round", files.path("round"));
  const outcome result = run({"get", server.url(), files.path("round")});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.errors.find("symbolic links"), std::string::npos) << result.errors;
}

// What is on its way is read and written by its owner alone, and by that one whatever the target says.
TEST_F(FileClient, GoesOnWithWhatReplacesAFileThatMayNotBeWritten) {
  const std::string content = random_content(200'000);
  std::atomic<bool> broken{true};
  scripted_server server([&](scripted_request& request) {
    if (!broken) return request.answer("200 OK", "", content);
    request.send("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 200000\r\n\r\n" + content.substr(0, 100'000));
    request.close();
  });
  using std::filesystem::perms;
  files.write("target", "old");
  std::filesystem::permissions(files.path("target"), perms::owner_read | perms::group_read | perms::others_read);
  EXPECT_EQ(get(server.url(), {"--retries", "0"}).status, 3);
  EXPECT_EQ(std::filesystem::status(files.path(".target.part")).permissions(), perms::owner_read | perms::owner_write);
  broken = false;
  expect_got(get(server.url()), content);
  EXPECT_EQ(std::filesystem::status(files.path("target")).permissions(),
            perms::owner_read | perms::group_read | perms::others_read);
}

TEST_F(FileClient, ReplacesNothingThatIsNoFile) {
  scripted_server server([&](scripted_request& request) { request.answer("200 OK", "", "text"); });
  ASSERT_EQ(::mkfifo(files.path("target").c_str(), 0600), 0);
  const outcome result = get(server.url());
  EXPECT_NE(result.status, 0);
  EXPECT_NE(result.errors.find("is no file"), std::string::npos) << result.errors;
  EXPECT_TRUE(std::filesystem::is_fifo(files.path("target")));
  EXPECT_FALSE(left_over());
}

}  // namespace
}  // namespace slabbuf
