// SPDX-License-Identifier: MIT
#include <slabbuf/net/detail/associated_op.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <utility>

namespace slabbuf::net::detail {
namespace {

template <class Handler>
struct probe : associated_op<asio::ip::tcp::socket, Handler> {
  probe(asio::ip::tcp::socket& socket, Handler handler)
      : associated_op<asio::ip::tcp::socket, Handler>(socket, std::move(handler)) {}
  using associated_op<asio::ip::tcp::socket, Handler>::complete;
};

TEST(AssociatedOp, FallsBackToTheIoObjectsExecutor) {
  asio::io_context context;
  asio::ip::tcp::socket socket(context);
  const probe op(socket, [] {});
  EXPECT_EQ(op.get_executor(), socket.get_executor());
  EXPECT_FALSE(op.get_cancellation_slot().is_connected());
}

TEST(AssociatedOp, PassesOnWhatTheHandlerIsBoundTo) {
  asio::io_context context;
  asio::io_context other;
  asio::ip::tcp::socket socket(context);
  concurrent_pool pool;
  asio::cancellation_signal signal;
  probe op(socket, asio::bind_executor(other.get_executor(),
                                       asio::bind_cancellation_slot(signal.slot(), bind_pool(pool, [] {}))));
  EXPECT_EQ(op.get_executor(), other.get_executor());
  EXPECT_EQ(op.get_cancellation_slot(), signal.slot());
  EXPECT_EQ(op.get_allocator(), handler_allocator<void>(pool));

  // Asio 1.22 asks handlers it has moved from.
  const probe moved(std::move(op));
  EXPECT_EQ(op.get_allocator(), moved.get_allocator());  // NOLINT(bugprone-use-after-move)
}

TEST(AssociatedOp, CompletesWithWhatItIsGiven) {
  asio::io_context context;
  asio::ip::tcp::socket socket(context);
  int sum = 0;
  probe op(socket, [&](int a, int b) { sum = a + b; });
  op.complete(2, 3);
  EXPECT_EQ(sum, 5);
}

}  // namespace
}  // namespace slabbuf::net::detail
