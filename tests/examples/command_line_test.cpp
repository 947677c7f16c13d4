// SPDX-License-Identifier: MIT
#include "common/command_line.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

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
