// SPDX-License-Identifier: MIT
#include "common/command_line.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace slabbuf::examples {
namespace {

TEST(ParseSize, ReadsPowersOf1024) {
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("4096"), 4096U);
  EXPECT_EQ(parse_size("64B"), 64U);
  EXPECT_EQ(parse_size("64K"), 65536U);
  EXPECT_EQ(parse_size("64KB"), 65536U);
  EXPECT_EQ(parse_size("64KiB"), 65536U);
  EXPECT_EQ(parse_size("16M"), 16U << 20);
  EXPECT_EQ(parse_size("2GiB"), std::size_t{2} << 30);
  EXPECT_EQ(parse_size("1TiB"), std::size_t{1} << 40);
  EXPECT_EQ(parse_size("64 kib"), 65536U);
}

TEST(ParseSize, RefusesTheRest) {
  for (const char* const text : {"", "K", "-1", "+1", " 1", "1.5M", "1BB", "1BiB", "1i", "1KiBs", "1 K B", "1X",
                                 "18446744073709551616", "17179869184G"}) {
    EXPECT_THROW(parse_size(text), std::invalid_argument) << text;
  }
}

TEST(FormatSize, UsesTheLargestUnit) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1.0 KiB");
  EXPECT_EQ(format_size(1536 << 10), "1.5 MiB");
  EXPECT_EQ(format_size(std::size_t{1} << 40), "1024.0 GiB");
}

TEST(ExactSize, IsWhatParseSizeReads) {
  for (const char* const text : {"0B", "1B", "1000B", "1KiB", "1536KiB", "256MiB", "1TiB", "1025TiB"}) {
    EXPECT_EQ(exact_size(parse_size(text)), text);
  }
}

TEST(AddCountOption, TakesWholeNumbersBetweenItsLimits) {
  for (const char* const text : {"2", "9"}) {
    CLI::App app;
    std::size_t value = 5;
    add_count_option(app, "--count", value, 2, 9, "N", "");
    app.parse(std::string("--count ") + text);
    EXPECT_EQ(std::to_string(value), text);
  }
  for (const char* const text : {"1", "10", "x", "2x", "2.5", "-3", "''"}) {
    CLI::App app;
    std::size_t value = 5;
    add_count_option(app, "--count", value, 2, 9, "N", "");
    EXPECT_THROW(app.parse(std::string("--count ") + text), CLI::ParseError) << text;
    EXPECT_EQ(value, 5U);
  }
}

TEST(AddOption, NamesItsLimitsInHelp) {
  CLI::App app;
  std::size_t count = 5;
  std::size_t size = 4096;
  add_count_option(app, "--count", count, 2, 9, "N", "How many");
  add_size_option(app, "--size", size, 1024, 1 << 20, "How large");
  const std::string help = app.help();
  EXPECT_NE(help.find("--count N=5                 How many (2 to 9)\n"), std::string::npos) << help;
  EXPECT_NE(help.find("--size SIZE=4KiB            How large (1KiB to 1MiB)\n"), std::string::npos) << help;
}

TEST(AddHostsOption, TakesNamesOfHosts) {
  for (const char* const text : {"files.example", "a", "A-1_b.example.org", "192.0.2.1"}) {
    CLI::App app;
    std::vector<std::string> hosts;
    add_hosts_option(app, hosts);
    app.parse(std::string("--host ") + text);
    EXPECT_EQ(hosts, std::vector<std::string>{text});
  }
  for (const char* const text : {"http://files.example", "files.example/", "files.example:8080", ".example", "example.",
                                 "a..b", "''", "'a b'", "*.example"}) {
    CLI::App app;
    std::vector<std::string> hosts;
    add_hosts_option(app, hosts);
    EXPECT_THROW(app.parse(std::string("--host ") + text), CLI::ParseError) << text;
  }
}

// What a program says of its command line; it has --size and --count, which are required, and two subcommands.
std::string refusal_of(std::vector<std::string> words) {
  CLI::App app("", "program");
  std::size_t count = 5;
  std::size_t size = 4096;
  std::string file;
  add_count_option(app, "--count", count, 2, 9, "N", "")->required();
  add_size_option(app, "--size", size, 1024, 1 << 20, "")->required();
  CLI::App& get = *app.add_subcommand("get")->fallthrough();
  get.add_flag("--quiet");
  get.add_option("FILE", file);
  app.add_subcommand("put")->add_flag("--quick");
  words.insert(words.begin(), "program");
  std::vector<char*> arguments;
  for (std::string& each : words) arguments.push_back(each.data());
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(run_program(app, static_cast<int>(arguments.size()), arguments.data(), [] { return 0; }), exit_usage);
  return ::testing::internal::GetCapturedStderr();
}

std::string line(const std::string& reason) { return "program: " + reason + " (--help lists the options)\n"; }

TEST(RunProgram, NamesAnUnknownOptionBeforeOneThatIsMissing) {
  EXPECT_EQ(refusal_of({}), line("--count is required"));
  EXPECT_EQ(refusal_of({"--bogus"}), line("--bogus is no option"));
  EXPECT_EQ(refusal_of({"--bogus=5", "--size", "1"}), line("--bogus is no option"))
      << "and before a value that is wrong";
  EXPECT_EQ(refusal_of({"-x"}), line("-x is no option"));
}

TEST(RunProgram, SuggestsTheNearestOption) {
  EXPECT_EQ(refusal_of({"--conut", "3"}), line("--conut is no option, did you mean --count?"));
  EXPECT_EQ(refusal_of({"--sizes=4K"}), line("--sizes is no option, did you mean --size?"));
  EXPECT_EQ(refusal_of({"get", "--quie"}), line("--quie is no option, did you mean --quiet?"));
  EXPECT_EQ(refusal_of({"put", "--quie"}), line("--quie is no option, did you mean --quick?")) << "not get's";
  EXPECT_EQ(refusal_of({"gte"}), line("'gte' is not expected here, did you mean get?"));
}

TEST(RunProgram, NamesAnArgumentThatNobodyTakes) {
  EXPECT_EQ(refusal_of({"--count", "2", "--size", "4K", "surplus"}), line("'surplus' is not expected here"));
}

TEST(RunProgram, ExplainsASizeInTwoWords) {
  const std::string explained = line("--size: a size is one word: 16KiB, not 16 KiB");
  EXPECT_EQ(refusal_of({"--count", "2", "--size", "16", "KiB"}), explained);
  EXPECT_EQ(refusal_of({"get", "--count", "2", "--size", "16", "KiB"}), explained) << "where KiB may be a FILE";
  EXPECT_EQ(refusal_of({"--count", "2", "--size", "16", "kilobytes"}),
            line("--size: '16' is not between 1KiB and 1MiB"));
}

TEST(ParseEndpoint, ReadsWhatFormatEndpointPrints) {
  for (const char* const text : {"127.0.0.1:7000", "0.0.0.0:0", "[::1]:80", "[::]:65535"}) {
    EXPECT_EQ(format_endpoint(parse_endpoint(text)), text);
  }
  EXPECT_EQ(format_endpoint(parse_endpoint("localhost:5")), "127.0.0.1:5");
}

TEST(ParseEndpoint, RefusesTheRest) {
  for (const char* const text : {"", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536",
                                 "127.0.0.1:8 0", "::1:80", "[::1]", "[127.0.0.1]:80", "example:80", "[]:80"}) {
    EXPECT_THROW(parse_endpoint(text), std::invalid_argument) << text;
  }
}

}  // namespace
}  // namespace slabbuf::examples
