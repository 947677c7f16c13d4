// SPDX-License-Identifier: MIT
// Reads itself through a ring, as a program does that is built outside the tree.
#include <asio/io_context.hpp>
#include <asio/random_access_file.hpp>
#include <slabbuf/net/net.hpp>

#include <cstdio>
#include <exception>

int main(int, char** arguments) try {
  slabbuf::net::registered_pool pool(1 << 20);
  asio::io_context context;
  pool.register_with(context);
  asio::random_access_file file(context, arguments[0], asio::random_access_file::read_only);
  int result = 1;
  slabbuf::net::async_read_some_at(file, 1, pool, [&](asio::error_code ec, slabbuf::buffer bytes) {
    if (!ec && bytes.size() > 2 && static_cast<char>(bytes.data()[0]) == 'E') result = 0;  // of ELF
  });
  context.run();
#if defined(ASIO_HAS_EPOLL)
  std::puts("files on a ring, sockets on epoll");
#else
  std::puts("everything on a ring");
#endif
  return result;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
