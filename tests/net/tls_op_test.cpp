// SPDX-License-Identifier: MIT
// The steps of a TLS operation and the waits between them, with actions that do what they are told.
#include <slabbuf/net/detail/tls_op.hpp>

#include <slabbuf/net/handler_allocator.hpp>
#include <slabbuf/pool/concurrent_pool.hpp>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "support/loopback_pair.hpp"
#include "support/tls_engines.hpp"

namespace slabbuf::net::detail {
namespace {

TEST(TlsResult, HasTheErrorThatAsioHasForIt) {
  const auto error_of = [](tls_status status, std::uint32_t code = 0) { return to_error_code({status, code}); };
  EXPECT_EQ(error_of(tls_status::done), asio::error_code());
  EXPECT_EQ(error_of(tls_status::want_read), asio::error_code());
  EXPECT_EQ(error_of(tls_status::want_write), asio::error_code());
  EXPECT_EQ(error_of(tls_status::end_of_stream), asio::error::eof);
  EXPECT_EQ(error_of(tls_status::truncated), asio::ssl::error::stream_truncated);
  EXPECT_EQ(error_of(tls_status::system, EPIPE), asio::error::broken_pipe);
  EXPECT_EQ(error_of(tls_status::openssl, 42), asio::error_code(42, asio::error::get_ssl_category()));
  // The errors of the system that OpenSSL 3 has are above the range of an int.
  EXPECT_EQ(error_of(tls_status::openssl, 0x80000002U).value(), static_cast<int>(0x80000002U));
  EXPECT_EQ(error_of(tls_status::unspecified), asio::ssl::error::unspecified_system_error);
  EXPECT_EQ(error_of(tls_status::unexpected), asio::ssl::error::unexpected_result);
}

TEST(TlsResult, IsAWaitOrTheEnd) {
  asio::error_code ec = asio::error::fault;
  EXPECT_EQ(want_of({tls_status::want_read}, ec), tls_want::read);
  EXPECT_EQ(want_of({tls_status::want_write}, ec), tls_want::write);
  EXPECT_EQ(ec, asio::error::fault) << "a wait says nothing of it";
  EXPECT_EQ(want_of({tls_status::done}, ec), tls_want::nothing);
  EXPECT_FALSE(ec);
  EXPECT_EQ(want_of({tls_status::truncated}, ec), tls_want::nothing);
  EXPECT_EQ(ec, asio::ssl::error::stream_truncated);
}

// What an action is to do, and what was asked of it.
struct script {
  using step = std::function<tls_want(int descriptor, asio::error_code&)>;

  tls_want first = tls_want::nothing;
  std::vector<step> steps;
  std::size_t steps_made = 0;
  int begun = 0;
  int given_up = 0;
};

// One that has taken nothing until it is done, or one that may have sent a part.
template <bool Receives>
struct scripted_action {
  static auto cancellation_filter() noexcept { return asio::enable_partial_cancellation(); }
  static constexpr tls_side side = Receives ? tls_side::receiving : tls_side::sending;

  tls_want begin(const tls_engine&) const {
    ++told->begun;
    return told->first;
  }
  tls_want step(tls_engine&, int descriptor, asio::error_code& ec) const {
    return told->steps.at(told->steps_made++)(descriptor, ec);
  }
  void give_up(const tls_engine&) const { ++told->given_up; }
  template <class Complete>
  void complete(const asio::error_code& ec, Complete&& complete) const {
    complete(ec, told->steps_made);
  }

  script* told;
};

script::step wants(tls_want want) {
  return [want](int, asio::error_code&) { return want; };
}

struct outcome {
  asio::error_code ec;
  std::size_t steps;
};

class TlsOp : public ::testing::Test {
 protected:
  ~TlsOp() override { EXPECT_EQ(pool.stats().in_use, 0U); }

  auto store() {
    return [this](asio::error_code ec, std::size_t steps) { result.emplace(outcome{ec, steps}); };
  }
  template <bool Receives = false, class Token>
  void start_on(support::loopback_pair::socket& socket, Token&& token) {
    asio::async_initiate<Token, void(asio::error_code, std::size_t)>(
        initiate_tls<support::loopback_pair::socket>{&socket, &engine}, token, scripted_action<Receives>{&told});
  }
  template <bool Receives = false, class Token>
  void start(Token&& token) {
    start_on<Receives>(pair.near, std::forward<Token>(token));
    EXPECT_FALSE(result) << "called within the call";
  }
  void far_sends(std::string_view text) { asio::write(pair.far, asio::buffer(text)); }
  // A step that takes a byte, of which there must be one.
  script::step takes_a_byte_and_wants(tls_want want) {
    return [this, want](int descriptor, asio::error_code&) {
      EXPECT_EQ(descriptor, pair.near.native_handle());
      char byte = 0;
      EXPECT_EQ(::recv(descriptor, &byte, 1, MSG_DONTWAIT), 1);
      return want;
    };
  }
  void run(asio::io_context& each) {
    each.restart();
    each.run();
  }
  // Ended early, of which the action was told.
  void expect_given_up(std::size_t steps) {
    ASSERT_TRUE(result);
    EXPECT_EQ(result->ec, asio::error::operation_aborted);
    EXPECT_EQ(result->steps, steps);
    EXPECT_EQ(told.given_up, 1);
  }

  concurrent_pool pool;
  support::context_ptr tls_context = support::make_context(TLS_client_method(), nullptr, TLS1_3_VERSION);
  tls_connection<asio::io_context::executor_type> engine{tls_context.get(), pool.core()};
  script told;
  std::optional<outcome> result;
  asio::cancellation_signal signal;
  asio::io_context context;
  asio::io_context other;  // of handlers that have an executor of their own
  support::loopback_pair pair{context};
};

TEST_F(TlsOp, MakesTheFirstStepAtOnceAndCompletesLater) {
  told.steps = {wants(tls_want::nothing)};
  start(store());
  EXPECT_EQ(told.begun, 1);
  EXPECT_EQ(told.steps_made, 1U);
  run(context);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->steps, 1U);
  EXPECT_EQ(told.given_up, 0);
  asio::error_code ec;
  pair.near.shutdown(asio::socket_base::shutdown_send);
  char byte = 0;
  EXPECT_EQ(asio::read(pair.far, asio::buffer(&byte, 1), ec), 0U) << "what brings it to its handler sends nothing";
}

TEST_F(TlsOp, CompletesWithTheErrorOfAStep) {
  const script::step fails = [](int, asio::error_code& ec) {
    ec = asio::error::connection_refused;
    return tls_want::nothing;
  };
  for (const tls_want first : {tls_want::nothing, tls_want::write}) {
    told = {first, {fails}};
    result.reset();
    start(store());
    run(context);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->ec, asio::error::connection_refused);
    EXPECT_EQ(told.given_up, 0) << "it has ended by itself";
  }
}

TEST_F(TlsOp, WaitsBeforeTheFirstStepWhereTheActionSaysSo) {
  told = {tls_want::read, {takes_a_byte_and_wants(tls_want::nothing)}};
  start(store());
  context.poll();
  EXPECT_EQ(told.steps_made, 0U);
  far_sends("1");
  run(context);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(told.begun, 1);
}

TEST_F(TlsOp, WaitsUntilItCanSend) {
  std::vector<char> bytes(std::size_t{1} << 20);
  pair.near.non_blocking(true);
  std::size_t sent = 0;
  asio::error_code ec;
  while (!ec) sent += pair.near.write_some(asio::buffer(bytes), ec);
  told = {tls_want::write, {wants(tls_want::nothing)}};
  start(store());
  context.poll();
  EXPECT_FALSE(result);
  for (std::size_t count = 0; count < sent;) count += pair.far.read_some(asio::buffer(bytes));
  run(context);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
}

TEST_F(TlsOp, WaitsBetweenSteps) {
  told.steps = {wants(tls_want::read), takes_a_byte_and_wants(tls_want::read), takes_a_byte_and_wants(tls_want::write),
                wants(tls_want::read), takes_a_byte_and_wants(tls_want::nothing)};
  start(store());
  for (const std::size_t steps : {1U, 2U, 4U}) {
    context.restart();
    while (told.steps_made < steps) ASSERT_NE(context.run_one(), 0U);
    context.poll();
    EXPECT_EQ(told.steps_made, steps);
    EXPECT_FALSE(result);
    far_sends("1");
  }
  run(context);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->steps, 5U);
  EXPECT_EQ(told.given_up, 0);
}

TEST_F(TlsOp, IsCancelledWhileItWaitsAndAsTheActionSays) {
  told = {tls_want::read, {wants(tls_want::nothing)}};
  start(asio::bind_cancellation_slot(signal.slot(), store()));
  context.poll();
  signal.emit(asio::cancellation_type::total);
  context.poll();
  EXPECT_FALSE(result) << "not what this action can do";
  signal.emit(asio::cancellation_type::partial);
  run(context);
  expect_given_up(0);
}

TEST_F(TlsOp, IsCancelledByWhatCameDuringAStep) {
  told = {tls_want::write, {[this](int, asio::error_code&) {
            signal.emit(asio::cancellation_type::terminal);
            return tls_want::read;
          }}};
  start(asio::bind_cancellation_slot(signal.slot(), store()));
  run(context);
  expect_given_up(1);
}

TEST_F(TlsOp, AStepThatWasTheLastIsNotCancelled) {
  told = {tls_want::write, {[this](int, asio::error_code&) {
            signal.emit(asio::cancellation_type::terminal);
            return tls_want::nothing;
          }}};
  start(asio::bind_cancellation_slot(signal.slot(), store()));
  run(context);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(told.given_up, 0);
}

// When the descriptor is ready and the step is on its way to the handler's executor.
class TlsOpBetweenWaitAndStep : public TlsOp {
 protected:
  template <bool Receives>
  void start_and_wait() {
    told = {tls_want::write, {wants(tls_want::nothing)}};
    start<Receives>(asio::bind_executor(other.get_executor(), asio::bind_cancellation_slot(signal.slot(), store())));
    run(context);
    EXPECT_EQ(told.steps_made, 0U);
  }
};

TEST_F(TlsOpBetweenWaitAndStep, ACancellationEndsWhatSends) {
  start_and_wait<false>();
  signal.emit(asio::cancellation_type::partial);
  other.run();
  expect_given_up(0);
}

TEST_F(TlsOpBetweenWaitAndStep, ACancellationIsTooLateForWhatReceives) {
  start_and_wait<true>();
  signal.emit(asio::cancellation_type::partial);
  other.run();
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->ec);
  EXPECT_EQ(result->steps, 1U);
  EXPECT_EQ(told.given_up, 0);
}

TEST_F(TlsOpBetweenWaitAndStep, AClosedSocketEndsWhatSends) {
  start_and_wait<false>();
  pair.near.close();
  other.run();
  expect_given_up(0);
}

TEST_F(TlsOpBetweenWaitAndStep, AClosedSocketEndsWhatReceives) {
  start_and_wait<true>();
  pair.near.close();
  other.run();
  expect_given_up(0);
}

TEST_F(TlsOp, ClosingTheSocketEndsTheWait) {
  told = {tls_want::read, {wants(tls_want::nothing)}};
  start(store());
  context.poll();
  pair.near.close();
  run(context);
  expect_given_up(0);
}

TEST_F(TlsOp, ASocketClosedDuringAStepIsNotWaitedFor) {
  told = {tls_want::write, {[this](int, asio::error_code&) {
            pair.near.close();
            return tls_want::read;
          }}};
  start(store());
  run(context);
  expect_given_up(1);
}

TEST_F(TlsOp, CompletesWithTheErrorOfTheWait) {
  told = {tls_want::read, {wants(tls_want::nothing)}};
  support::loopback_pair::socket closed(context);
  start_on(closed, store());
  EXPECT_FALSE(result);
  run(context);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->ec, asio::error::bad_descriptor);
  EXPECT_EQ(told.steps_made, 0U);
  EXPECT_EQ(told.given_up, 1);
}

TEST_F(TlsOp, StepsAndCompletesOnTheHandlersExecutor) {
  int steps_there = 0;
  const script::step there = [&](int, asio::error_code&) {
    steps_there += other.get_executor().running_in_this_thread() ? 1 : 0;
    return tls_want::nothing;
  };
  for (const tls_want first : {tls_want::nothing, tls_want::write}) {
    told = {first, {there}};
    result.reset();
    bool completed_there = false;
    start(asio::bind_executor(other.get_executor(), [&](asio::error_code ec, std::size_t steps) {
      completed_there = other.get_executor().running_in_this_thread();
      store()(ec, steps);
    }));
    run(context);
    EXPECT_FALSE(result);
    run(other);
    EXPECT_TRUE(result);
    EXPECT_TRUE(completed_there);
  }
  EXPECT_EQ(steps_there, 1) << "but for the first one, which is made where it is asked for";
  EXPECT_EQ((initiate_tls<support::loopback_pair::socket>{&pair.near, &engine}.get_executor()), context.get_executor());
}

TEST_F(TlsOp, TakesItsStateFromTheHandlersAllocator) {
  for (const tls_want first : {tls_want::nothing, tls_want::read}) {
    told = {first, {wants(tls_want::nothing)}};
    result.reset();
    start(bind_pool(pool, store()));
    EXPECT_EQ(pool.stats().in_use, 1U);
    far_sends("1");
    run(context);
    EXPECT_TRUE(result);
    EXPECT_EQ(pool.stats().in_use, 0U);
  }
}

TEST_F(TlsOp, DiesWithItsContext) {
  told = {tls_want::read, {}};
  {
    asio::io_context own;
    support::loopback_pair mine(own);
    start_on(mine.near, bind_pool(pool, [](asio::error_code, std::size_t) { FAIL() << "nobody runs the context"; }));
    EXPECT_EQ(pool.stats().in_use, 1U);
  }
  EXPECT_EQ(pool.stats().in_use, 0U);
  EXPECT_EQ(told.given_up, 0);
}

}  // namespace
}  // namespace slabbuf::net::detail
