// SPDX-License-Identifier: MIT
// The echo server as its users meet it: a program, its options, its TCP connections.
#include "examples/echo_server_fixture.hpp"
#include "support/sanitizers.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace slabbuf {
namespace {

using asio::ip::tcp;
using support::child_process;
using support::echo_server;
using support::echo_server_command;
using support::EchoServer;
using support::expect_echo;
using support::long_text;
using support::read_to_end;

void raise_descriptor_limit() {
  ::rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(EchoServerUsage, RefusesWhatItCannotUseWithOneLineAndStatusTwo) {
  const std::vector<std::vector<std::string>> wrong{
      {"--bogus"},
      {"surplus"},
      {"--threads", "0"},
      {"--threads", "257"},
      {"--threads", "two"},
      {"--threads"},
      {"--budget", "100"},
      {"--budget", "16383"},
      {"--budget", "many"},
      {"--budget", "99999999T"},
      {"--connections-max", "0"},
      {"--connections-max", "-5"},
      {"--idle-timeout", "-1"},
      {"--idle-timeout", "86401"},
      {"--tcp", "127.0.0.1"},
      {"--tcp", "127.0.0.1:"},
      {"--tcp", "127.0.0.1:65536"},
      {"--tcp", "127.0.0.1:80x"},
      {"--tcp", "1.2.3:80"},
      {"--tcp", "::1:80"},
      {"--tcp", "[127.0.0.1]:80"},
      {"--tcp", ""},
      {"--udp", "127.0.0.1"},
      {"--udp", "127.0.0.1:65536"},
      {"--udp"},
  };
  for (const std::vector<std::string>& options : wrong) support::expect_refusal(options, 2);
}

TEST(EchoServerUsage, ExplainsItself) {
  child_process help(echo_server_command({"--help"}));
  EXPECT_EQ(help.wait(), 0);
  child_process version(echo_server_command({"--version"}));
  EXPECT_EQ(version.read_line().find("echo_server "), 0U);
  EXPECT_EQ(version.wait(), 0);
}

TEST(EchoServerUsage, SaysThatItCannotSayAnything) {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--help"}, {"--version"}, {"--tcp", "127.0.0.1:0"}}) {
    child_process child(support::without_output(echo_server_command(options)));
    EXPECT_EQ(child.wait(), 1);
    const std::string message = child.standard_error();
    EXPECT_EQ(message.find("echo_server: standard output cannot be written"), 0U) << message;
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  }
}

TEST_F(EchoServer, SaysWhenItsAddressIsTaken) {
  echo_server first;
  const std::string address = "127.0.0.1:" + std::to_string(first.endpoint().port());
  for (const std::string option : {"--tcp", "--admin"}) {
    support::expect_refusal({"--udp", "127.0.0.1:0", option, address}, 1,
                            "cannot listen on " + option + " " + address + ": Address already in use");
  }
  first.stop();
}

TEST_F(EchoServer, SaysWhenItsAddressIsNotOfThisMachine) {
  support::expect_refusal({"--tcp", "192.0.2.1:7000"}, 1, "192.0.2.1:7000");  // TEST-NET-1: nobody's
}

#if !defined(SLABBUF_SANITIZED)
TEST_F(EchoServer, SaysWhenTheSystemHasNoThreadsForIt) {
  // Each thread needs a stack of its own: 200 of them do not fit.
  child_process child(echo_server_command({"--tcp", "127.0.0.1:0", "--threads", "200"}),
                      child_process::limited{RLIMIT_AS, std::uint64_t{400} << 20});
  EXPECT_EQ(child.wait(), 1);
  const std::string message = child.standard_error();
  EXPECT_EQ(message.find("echo_server: "), 0U) << message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  EXPECT_EQ(child.read_line(), "") << "it never listened";
}
#endif

TEST_F(EchoServer, ListensOnIPv6) {
  child_process child(echo_server_command({"--tcp", "[::1]:0"}));
  const std::string line = child.read_line();
  if (line.empty()) GTEST_SKIP() << "no IPv6 here: " << (child.wait(), child.standard_error());
  EXPECT_EQ(line.find("listening tcp [::1]:"), 0U) << line;
  child.signal(SIGINT);
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(EchoServer, EchoesAndDrainsOnEitherSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    echo_server server({"--threads", "2"});
    tcp::socket idle = connect(server);
    tcp::socket busy = connect(server);
    expect_echo(idle, "hello");
    expect_echo(busy, long_text(1 << 20));
    server.stop(signal);
    EXPECT_EQ(read_to_end(idle), "");
  }
}

TEST_F(EchoServer, AnswersWhatItReceivedBeforeItDrains) {
  echo_server server({"--threads", "1"});
  tcp::socket client = connect(server);
  expect_echo(client, "warm");
  // Sent, not read yet: the server has more on its hands than the sockets take.
  const std::string text = long_text(std::size_t{8} << 20);
  std::jthread sender([&] {
    asio::write(client, asio::buffer(text));
    server.child().signal(SIGTERM);
  });
  std::string answer(text.size(), '\0');
  asio::error_code ec;
  asio::read(client, asio::buffer(answer), ec);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_TRUE(answer == text);
  sender.join();
  EXPECT_EQ(server.child().wait(), 0);
}

TEST_F(EchoServer, ASecondSignalCutsConnectionsThatDoNotFinish) {
  echo_server server({"--threads", "1"});
  tcp::socket client = connect(server);
  // Nobody reads the answer, so the server cannot finish writing it.
  std::string text = long_text(std::size_t{1} << 20);
  client.non_blocking(true);
  asio::error_code ec;
  int refusals = 0;
  while (refusals < 3) {
    client.write_some(asio::buffer(text), ec);
    if (!ec) {
      refusals = 0;
      continue;
    }
    ++refusals;
    tcp::socket probe = connect(server);  // a round trip: the server has had its turn
    expect_echo(probe, "x");
  }
  server.child().signal(SIGTERM);
  // Draining closes the listener: from then on the second signal is a second one.
  for (;;) {
    tcp::socket late(context);
    late.connect(server.endpoint(), ec);
    if (ec) break;
  }
  server.child().signal(SIGTERM);
  EXPECT_EQ(server.child().wait(), 0);
  EXPECT_NE(server.child().standard_error().find("did not finish"), std::string::npos);
}

TEST_F(EchoServer, EndsHoweverManyConnectionsItCuts) {
  // As many as make closing them take longer than a tick of the server's timers.
  constexpr int connections = 1500;
  raise_descriptor_limit();
  for (int round = 0; round < 3; ++round) {
    echo_server server({"--threads", "1"});
    std::vector<tcp::socket> idle;
    idle.reserve(connections);
    for (int count = 0; count < connections; ++count) idle.push_back(connect(server));
    expect_echo(idle.back(), "x");
    server.child().signal(SIGTERM);
    server.child().signal(SIGTERM);
    EXPECT_EQ(server.child().wait(), 0);
  }
}

TEST_F(EchoServer, CutsAfterAWhileWhoeverTakesNothing) {
  echo_server server({"--threads", "1"});
  tcp::socket client = connect(server);
  client.non_blocking(true);
  const std::string text = long_text(std::size_t{16} << 20);
  asio::error_code ec;
  client.write_some(asio::buffer(text), ec);
  tcp::socket probe = connect(server);  // a round trip: the server has had its turn
  expect_echo(probe, "x");
  probe.close();
  server.child().signal(SIGTERM);
  EXPECT_EQ(server.child().wait(), 0);
}

TEST_F(EchoServer, KeepsAPeerThatIsSlowToTakeItsBytes) {
  // Slower than the timeout for the whole, but never silent for as long.
  echo_server server({"--threads", "1", "--idle-timeout", "1"});
  tcp::socket client(context);
  client.open(tcp::v4());
  client.set_option(asio::socket_base::receive_buffer_size(64 << 10));
  client.connect(server.endpoint());
  const std::string text = long_text(std::size_t{8} << 20);
  std::jthread sender([&] {
    asio::error_code ec;
    asio::write(client, asio::buffer(text), ec);
    client.shutdown(asio::socket_base::shutdown_send, ec);
  });
  std::string answer(text.size(), '\0');
  asio::steady_timer pace(context);
  asio::error_code ec;
  std::size_t got = 0;
  for (int step = 0; step < 8 && !ec; ++step) {
    pace.expires_after(std::chrono::milliseconds(300));
    pace.wait();
    got += asio::read(client, asio::buffer(answer.data() + got, 256 << 10), ec);
  }
  got += asio::read(client, asio::buffer(answer.data() + got, answer.size() - got), ec);
  EXPECT_FALSE(ec) << ec.message();
  EXPECT_TRUE(answer == text) << got << " of " << text.size();
  sender.join();
  client.close();
  server.stop();
}

TEST_F(EchoServer, EchoesEverythingToAPeerThatHasHalfClosed) {
  echo_server server;
  tcp::socket client = connect(server);
  const std::string text = long_text(std::size_t{8} << 20);
  std::jthread sender([&] {
    asio::write(client, asio::buffer(text));
    client.shutdown(asio::socket_base::shutdown_send);
  });
  const std::string answer = read_to_end(client);
  EXPECT_TRUE(answer == text) << answer.size() << " of " << text.size();
  sender.join();
  server.stop();
}

TEST_F(EchoServer, RefusesConnectionsAboveItsLimitAndServesOthersWhenThereIsRoom) {
  echo_server server({"--connections-max", "2", "--threads", "1"});
  tcp::socket first = connect(server);
  expect_echo(first, "1");
  {
    tcp::socket second = connect(server);
    expect_echo(second, "2");
    tcp::socket third = connect(server);
    EXPECT_EQ(read_to_end(third), "");
    expect_echo(first, "still here");
  }
  // The server learns of the close at its own time.
  for (bool served = false; !served;) {
    tcp::socket next = connect(server);
    asio::error_code ec;
    asio::write(next, asio::buffer("x", 1), ec);
    char answer = 0;
    served = asio::read(next, asio::buffer(&answer, 1), ec) == 1;
  }
  server.stop();
  EXPECT_NE(server.child().standard_error().find("--connections-max"), std::string::npos);
}

TEST_F(EchoServer, PausesAcceptingWithoutDescriptorsAndGoesOnWhenThereAreSome) {
#if defined(SLABBUF_ADDRESS_SANITIZER)
  GTEST_SKIP() << "UndefinedBehaviorSanitizer opens a pipe to look at a vptr, and takes the failure for a finding";
#endif
  constexpr std::uint64_t descriptors_max = 40;
  echo_server server({"--threads", "1"}, child_process::limited{RLIMIT_NOFILE, descriptors_max});
  // More connections than it can hold: the rest waits in the system's queue.
  std::vector<tcp::socket> clients;
  for (std::uint64_t count = 0; count < 2 * descriptors_max; ++count) clients.push_back(connect(server));
  expect_echo(clients.front(), "first");
  // Everyone is served in the end, as those before them leave.
  for (tcp::socket& client : clients) {
    expect_echo(client, "hello");
    client.close();
  }
  // Over io_uring an accept takes its descriptor before anybody comes: the last pause may be after the last client.
  tcp::socket another = connect(server);
  expect_echo(another, "hello");
  another.close();
  server.stop();
  const std::string log = server.child().standard_error();
  EXPECT_NE(log.find("accepting pauses"), std::string::npos) << log;
  EXPECT_NE(log.find("accepting goes on"), std::string::npos) << log;
}

TEST_F(EchoServer, ClosesConnectionsThatAreIdle) {
  echo_server server({"--idle-timeout", "1"});
  tcp::socket client = connect(server);
  expect_echo(client, "x");
  EXPECT_EQ(read_to_end(client), "");
  server.stop();
}

}  // namespace
}  // namespace slabbuf
