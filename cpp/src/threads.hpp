// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "warpfactor/types.hpp"

namespace warpfactor {

/// For a loop that waits for another thread: leaves resources to the core's other hardware thread.
inline void pause_briefly() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#endif
}

/// Threads for one call of the library. The calling thread is number 0 and works too.
class ThreadTeam {
 public:
  using Task = std::function<void(std::int64_t task, int thread)>;

  explicit ThreadTeam(int n_threads, std::function<bool()> interrupted = {}) : interrupted_(std::move(interrupted)) {
    workers_.reserve(static_cast<std::size_t>(n_threads - 1));
    try {
      for (int t = 1; t < n_threads; ++t) workers_.emplace_back([this, t] { serve(t); });
    } catch (const std::system_error&) {
      // The system grants no more threads; those that it granted do the work.
    } catch (...) {
      end();  // out of memory: a thread that is not joined would end the process
      throw;
    }
  }
  ~ThreadTeam() { end(); }
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  [[nodiscard]] int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Runs task(0) .. task(n_tasks - 1), each on whichever thread is free, begun in that order. Throws what a task
  /// threw, or Interrupted; tasks not yet begun are then dropped. Without `may_share`, all run on the calling thread.
  void run(std::int64_t n_tasks, const Task& task, bool may_share = true) {
    if (n_tasks <= 0) return;
    stop_.store(false, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    n_tasks_ = n_tasks;
    task_ = &task;
    failure_ = nullptr;
    const bool shared = may_share && !workers_.empty() && n_tasks > 1;
    if (shared) {
      const std::lock_guard lock(mutex_);
      busy_ = static_cast<int>(workers_.size());
      ++round_;
      wake_.notify_all();
    }
    take_tasks(0);
    if (shared) {
      spin_until([this] { return busy_ == 0; });
      std::unique_lock lock(mutex_);
      while (!done_.wait_for(lock, std::chrono::milliseconds(20), [this] { return busy_ == 0; })) {
        lock.unlock();
        poll(0);
        lock.lock();
      }
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  /// Calls f(begin, end, thread) for slices of 0 .. n - 1. The slices depend on n alone, so that sums taken slice by
  /// slice have the same bits for any number of threads.
  template <class F>
  void run_slices(std::int64_t n, const F& f, std::int64_t slice = kSlice) {
    run((n + slice - 1) / slice,
        [&](std::int64_t task, int thread) { f(task * slice, std::min(n, (task + 1) * slice), thread); });
  }
  static constexpr std::int64_t kSlice = 1 << 16;  ///< not measured

  /// A long task calls this now and then. True: it must return at once.
  bool poll(int thread) {
    if (thread == 0 && interrupted_ && !stop_.load(std::memory_order_relaxed)) {
      const auto now = std::chrono::steady_clock::now();
      if (now - last_poll_ >= std::chrono::milliseconds(50)) {
        last_poll_ = now;
        try {
          if (interrupted_()) throw Interrupted();
        } catch (...) {
          fail();
        }
      }
    }
    return stop_.load(std::memory_order_relaxed);
  }

 private:
  void serve(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      spin_until([&] { return ending_ || round_ != seen; });
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return ending_ || round_ != seen; });
        if (ending_) return;
        seen = round_;
      }
      take_tasks(thread);
      const std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  /// Spins for a few microseconds before a wait that the system has to end, because short runs follow each other
  /// closely.
  template <class Condition>
  static void spin_until(const Condition& condition) {
    for (int n = 0; n < 500 && !condition(); ++n) pause_briefly();
  }

  void take_tasks(int thread) {
    while (!poll(thread)) {
      const std::int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= n_tasks_) return;
      try {
        (*task_)(task, thread);
      } catch (...) {
        fail();
      }
    }
  }

  void fail() {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
    stop_.store(true, std::memory_order_relaxed);
  }

  void end() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  std::function<bool()> interrupted_;
  std::chrono::steady_clock::time_point last_poll_ = std::chrono::steady_clock::now();
  std::atomic<std::int64_t> next_{0};
  std::atomic<bool> stop_{false};
  std::int64_t n_tasks_ = 0;
  const Task* task_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<std::uint64_t> round_{0};  // these three are written under the mutex and also read without it
  std::atomic<int> busy_{0};
  std::atomic<bool> ending_{false};
  std::exception_ptr failure_;
  std::vector<std::thread> workers_;  // last: the threads use the members above
};

/// The team's size for a parameter n_threads (0: all available), at most `n_tasks`.
int team_size(std::int32_t n_threads, std::int64_t n_tasks);

}  // namespace warpfactor
