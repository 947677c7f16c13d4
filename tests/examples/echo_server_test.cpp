// SPDX-License-Identifier: MIT
// The echo server as its users meet it: a program, its options, its connections.
#include "support/child_process.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <asio/buffer.hpp>
#include <asio/connect.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using asio::ip::tcp;
using asio::ip::udp;
using support::child_process;

std::vector<std::string> command(std::initializer_list<std::string> options) {
  std::vector<std::string> all{ECHO_SERVER};
  all.insert(all.end(), options);
  return all;
}

// A server on a free port.
class echo_server {
 public:
  explicit echo_server(std::initializer_list<std::string> options = {},
                       std::optional<child_process::limited> resource = std::nullopt)
      : child_(
            [&] {
              std::vector<std::string> all = command({"--tcp", "127.0.0.1:0"});
              all.insert(all.end(), options);
              return all;
            }(),
            resource) {
    const std::string line = child_.read_line();
    const std::string expected = "listening tcp 127.0.0.1:";
    if (line.compare(0, expected.size(), expected) != 0) throw std::runtime_error("unexpected line: " + line);
    port_ = static_cast<std::uint16_t>(std::stoi(line.substr(expected.size())));
  }

  tcp::endpoint endpoint() const { return {asio::ip::address_v4::loopback(), port_}; }
  child_process& child() { return child_; }

  // Asks it to end; it must end well.
  void stop(int signal = SIGTERM) {
    child_.signal(signal);
    EXPECT_EQ(child_.wait(), 0) << child_.standard_error();
    EXPECT_NE(child_.standard_error().find(" 0 in use"), std::string::npos) << child_.standard_error();
  }

 private:
  child_process child_;
  std::uint16_t port_ = 0;
};

class EchoServer : public ::testing::Test {
 protected:
  tcp::socket connect(const echo_server& server) {
    tcp::socket client(context);
    client.connect(server.endpoint());
    return client;
  }

  static void expect_echo(tcp::socket& client, const std::string& text) {
    asio::write(client, asio::buffer(text));
    std::string answer(text.size(), '\0');
    asio::error_code ec;
    asio::read(client, asio::buffer(answer), ec);
    EXPECT_FALSE(ec) << ec.message();
    EXPECT_EQ(answer, text);
  }

  // Reads to the end of the stream, which must come.
  static std::string read_to_end(tcp::socket& client) {
    std::string all;
    asio::error_code ec;
    asio::read(client, asio::dynamic_buffer(all), ec);
    EXPECT_EQ(ec, asio::error::eof);
    return all;
  }

  asio::io_context context;
};

void raise_descriptor_limit() {
  ::rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string long_text(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t index = 0; index < size; ++index) text[index] = static_cast<char>(index * 2654435761U >> 11);
  return text;
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
  for (const std::vector<std::string>& options : wrong) {
    std::vector<std::string> all = command({});
    all.insert(all.end(), options.begin(), options.end());
    child_process child(all);
    EXPECT_EQ(child.wait(), 2) << ::testing::PrintToString(options);
    const std::string message = child.standard_error();
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
    EXPECT_EQ(message.find("echo_server: "), 0U) << message;
    EXPECT_EQ(child.read_line(), "") << "nothing on standard output";
  }
}

TEST(EchoServerUsage, ExplainsItself) {
  child_process help(command({"--help"}));
  EXPECT_EQ(help.wait(), 0);
  child_process version(command({"--version"}));
  EXPECT_EQ(version.read_line().find("echo_server "), 0U);
  EXPECT_EQ(version.wait(), 0);
}

TEST_F(EchoServer, SaysWhenItsAddressIsTaken) {
  echo_server first;
  child_process second(command({"--tcp", "127.0.0.1:" + std::to_string(first.endpoint().port())}));
  EXPECT_EQ(second.wait(), 1);
  const std::string message = second.standard_error();
  EXPECT_NE(message.find("already in use"), std::string::npos) << message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  first.stop();
}

TEST_F(EchoServer, SaysWhenItsAddressIsNotOfThisMachine) {
  child_process child(command({"--tcp", "192.0.2.1:7000"}));  // TEST-NET-1: nobody's
  EXPECT_EQ(child.wait(), 1);
  EXPECT_NE(child.standard_error().find("192.0.2.1:7000"), std::string::npos);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(EchoServer, SaysWhenTheSystemHasNoThreadsForIt) {
  // Each thread needs a stack of its own: 200 of them do not fit.
  child_process child(command({"--tcp", "127.0.0.1:0", "--threads", "200"}),
                      child_process::limited{RLIMIT_AS, std::uint64_t{400} << 20});
  EXPECT_EQ(child.wait(), 1);
  const std::string message = child.standard_error();
  EXPECT_EQ(message.find("echo_server: "), 0U) << message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  EXPECT_EQ(child.read_line(), "") << "it never listened";
}
#endif

TEST_F(EchoServer, ListensOnIPv6) {
  child_process child(command({"--tcp", "[::1]:0"}));
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
#if defined(__SANITIZE_ADDRESS__)
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

TEST_F(EchoServer, ServesManyFromABudgetOfOneBlock) {
  echo_server server({"--budget", "16KiB", "--threads", "2"});
  std::vector<std::jthread> clients;
  for (int index = 0; index < 20; ++index) {
    clients.emplace_back([&] {
      asio::io_context own;
      tcp::socket client(own);
      client.connect(server.endpoint());
      const std::string text = long_text(100'000);
      std::jthread sender([&] { asio::write(client, asio::buffer(text)); });
      std::string answer(text.size(), '\0');
      asio::error_code ec;
      asio::read(client, asio::buffer(answer), ec);
      EXPECT_TRUE(!ec && answer == text) << ec.message();
    });
  }
  clients.clear();
  server.stop();
  EXPECT_NE(server.child().standard_error().find("at most 16.0 KiB at once"), std::string::npos);
}

// A server that receives datagrams on a free port, and a client of it.
class EchoServerUdp : public EchoServer {
 protected:
  // Both, where `options` names --tcp: it is then listed first.
  void start(std::initializer_list<std::string> options = {}, const std::string& address = "127.0.0.1") {
    std::vector<std::string> all = command({"--udp", address + ":0"});
    all.insert(all.end(), options);
    child.emplace(all);
    if (std::find(all.begin(), all.end(), "--tcp") != all.end()) tcp_port = read_port("listening tcp " + address);
    udp_port = read_port("listening udp " + address);
    client.connect({asio::ip::make_address("127.0.0.1"), udp_port});
    client.set_option(asio::socket_base::receive_buffer_size(1 << 20));
  }
  std::uint16_t read_port(std::string expected) {
    expected += ':';
    const std::string line = child->read_line();
    if (line.compare(0, expected.size(), expected) != 0) throw std::runtime_error("unexpected line: " + line);
    return static_cast<std::uint16_t>(std::stoi(line.substr(expected.size())));
  }
  void stop(int signal = SIGTERM) {
    child->signal(signal);
    expect_end();
  }
  void expect_end() {
    EXPECT_EQ(child->wait(), 0);
    log = child->standard_error();
    EXPECT_NE(log.find(" 0 in use"), std::string::npos) << log;
  }
  tcp::socket connect() {
    tcp::socket connection(context);
    connection.connect({asio::ip::address_v4::loopback(), tcp_port});
    return connection;
  }

  void send(const std::string& text) { client.send(asio::buffer(text)); }
  // The next datagram that comes back, if one does in that time.
  std::optional<std::string> answer(std::chrono::milliseconds limit = child_process::limit) {
    ::pollfd readable{client.native_handle(), POLLIN, 0};
    if (::poll(&readable, 1, static_cast<int>(limit.count())) != 1) return std::nullopt;
    std::string text(std::size_t{1} << 16, '\0');
    text.resize(client.receive(asio::buffer(text)));
    return text;
  }

  std::optional<child_process> child;
  std::uint16_t tcp_port = 0;
  std::uint16_t udp_port = 0;
  udp::socket client{context, udp::endpoint(udp::v4(), 0)};
  std::string log;
};

TEST_F(EchoServerUdp, EchoesEverySizeAndDrainsOnEitherSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    start({"--threads", "2"});
    for (const std::size_t size : {0U, 1U, 200U, 1472U, 9000U, 65'507U}) {
      const std::string text = long_text(size);
      send(text);
      EXPECT_TRUE(answer() == text) << size;
    }
    stop(signal);
  }
}

TEST_F(EchoServerUdp, ServesBesideTcp) {
  start({"--tcp", "127.0.0.1:0"});
  tcp::socket connection = connect();
  expect_echo(connection, "a stream");
  send("a datagram");
  EXPECT_EQ(answer(), "a datagram");
  connection.close();
  stop();
}

TEST_F(EchoServerUdp, SaysWhenItsAddressIsTaken) {
  start();
  child_process second(command({"--udp", "127.0.0.1:" + std::to_string(udp_port)}));
  EXPECT_EQ(second.wait(), 1);
  const std::string message = second.standard_error();
  EXPECT_NE(message.find("already in use"), std::string::npos) << message;
  EXPECT_NE(message.find(std::to_string(udp_port)), std::string::npos) << message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1) << message;
  EXPECT_EQ(second.read_line(), "") << "it never listened";
  stop();
}

TEST_F(EchoServerUdp, ListensOnIPv6) {
  child.emplace(command({"--udp", "[::1]:0"}));
  const std::string line = child->read_line();
  if (line.empty()) GTEST_SKIP() << "no IPv6 here: " << (child->wait(), child->standard_error());
  const std::string expected = "listening udp [::1]:";
  ASSERT_EQ(line.find(expected), 0U) << line;
  udp::socket six(context, udp::endpoint(udp::v6(), 0));
  const auto port = static_cast<std::uint16_t>(std::stoi(line.substr(expected.size())));
  six.connect({asio::ip::address_v6::loopback(), port});
  six.send(asio::buffer("six", 3));
  std::string text(10, '\0');
  text.resize(six.receive(asio::buffer(text)));
  EXPECT_EQ(text, "six");
  stop();
}

TEST_F(EchoServerUdp, AnswersWhatIsInItsSocketBeforeItDrains) {
  start({"--threads", "1"});
  send("warm");
  EXPECT_EQ(answer(), "warm");
  // It cannot look into its socket before it learns of the end.
  child->signal(SIGSTOP);
  for (int index = 0; index < 100; ++index) send(std::to_string(index));
  child->signal(SIGTERM);
  child->signal(SIGCONT);
  for (int index = 0; index < 100; ++index) EXPECT_EQ(answer(), std::to_string(index));
  expect_end();
}

TEST_F(EchoServerUdp, EndsWhileDatagramsKeepComing) {
  start({"--threads", "2"});
  std::atomic<bool> over = false;
  std::jthread sender([&] {
    asio::io_context own;
    udp::socket flood(own, udp::endpoint(udp::v4(), 0));
    flood.connect({asio::ip::address_v4::loopback(), udp_port});
    asio::error_code ec;  // refused, once the server has gone
    while (!over) flood.send(asio::buffer("more", 4), 0, ec);
  });
  send("x");
  EXPECT_EQ(answer(), "x");
  stop();
  over = true;
}

TEST_F(EchoServerUdp, WaitsForTheBudgetAndAnswersThen) {
  // Connections whose answers nobody reads hold it all.
  start({"--tcp", "127.0.0.1:0", "--budget", "64KiB", "--threads", "1"});
  std::vector<tcp::socket> greedy;
  for (int count = 0; count < 8; ++count) {
    greedy.push_back(connect());
    greedy.back().non_blocking(true);
  }
  const std::string text = long_text(std::size_t{1} << 20);
  std::string sent;
  for (int number = 0;; ++number) {
    for (tcp::socket& each : greedy) {
      asio::error_code ec;
      while (!ec) each.write_some(asio::buffer(text), ec);
    }
    sent = std::to_string(number);
    send(sent);
    const std::optional<std::string> got = answer(std::chrono::milliseconds(300));
    if (!got) break;
    EXPECT_EQ(got, sent);
  }
  greedy.clear();
  EXPECT_EQ(answer(), sent);
  stop();
  EXPECT_EQ(log.find(" 0 not for want of budget"), std::string::npos) << log;
}

TEST_F(EchoServerUdp, SaysWhenADatagramIsTooLargeForItsBudget) {
  start({"--budget", "16KiB"});
  send(long_text(20'000));
  send("small");
  EXPECT_EQ(answer(), "small");
  stop();
  EXPECT_NE(log.find("unanswered datagrams: 1 ("), std::string::npos) << log;
}

}  // namespace
}  // namespace slabbuf
