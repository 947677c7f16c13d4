// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/buffer_parts.hpp>

#include <gtest/gtest.h>
#include <sys/uio.h>
#include <asio/buffer.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace slabbuf::net::detail {
namespace {

using const_buffers = std::vector<asio::const_buffer>;
using mutable_buffers = std::vector<asio::mutable_buffer>;

template <class Buffer, class Buffers>
std::vector<std::string_view> texts_of(const Buffers& buffers) {
  ::iovec parts[gather_max];
  std::vector<std::string_view> texts;
  const std::size_t count = parts_of<Buffer>(buffers, parts);
  for (std::size_t index = 0; index < count; ++index)
    texts.emplace_back(static_cast<const char*>(parts[index].iov_base), parts[index].iov_len);
  return texts;
}

TEST(BufferParts, AreTheBuffersInOrderWithoutThoseThatAreEmpty) {
  using texts = std::vector<std::string_view>;
  const const_buffers all{asio::buffer("", 0),    asio::buffer("one", 3), asio::const_buffer(), asio::buffer("", 0),
                          asio::buffer("two", 3), asio::buffer("3", 1),   asio::const_buffer()};
  EXPECT_EQ(texts_of<asio::const_buffer>(all), texts({"one", "two", "3"}));
  EXPECT_EQ(texts_of<asio::const_buffer>(asio::buffer("alone", 5)), texts({"alone"}));
  EXPECT_EQ(texts_of<asio::const_buffer>(const_buffers(3)), texts());
  EXPECT_EQ(texts_of<asio::const_buffer>(const_buffers()), texts());
}

TEST(BufferParts, AreAsManyAsAStepTakes) {
  std::string text(gather_max + 5, '?');
  for (std::size_t index = 0; index < text.size(); ++index) text[index] = static_cast<char>(index);
  // The empty ones do not count.
  mutable_buffers all(gather_max);
  for (char& each : text) all.emplace_back(&each, 1);
  const std::vector<std::string_view> parts = texts_of<asio::mutable_buffer>(all);
  ASSERT_EQ(parts.size(), gather_max);
  for (std::size_t index = 0; index < gather_max; ++index) EXPECT_EQ(parts[index].data(), &text[index]);
}

}  // namespace
}  // namespace slabbuf::net::detail
