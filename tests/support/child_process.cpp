// SPDX-License-Identifier: MIT
#include "support/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "support/process_end.hpp"

namespace slabbuf::support {
namespace {

void check(bool success, const char* what) {
  if (!success) throw std::system_error(errno, std::generic_category(), what);
}

// Standard error goes to a file without a name: a pipe nobody reads would block the child.
int unnamed_file() {
  const int file = ::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  check(file >= 0, "open");
  return file;
}

}  // namespace

child_process::child_process(const std::vector<std::string>& arguments, std::optional<limited> resource) {
  std::array<int, 2> output{};
  check(::pipe2(output.data(), O_CLOEXEC) == 0, "pipe2");
  output_ = output[0];
  error_ = unnamed_file();
  std::vector<char*> pointers;
  for (const std::string& each : arguments) pointers.push_back(const_cast<char*>(each.c_str()));
  pointers.push_back(nullptr);

  id_ = ::fork();
  check(id_ >= 0, "fork");
  if (id_ == 0) {
    // Only calls that are safe between fork and exec.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (resource) {
      const ::rlimit most{resource->most, resource->most};
      ::setrlimit(static_cast<__rlimit_resource>(resource->resource), &most);
    }
    ::dup2(output[1], STDOUT_FILENO);
    ::dup2(error_, STDERR_FILENO);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  ::close(output[1]);
}

child_process::~child_process() {
  if (id_ > 0) {
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
  }
  ::close(output_);
  ::close(error_);
}

std::string child_process::read_line() {
  for (;;) {
    if (const std::size_t end = unread_.find('\n'); end != std::string::npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    ::pollfd readable{output_, POLLIN, 0};
    const int ready = ::poll(&readable, 1, static_cast<int>(std::chrono::milliseconds(limit).count()));
    if (ready == 0) throw std::runtime_error("no line from the child");
    std::array<char, 4096> chunk{};
    const ::ssize_t count = ::read(output_, chunk.data(), chunk.size());
    if (count <= 0) return std::exchange(unread_, {});
    unread_.append(chunk.data(), static_cast<std::size_t>(count));
  }
}

void child_process::signal(int number) const { ::kill(id_, number); }

int child_process::wait() {
  const std::optional<int> status = status_at_end(id_, limit);
  if (!status) throw std::runtime_error("the child does not end");
  id_ = -1;
  return WIFEXITED(*status) ? WEXITSTATUS(*status) : -WTERMSIG(*status);
}

std::string child_process::standard_error() {
  std::string all;
  std::array<char, 4096> chunk{};
  // Where the file is read from is the child's, too: it writes there.
  for (::ssize_t count = 0;
       (count = ::pread(error_, chunk.data(), chunk.size(), static_cast<::off_t>(all.size()))) > 0;)
    all.append(chunk.data(), static_cast<std::size_t>(count));
  return all;
}

}  // namespace slabbuf::support
