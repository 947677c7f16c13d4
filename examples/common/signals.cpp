// SPDX-License-Identifier: MIT
#include "common/signals.hpp"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

namespace slabbuf::examples {
namespace {

int open_blocked(std::initializer_list<int> numbers) {
  ::sigset_t set;
  ::sigemptyset(&set);
  for (const int each : numbers) ::sigaddset(&set, each);
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &set, nullptr))
    throw std::system_error(error, std::system_category(), "cannot block signals");
  const int descriptor = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (descriptor < 0) throw std::system_error(errno, std::system_category(), "cannot receive signals");
  return descriptor;
}

}  // namespace

signals::signals(asio::io_context& context, std::initializer_list<int> numbers, std::function<void(int)> on_signal)
    : descriptor_(context, open_blocked(numbers)), on_signal_(std::move(on_signal)) {
  wait();
}

void signals::wait() {
  descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code ec) {
    if (ec) return;
    read_all();
    wait();
  });
}

void signals::read_all() {
  ::signalfd_siginfo one{};
  while (::read(descriptor_.native_handle(), &one, sizeof one) == static_cast<::ssize_t>(sizeof one))
    on_signal_(static_cast<int>(one.ssi_signo));
}

}  // namespace slabbuf::examples
