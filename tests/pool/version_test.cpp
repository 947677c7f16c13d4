// SPDX-License-Identifier: MIT
#include <slabbuf/pool/version.hpp>

#include <gtest/gtest.h>

#include <string>

namespace slabbuf {
namespace {

TEST(version_test, TheTextIsMadeOfTheNumbers) {
  EXPECT_EQ(SLABBUF_VERSION_STRING, std::to_string(SLABBUF_VERSION_MAJOR) + "." +
                                        std::to_string(SLABBUF_VERSION_MINOR) + "." +
                                        std::to_string(SLABBUF_VERSION_PATCH));
}

}  // namespace
}  // namespace slabbuf
