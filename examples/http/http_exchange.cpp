// SPDX-License-Identifier: MIT
#include "http/http_exchange.hpp"

#include <spdlog/spdlog.h>

#include <new>

namespace slabbuf::examples {

void http_exchange::respond(http_exchange_ptr self, const std::exception_ptr& fault) {
  self->response().fields.clear();
  try {
    std::rethrow_exception(fault);
  } catch (const std::bad_alloc&) {
    respond(std::move(self), 503, "there is no memory for this");
  } catch (const std::exception& known) {
    spdlog::error("a request failed: {}", known.what());
    respond(std::move(self), 500, "this could not be done");
  }
}

}  // namespace slabbuf::examples
