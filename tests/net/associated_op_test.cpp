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
      : associated_op<asio::ip::tcp::socket, Handler>(socket, std::move(handler), asio::enable_partial_cancellation()) {
  }
  using associated_op<asio::ip::tcp::socket, Handler>::closed;
  using associated_op<asio::ip::tcp::socket, Handler>::complete;
  using associated_op<asio::ip::tcp::socket, Handler>::ended;
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
  EXPECT_TRUE(op.get_cancellation_slot().is_connected());
  EXPECT_EQ(op.get_allocator(), handler_allocator<void>(pool));

  // Asio 1.22 asks handlers it has moved from.
  const probe moved(std::move(op));
  EXPECT_EQ(op.get_allocator(), moved.get_allocator());  // NOLINT(bugprone-use-after-move)
}

TEST(AssociatedOp, KeepsACancellationThatFoundNothingToCancel) {
  asio::io_context context;
  asio::ip::tcp::socket socket(context);
  asio::cancellation_signal signal;
  probe op(socket, asio::bind_cancellation_slot(signal.slot(), [] {}));
  EXPECT_FALSE(op.ended());
  signal.emit(asio::cancellation_type::total);
  EXPECT_FALSE(op.ended()) << "total is not what this operation can do";
  signal.emit(asio::cancellation_type::terminal);
  const probe moved(std::move(op));
  EXPECT_TRUE(moved.ended());
  EXPECT_FALSE(moved.closed());
}

TEST(AssociatedOp, LetsGoOfTheSlotBeforeItCompletes) {
  asio::io_context context;
  asio::ip::tcp::socket socket(context);
  asio::cancellation_signal signal;
  bool handled = false;
  probe op(socket, asio::bind_cancellation_slot(signal.slot(), [&] { handled = !signal.slot().has_handler(); }));
  ASSERT_TRUE(signal.slot().has_handler());
  op.complete();
  EXPECT_TRUE(handled);
}

TEST(AssociatedOp, KnowsThatItsDescriptorIsAnotherOne) {
  asio::io_context context;
  asio::ip::tcp::socket socket(context, asio::ip::tcp::v4());
  const probe op(socket, [] {});
  EXPECT_FALSE(op.ended());
  asio::ip::tcp::socket taken = std::move(socket);
  EXPECT_TRUE(op.closed());
  EXPECT_TRUE(op.ended());
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
