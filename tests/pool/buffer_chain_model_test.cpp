// SPDX-License-Identifier: MIT
// Everything that can be done to a chain, at random, beside a string: both always say the same.
#include <slabbuf/pool/buffer_chain.hpp>

#include "support/both_pools.hpp"
#include "support/chain_expectations.hpp"
#include "support/seeded_random.hpp"
#include "support/zeros.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slabbuf {
namespace {

using support::bytes;
using support::bytes_of;
using support::expect_shows;
using support::fill;
using support::is_zero;
using support::seeded_random;
using support::with_zeroing;

// Two chains and the strings they should show; everything that can be done to them, at random, in a pool whose fresh
// buffers must be zero throughout.
template <class Pool>
class model {
 public:
  model(const pool_options& options, std::uint64_t seed) : random_(seed), pool_(options) {}

  void run(int steps) {
    for (int each = 0; each < steps; ++each) {
      step();
      ASSERT_NO_FATAL_FAILURE(expect_shows(chain_[0], text_[0])) << "step " << each;
      ASSERT_NO_FATAL_FAILURE(expect_shows(chain_[1], text_[1])) << "step " << each;
      if (random_.one_in(100)) {
        ASSERT_TRUE(pool_.check_invariants());
        std::swap(chain_[0], chain_[1]);
        std::swap(text_[0], text_[1]);
      }
    }
    chain_[0].clear();
    chain_[1].clear();
    kept_.clear();
    EXPECT_EQ(pool_.stats().in_use, 0U);
    EXPECT_TRUE(pool_.check_invariants());
    EXPECT_EQ(dirty_count_, 0U);
  }

 private:
  std::string random_text() {
    std::string made(random_.one_in(8) ? random_.between(0, 1) : random_.magnitude(random_.one_in(50) ? 16 : 8), ' ');
    for (char& each : made) each = static_cast<char>('a' + random_.between(0, 25));
    return made;
  }

  buffer fresh(const std::string& what) {
    buffer made = pool_.acquire(what.size());
    dirty_count_ += is_zero(made.prepare()) ? 0U : 1U;
    made.commit(made.size());
    std::memcpy(made.data(), what.data(), what.size());
    return made;
  }

  void step() {
    const std::size_t which = random_.between(0, 1);
    buffer_chain& chain = chain_[which];
    std::string& text = text_[which];
    buffer_chain& other = chain_[1 - which];
    std::string& other_text = text_[1 - which];
    const std::size_t count = random_.between(0, text.size());
    const std::string added = random_text();
    // Long ones take long to compare.
    switch (random_.between(0, text.size() > 20'000 ? 6 : 21)) {
      case 0:
      case 1:
        chain.consume(count);
        text.erase(0, count);
        break;
      case 2:
        chain.trim(count);
        text.resize(count);
        break;
      case 3:
        chain.clear();
        text.clear();
        break;
      case 4:
        other = chain.split(count);
        other_text = text.substr(0, count);
        text.erase(0, count);
        break;
      case 5: {
        buffer_chain front = chain.split(count);
        front.append(std::move(chain));
        chain = std::move(front);
        break;
      }
      case 6: {
        std::string out(count, ' ');
        const std::size_t position = random_.between(0, text.size() - count);
        chain.copy_out(std::as_writable_bytes(std::span(out)), position);
        ASSERT_EQ(out, text.substr(position, count));
        break;
      }
      case 7:
      case 8:
        chain.append(fresh(added));
        text += added;
        break;
      case 9:
        chain.prepend(fresh(added));
        text = added + text;
        break;
      case 10:
        chain.append_copy(pool_, bytes(added));
        text += added;
        break;
      case 11:
        chain.append(std::move(other));
        text += other_text;
        other_text.clear();
        break;
      case 12:
        chain.prepend(std::move(other));
        text = other_text + text;
        other_text.clear();
        break;
      case 13: {
        const std::size_t position = random_.between(0, text.size() - count);
        other = chain.share(position, count);
        other_text = text.substr(position, count);
        break;
      }
      case 14: {
        const std::size_t position = random_.between(0, text.size() - count);
        other.append(chain.share(position, count));
        other_text += text.substr(position, count);
        break;
      }
      case 15: {
        const std::span<const std::byte> front = chain.coalesce(count);
        ASSERT_EQ(std::string_view(reinterpret_cast<const char*>(front.data()), front.size()), text.substr(0, count));
        break;
      }
      case 16: {
        shared_slice slice(fresh(added));
        const std::size_t position = random_.between(0, slice.size());
        const std::size_t length = random_.between(0, slice.size() - position);
        kept_.push_back(slice.share());
        if (random_.one_in(2)) {
          chain.append(slice.share(position, length));
          text += added.substr(position, length);
        } else {
          chain.prepend(slice.share(position, length));
          text = added.substr(position, length) + text;
        }
        if (kept_.size() > 20) kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(random_.between(0, 20)));
        break;
      }
      case 17:
      case 18: {
        const std::size_t committed = random_.between(0, added.size());
        chain.prepare(pool_, added.size());
        ASSERT_EQ(bytes_of(chain.prepared()), added.size());
        fill(chain.prepared(), added.substr(0, committed));
        if (random_.one_in(3)) {
          chain.consume(count);
          text.erase(0, count);
        }
        chain.commit(committed);
        text += added.substr(0, committed);
        break;
      }
      case 19:
        fill(chain.prepare(pool_, added.size()), added);  // and something else comes instead of commit()
        break;
      case 20: {
        buffer_chain moved = std::move(chain);
        chain = std::move(moved);
        break;
      }
      default: {
        const buffer probe = fresh(added);
        const pool_stats now = pool_.stats();
        ASSERT_GE(now.in_use, 1U);
      }
    }
  }

  seeded_random random_;
  Pool pool_;
  buffer_chain chain_[2];
  std::string text_[2];
  std::vector<shared_slice> kept_;
  std::uint64_t dirty_count_ = 0;
};

template <class Pool>
class buffer_chain_model_test : public ::testing::Test {};
TYPED_TEST_SUITE(buffer_chain_model_test, support::both_pools, support::pool_name);

TYPED_TEST(buffer_chain_model_test, ShowsWhatAStringWouldShow) {
  std::uint64_t seed = 309;
  for (const zeroing policy : {zeroing::whole_block, zeroing::dirty_extent}) {
    for (const hardening level : {hardening::off, hardening::full}) {
      pool_options options = with_zeroing(policy);
      options.harden = level;
      options.sample_period = level == hardening::off ? 0 : 5;
      ASSERT_NO_FATAL_FAILURE(model<TypeParam>(options, ++seed).run(5000));
    }
  }
  pool_options odd;
  odd.size_classes = {1, 3, 7, 100, 1000};
  ASSERT_NO_FATAL_FAILURE(model<TypeParam>(odd, ++seed).run(5000));
}

}  // namespace
}  // namespace slabbuf
