// SPDX-License-Identifier: MIT
// Waits for readiness without a system call each: an epoll set of our own, level-triggered, in which a descriptor stays
// from its first wait on, and which Asio watches as one descriptor.
// Threads: any; for one descriptor, one at a time. The handlers of a turn run one after the other.
// Lifetime: the io_context's. Waits that are under way when it ends are destroyed.
//
//     Asio's set --readable--> a turn: epoll_wait(0) on ours --> the handlers of up to 128 events --> Asio watches
//     again
//     a wait ends without being ready (cancelled, closed) --> the bell, an eventfd in ours --> a turn
//
// Asio's set is edge-triggered: it asks the system anew for each wait (epoll_ctl), because bytes may have come before.
// Here the system is asked when a descriptor comes in, and when an event finds nobody waiting: then it goes out, until
// somebody waits again. What Asio does is done once a turn, an epoll_ctl and an epoll_wait for all of its connections.
#pragma once

#include <slabbuf/net/detail/epoll_wait.hpp>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/basic_stream_descriptor.hpp>
#include <asio/posix/descriptor_base.hpp>
#include <asio/post.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <system_error>
#include <type_traits>
#include <utility>

namespace slabbuf::net::detail {

enum class readiness : std::uint8_t { read, write };

class epoll_service : public asio::execution_context::service {
 public:
  using key_type = epoll_service;
  static inline asio::execution_context::id id;

  /// For asio::use_service(). Throws std::system_error when the system has no descriptor left.
  explicit epoll_service(asio::io_context& context) : asio::execution_context::service(context), context_(context) {
    make_set();
  }

  asio::io_context& context() const noexcept { return context_; }

  /// Takes note of an open, non-blocking descriptor, which stays the caller's. Throws std::bad_alloc.
  epoll_entry& add(int descriptor) {
    const std::lock_guard lock(mutex_);
    epoll_entry* const added = free_ != nullptr ? free_ : &entries_.emplace_back();
    free_ = added->next_free;
    added->descriptor = descriptor;
    return *added;
  }

  /// Ends its waits (operation_aborted). Comes before the descriptor is closed: the set would keep it where a copy
  /// lives on, in another process perhaps.
  void remove(epoll_entry& leaving) noexcept {
    const std::lock_guard lock(mutex_);
    abort_all(leaving);
    ask_for(leaving, 0);
    leaving.descriptor = -1;
    leaving.next_free = std::exchange(free_, &leaving);
  }

  /// Ends its waits (operation_aborted).
  void cancel(epoll_entry& entry) noexcept {
    const std::lock_guard lock(mutex_);
    abort_all(entry);
  }

  /// Calls handler(error_code) when the descriptor is ready or in error: a hint, as with Asio. Never from in here.
  /// Takes notice of every type of cancellation. Errors: operation_aborted, and what epoll_ctl says (ENOSPC, ENOMEM).
  template <class Handler>
  void async_wait(epoll_entry& entry, readiness what, Handler&& handler) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    epoll_wait& wait = make_epoll_wait(std::forward<Handler>(handler), context_.get_executor(), entry);
    if (slot.is_connected()) {
      try {
        // It stays there when the wait has ended, as Asio's do: the slot is the handler's, on whatever thread that is.
        slot.template emplace<canceller>(*this, entry, what, wait.number);
      } catch (...) {
        wait.destroy();
        throw;
      }
    }
    start(entry, what, wait);
  }

 private:
  enum class state : std::uint8_t {
    idle,      // nobody waits
    armed,     // Asio watches the set
    called,    // a turn has been asked for
    turn,      // under way; it sees to the next one
    shut_down  // nothing begins any more
  };

  using watch = asio::posix::basic_stream_descriptor<asio::io_context::executor_type>;

  // As many events as Asio takes at a time.
  static constexpr int events_max = 128;

  class canceller {
   public:
    canceller(epoll_service& service, epoll_entry& entry, readiness what, std::uint64_t number) noexcept
        : service_(&service), entry_(&entry), number_(number), what_(what) {}
    void operator()(asio::cancellation_type type) const noexcept {
      if (type != asio::cancellation_type::none) service_->cancel(*entry_, what_, number_);
    }

   private:
    epoll_service* service_;
    epoll_entry* entry_;
    std::uint64_t number_;
    readiness what_;
  };

  class descriptor_owner {
   public:
    explicit descriptor_owner(int owned = -1) noexcept : owned_(owned) {}
    descriptor_owner(const descriptor_owner&) = delete;
    descriptor_owner& operator=(descriptor_owner&& other) noexcept {
      std::swap(owned_, other.owned_);
      return *this;
    }
    ~descriptor_owner() {
      if (owned_ >= 0) ::close(owned_);
    }

    int get() const noexcept { return owned_; }
    int release() noexcept { return std::exchange(owned_, -1); }

   private:
    int owned_;
  };

  // Memory of the one operation that brings the next turn: to wait again must not fail.
  struct turn_memory {
    alignas(std::max_align_t) std::byte bytes[256];
    bool taken = false;
  };
  template <class T>
  struct turn_allocator {
    using value_type = T;
    explicit turn_allocator(turn_memory& its) noexcept : memory(&its) {}
    template <class U>
    turn_allocator(const turn_allocator<U>& other) noexcept : memory(other.memory) {}
    T* allocate(std::size_t count) {
      if (memory->taken || count * sizeof(T) > sizeof memory->bytes) return std::allocator<T>().allocate(count);
      memory->taken = true;
      return reinterpret_cast<T*>(memory->bytes);
    }
    void deallocate(T* freed, std::size_t count) noexcept {
      if (reinterpret_cast<std::byte*>(freed) != memory->bytes) return std::allocator<T>().deallocate(freed, count);
      memory->taken = false;
    }
    template <class U>
    bool operator==(const turn_allocator<U>& other) const noexcept {
      return memory == other.memory;
    }
    turn_memory* memory;
  };
  struct take_turn {
    using allocator_type = turn_allocator<void>;
    allocator_type get_allocator() const noexcept { return allocator_type(service->memory_); }
    void operator()() const { service->turn(); }
    void operator()(const asio::error_code&) const { service->turn(); }  // watched, or called
    epoll_service* service;
  };

  // The end of a turn, however its handlers end.
  class turn_end {
   public:
    explicit turn_end(epoll_service& service) noexcept
        : service_(service), outer_(std::exchange(of_this_thread_, &service)) {}
    turn_end(const turn_end&) = delete;
    turn_end& operator=(const turn_end&) = delete;
    ~turn_end() {
      of_this_thread_ = outer_;
      const std::lock_guard lock(service_.mutex_);
      service_.state_ = state::idle;
      service_.waits_ += std::exchange(service_.turn_waits_, 0);
      // Those left are there because a handler has thrown.
      if (!service_.ready_.empty() || !service_.settled_.empty()) {
        service_.call();
      } else if (service_.waits_ != 0) {
        service_.arm();
      }
    }

   private:
    epoll_service& service_;
    epoll_service* outer_;  // a handler may run another io_context
  };

  void turn() {
    const turn_end end(*this);
    {
      const std::lock_guard lock(mutex_);
      state_ = state::turn;
      harvest();  // in turns that were called for, too: else a chain of cancellations would keep everybody waiting
      while (!settled_.empty()) ready_.push(settled_.pop());
    }
    while (!ready_.empty()) ready_.pop().complete();
  }

  void start(epoll_entry& entry, readiness what, epoll_wait& wait) {
    // From a handler of a turn, as nearly always: the entry is this thread's, and the end of the turn does the rest.
    if (of_this_thread_ == this && entry.descriptor >= 0 && (entry.interest & EPOLLET) == 0 &&
        ask_for(entry, entry.interest | bit_of(what)) == 0) {
      waits_of(entry, what).push(wait);
      ++turn_waits_;
      return;
    }
    std::unique_lock lock(mutex_);
    if (state_ == state::shut_down) {
      lock.unlock();
      return wait.destroy();
    }
    const int error = entry.descriptor < 0 ? EBADF : ask_for(entry, entry.interest | bit_of(what));
    if (error != 0) return settle(wait, error);
    if ((entry.interest & EPOLLET) != 0 && is_ready(entry, what)) return settle(wait, 0);
    waits_of(entry, what).push(wait);
    ++waits_;
    if (state_ == state::idle) arm();
  }

  void cancel(epoll_entry& entry, readiness what, std::uint64_t number) noexcept {
    const std::lock_guard lock(mutex_);
    epoll_wait* const wait = waits_of(entry, what).remove(number);
    if (wait == nullptr) return;  // it has ended already
    --waits_;
    settle(*wait, ECANCELED);
  }

  // From here on, with the mutex.

  void abort_all(epoll_entry& entry) noexcept {
    entry.cancellations.fetch_add(1, std::memory_order_release);  // for those that have been found ready
    for (epoll_wait_list& waits : entry.waits) {
      while (!waits.empty()) {
        --waits_;
        settle(waits.pop(), ECANCELED);
      }
    }
  }

  // Ends with an error, in a turn to come.
  void settle(epoll_wait& wait, int error) noexcept {
    wait.error = error;
    settled_.push(wait);
    call();
  }

  void arm() noexcept {
    state_ = state::armed;
    watch_->async_wait(asio::posix::descriptor_base::wait_read, take_turn{this});
  }

  void call() noexcept {
    if (state_ == state::armed) {
      // Makes the set readable. To cancel the watch instead would be one descriptor less, but over io_uring Asio's
      // cancellations can end an operation of somebody else (net/README.md, io_uring).
      ::eventfd_write(bell_.get(), 1);
      state_ = state::called;
    } else if (state_ == state::idle) {
      asio::post(context_, take_turn{this});
      state_ = state::called;
    }
  }

  // What is ready, without waiting for it.
  void harvest() noexcept {
    ::epoll_event events[events_max];
    const int count = ::epoll_wait(set_, events, events_max, 0);
    for (const ::epoll_event& each : std::span(events, static_cast<std::size_t>(count < 0 ? 0 : count))) {
      if (each.data.ptr == nullptr) continue;  // the bell: edges, which need not be read
      auto& entry = *static_cast<epoll_entry*>(each.data.ptr);
      const bool is_broken = (each.events & (EPOLLERR | EPOLLHUP)) != 0;
      std::uint32_t unwaited = 0;
      for (const readiness what : {readiness::read, readiness::write}) {
        if (!is_broken && (each.events & bit_of(what)) == 0) continue;
        epoll_wait_list& waits = waits_of(entry, what);
        if (waits.empty()) unwaited |= bit_of(what);
        for (; !waits.empty(); --waits_) ready_.push(waits.pop());
      }
      // A level that nobody looks at would be told again and again; and so would an error that reading does not take
      // away, which is that of messages in the error queue (SO_TIMESTAMPING, MSG_ZEROCOPY): from there on the set tells
      // edges.
      if ((each.events & (EPOLLERR | EPOLLHUP | EPOLLIN)) == EPOLLERR) ask_for(entry, entry.interest | EPOLLET);
      if ((entry.interest & EPOLLET) == 0) ask_for(entry, entry.interest & ~unwaited);
    }
  }

  // Of a descriptor whose edges are told: its level may have been there before.
  static bool is_ready(const epoll_entry& entry, readiness what) noexcept {
    const short wanted = what == readiness::read ? POLLIN : POLLOUT;
    ::pollfd asked{entry.descriptor, wanted, 0};
    return ::poll(&asked, 1, 0) == 1 && (asked.revents & (wanted | POLLHUP)) != 0;
  }

  // 0, or an error number.
  int ask_for(epoll_entry& entry, std::uint32_t interest) noexcept {
    if (interest == entry.interest) return 0;
    ::epoll_event event{};
    event.events = interest;
    event.data.ptr = &entry;
    const int action = entry.interest == 0 ? EPOLL_CTL_ADD : interest == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (::epoll_ctl(set_, action, entry.descriptor, &event) != 0 && action != EPOLL_CTL_DEL) return errno;
    entry.interest = interest;
    return 0;
  }

  void make_set() {
    descriptor_owner made(::epoll_create1(EPOLL_CLOEXEC));
    if (made.get() < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
    descriptor_owner bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (bell.get() < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    ::epoll_event rings{};
    rings.events = EPOLLIN | EPOLLET;
    if (::epoll_ctl(made.get(), EPOLL_CTL_ADD, bell.get(), &rings) != 0)
      throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    std::optional<watch> watching(std::in_place, context_, made.get());
    set_ = made.release();
    watch_ = std::move(watching);
    bell_ = std::move(bell);
  }

  static std::uint32_t bit_of(readiness what) noexcept { return what == readiness::read ? EPOLLIN : EPOLLOUT; }
  static epoll_wait_list& waits_of(epoll_entry& entry, readiness what) noexcept {
    return entry.waits[static_cast<std::size_t>(what)];
  }

  // asio::execution_context::service's.

  void shutdown() noexcept override {
    epoll_wait_queue dying;
    {
      const std::lock_guard lock(mutex_);
      for (epoll_entry& each : entries_) {
        for (epoll_wait_list& waits : each.waits) {
          while (!waits.empty()) dying.push(waits.pop());
        }
        each.interest = 0;
      }
      while (!ready_.empty()) dying.push(ready_.pop());
      while (!settled_.empty()) dying.push(settled_.pop());
      state_ = state::shut_down;
      watch_.reset();
    }
    // Sockets go with the handlers that own them, and come back to remove().
    while (!dying.empty()) dying.pop().destroy();
  }

  // The set is the parent's, too: a child needs one of its own. Throws std::system_error when the system has no
  // descriptor left; nothing has changed then.
  void notify_fork(asio::execution_context::fork_event event) override {
    if (event != asio::execution_context::fork_child) return;
    const std::lock_guard lock(mutex_);
    // Ends Asio's wait for the old one, which brings a turn; not where Asio waits in an io_uring (net/README.md).
    make_set();
    if (state_ == state::armed) state_ = state::called;
    for (epoll_entry& each : entries_) {
      const int error = ask_for(each, std::exchange(each.interest, 0));
      if (error == 0) continue;
      for (epoll_wait_list& waits : each.waits) {
        for (; !waits.empty(); --waits_) settle(waits.pop(), error);
      }
    }
  }

  static inline thread_local epoll_service* of_this_thread_ = nullptr;  // whose turn it takes

  asio::io_context& context_;
  std::mutex mutex_;
  int set_ = -1;
  std::optional<watch> watch_;  // owns the set
  descriptor_owner bell_;       // in the set: rung to have a turn at once
  turn_memory memory_;
  std::deque<epoll_entry> entries_;  // which stay where they are
  epoll_entry* free_ = nullptr;
  epoll_wait_queue ready_;      // the turn's alone
  epoll_wait_queue settled_;    // ended without being ready
  std::size_t waits_ = 0;       // in entries, together with
  std::size_t turn_waits_ = 0;  // those that the turn under way has begun: its thread's alone
  state state_ = state::idle;
};

}  // namespace slabbuf::net::detail
