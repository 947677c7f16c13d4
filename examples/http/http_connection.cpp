// SPDX-License-Identifier: MIT
#include "http/http_connection.hpp"

#include "http/http_connection_body.hpp"
#include "http/http_connection_receive.hpp"
#include "http/http_connection_send.hpp"

namespace slabbuf::examples {

template class http_connection<tcp_connection>;
template class http_connection<tls_socket>;

}  // namespace slabbuf::examples
