// SPDX-License-Identifier: MIT
// --admin: its page and its texts, as they are asked for.
#include "admin/admin_server.hpp"

#include "support/http_client.hpp"

#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <list>
#include <string>
#include <system_error>

namespace slabbuf::examples {
namespace {

using support::http_answer;
using support::http_client;

const asio::ip::tcp::endpoint any_port(asio::ip::address_v4::loopback(), 0);

class AdminServer : public ::testing::Test {
 protected:
  AdminServer() { server.start(); }

  admin_sample sample() {
    using kind = admin_metric::kind;
    admin_sample now;
    now.pools.emplace_back("buffers", pool.stats());
    now.pools.emplace_back("other", other.stats());
    now.metrics = {{"connections", kind::gauge, "Connections that are open.", 7},
                   {"sent_bytes", kind::counter, "Bytes sent.", 123'456'789'012}};
    return now;
  }

  concurrent_pool pool{{.budget_bytes_max = 1 << 20}};
  concurrent_pool other;
  admin_server server{any_port, "the_program", [this] { return sample(); }};
};

TEST_F(AdminServer, ServesThePageAndItsPartsUnderAStrictPolicy) {
  http_client client(server.endpoint());
  struct part {
    const char* path;
    const char* type;
    const char* contains;
  };
  for (const part& each : {part{"/", "text/html; charset=utf-8", "<script src=\"/admin.js\" defer>"},
                           part{"/?x", "text/html; charset=utf-8", "/admin.css"},
                           part{"/admin.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"},
                           part{"/admin.js", "text/javascript; charset=utf-8", "'/stats'"}}) {
    SCOPED_TRACE(each.path);
    const http_answer answer = client.ask("GET " + std::string(each.path));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.field("content-type"), each.type);
    EXPECT_NE(answer.body.find(each.contains), std::string::npos);
    const std::string policy = answer.field("content-security-policy");
    EXPECT_EQ(policy.find("default-src 'none'; script-src 'self'; style-src 'self';"), 0U) << policy;
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
    EXPECT_EQ(answer.field("x-content-type-options"), "nosniff");
  }
  const std::string page = client.ask("GET /").body;
  for (const char* const inline_code : {"<style", "onclick", "style=", "javascript:"}) {
    EXPECT_EQ(page.find(inline_code), std::string::npos) << inline_code;
  }
}

TEST_F(AdminServer, TellsPrometheusEveryPoolMetricAndTheProcess) {
  const buffer held = pool.acquire(1000);
  http_client client(server.endpoint());
  const http_answer answer = client.ask("GET /metrics");
  EXPECT_EQ(answer.field("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const char* const line :
       {"\nslabbuf_pool_in_use{pool=\"buffers\"} 1\n", "\nslabbuf_pool_in_use{pool=\"other\"} 0\n",
        "\n# TYPE slabbuf_server_connections gauge\nslabbuf_server_connections 7\n",
        "\n# TYPE slabbuf_server_sent_bytes_total counter\nslabbuf_server_sent_bytes_total "
        "123456789012\n",
        "\nprocess_resident_memory_bytes ", "\nprocess_cpu_seconds_total ", "\nprocess_start_time_seconds "}) {
    EXPECT_NE(answer.body.find(line), std::string::npos) << line;
  }
}

TEST_F(AdminServer, TellsTheSameAsJson) {
  const buffer held = pool.acquire(1000);
  http_client client(server.endpoint());
  const nlohmann::json stats = nlohmann::json::parse(client.ask("GET /stats").body);
  EXPECT_EQ(stats.at("program"), "the_program");
  EXPECT_EQ(stats.at("pools").at(0).at("name"), "buffers");
  EXPECT_EQ(stats.at("pools").at(0).at("budget_bytes_max"), 1 << 20);
  EXPECT_EQ(stats.at("pools").at(0).at("classes").at(0).at("in_use"), 1);
  EXPECT_TRUE(stats.at("pools").at(1).at("budget_bytes_max").is_null());
  EXPECT_EQ(stats.at("metrics").at(1).at("name"), "sent_bytes");
  EXPECT_EQ(stats.at("metrics").at(1).at("kind"), "counter");
  EXPECT_EQ(stats.at("metrics").at(1).at("value"), 123'456'789'012);
  EXPECT_GE(stats.at("uptime_s").get<double>(), 0);
  EXPECT_GT(stats.at("process").at("resident_bytes").get<std::uint64_t>(), 1U << 20);
  EXPECT_GT(stats.at("process").at("open_descriptors").get<std::uint64_t>(), 3U);
  EXPECT_GE(stats.at("process").at("threads").get<std::uint64_t>(), 2U);
}

TEST_F(AdminServer, SaysThatItIsHealthyAndRefusesWhatItHasNot) {
  http_client client(server.endpoint());
  EXPECT_EQ(client.ask("GET /healthz").body, "ok\n");
  const http_answer head = client.ask("HEAD /healthz");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("content-length"), "3");
  EXPECT_EQ(client.ask("GET /no").status, 404);
  EXPECT_EQ(client.ask("GET /admin.js/").status, 404);
  const http_answer post = client.ask("POST /stats", "Content-Length: 0\r\n");
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.field("allow"), "GET, HEAD");
}

TEST_F(AdminServer, AnswersWhileThePoolsBudgetIsSpent) {
  const buffer all = pool.acquire(1 << 20);
  EXPECT_FALSE(pool.try_acquire(1));
  http_client client(server.endpoint());
  EXPECT_EQ(nlohmann::json::parse(client.ask("GET /stats").body).at("pools").at(0).at("bytes"), 1 << 20);
}

TEST_F(AdminServer, AnswersWhileOthersKeepConnectionsIdle) {
  std::list<http_client> idle;
  for (int count = 0; count < 200; ++count) idle.emplace_back(server.endpoint());
  http_client client(server.endpoint());
  EXPECT_EQ(client.ask("GET /healthz").body, "ok\n");
  EXPECT_TRUE(idle.front().ends()) << "after a few seconds";
}

TEST(AdminServerAddress, SaysWhichOneItCannotHave) {
  const auto nothing = [] { return admin_sample(); };
  const admin_server first(any_port, "one", nothing);
  try {
    const admin_server second(first.endpoint(), "two", nothing);
    FAIL() << "two servers on one port";
  } catch (const std::system_error& fault) {
    EXPECT_NE(std::string(fault.what()).find("127.0.0.1:" + std::to_string(first.endpoint().port())),
              std::string::npos);
  }
}

}  // namespace
}  // namespace slabbuf::examples
