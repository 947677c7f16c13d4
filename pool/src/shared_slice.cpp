// SPDX-License-Identifier: MIT
#include <slabbuf/pool/shared_slice.hpp>

#include <cstring>

namespace slabbuf {

shared_slice buffer::share() & { return share(0, size_); }

shared_slice buffer::share() && noexcept { return shared_slice(std::move(*this)); }

shared_slice buffer::share(std::size_t position, std::size_t count) & {
  if (position > size_ || count > size_ - position) detail::throw_beyond("buffer::share", position, count, size_);
  if (count == 0) return {};
  detail::block_part owner = part();
  const detail::block_part added = owner.share(static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(count));
  home_ = owner.home;
  return shared_slice(added);
}

shared_slice::shared_slice(buffer&& from) noexcept {
  if (from.empty()) {
    from.release();
  } else {
    part_ = from.part();
    from.forget();
  }
}

shared_slice shared_slice::share(std::size_t position, std::size_t count) {
  if (position > size() || count > size() - position)
    detail::throw_beyond("shared_slice::share", position, count, size());
  if (count == 0) return {};
  return shared_slice(part_.share(static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(count)));
}

shared_slice shared_slice::clone() const {
  if (empty()) return {};
  detail::block_part copy = detail::block_part::take(part_.pool(), size());
  std::memcpy(copy.block, data(), size());
  copy.extend(part_.length);
  if ((part_.home & detail::secret_tag) != 0) copy.clear_on_release();
  return shared_slice(copy);
}

bool shared_slice::compact() {
  if (empty()) return false;
  const size_class_table& classes = part_.pool().size_classes();
  const std::size_t index = classes.find(size());
  // Above the largest class, blocks are made to measure, in pages.
  const std::size_t page = page_size();
  const std::size_t fits = index != size_class_table::npos ? classes.size_of(index) : (size() + page - 1) / page * page;
  if (fits >= part_.capacity) return false;
  *this = clone();
  return true;
}

}  // namespace slabbuf
