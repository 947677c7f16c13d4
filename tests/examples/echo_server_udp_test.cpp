// SPDX-License-Identifier: MIT
// The echo server's datagrams, by its program.
#include "examples/echo_server_fixture.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace slabbuf {
namespace {

using asio::ip::tcp;
using asio::ip::udp;
using support::child_process;
using support::echo_server_command;
using support::EchoServer;
using support::expect_echo;
using support::long_text;
using support::read_port;

// A server that receives datagrams on a free port, and a client of it.
class EchoServerUdp : public EchoServer {
 protected:
  // Both, where `options` names --tcp: it is then listed first.
  void start(std::initializer_list<std::string> options = {}, const std::string& address = "127.0.0.1") {
    std::vector<std::string> all{"--udp", address + ":0"};
    all.insert(all.end(), options);
    child.emplace(echo_server_command(all));
    if (std::find(all.begin(), all.end(), "--tcp") != all.end()) tcp_port = read_port(*child, "tcp", address);
    udp_port = read_port(*child, "udp", address);
    client.connect({asio::ip::make_address("127.0.0.1"), udp_port});
    client.set_option(asio::socket_base::receive_buffer_size(1 << 20));
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

TEST_F(EchoServerUdp, AnswersDatagramsThatCameTogetherOneByOne) {
  start();
  const int bytes = 100;
  if (::setsockopt(client.native_handle(), IPPROTO_UDP, UDP_SEGMENT, &bytes, sizeof(bytes)) != 0)
    GTEST_SKIP() << "the system does not cut datagrams";
  std::string all;
  for (char each = 'a'; each < 'a' + 20; ++each) all += std::string(100, each);
  send(all + "rest");
  for (char each = 'a'; each < 'a' + 20; ++each) EXPECT_EQ(answer(), std::string(100, each));
  EXPECT_EQ(answer(), "rest");
  stop();
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
  const std::string address = "127.0.0.1:" + std::to_string(udp_port);
  support::expect_refusal({"--udp", address}, 1, "cannot listen on --udp " + address + ": Address already in use");
  stop();
}

TEST_F(EchoServerUdp, ListensOnIPv6) {
  child.emplace(echo_server_command({"--udp", "[::1]:0"}));
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
