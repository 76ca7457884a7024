// SPDX-License-Identifier: Apache-2.0
// The thread team, and how many threads there may be.
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "check.hpp"
#include "threads.hpp"
#include "warpfactor/runtime.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace {

using namespace warpfactor;

void check_works(ThreadTeam& team) {
  for (const std::int64_t n : {0, 1, 2, 1000}) {
    std::vector<std::atomic<int>> times(static_cast<std::size_t>(n));
    std::atomic<bool> known_thread{true};
    team.run(n, [&](std::int64_t task, int thread) {
      if (thread < 0 || thread >= team.size()) known_thread = false;
      ++times[static_cast<std::size_t>(task)];
    });
    CHECK(known_thread);
    for (const auto& t : times) CHECK_EQ(t.load(), 1);
  }
}

TEST(every_task_runs_once) {
  for (const int size : {1, 2, 3, 8}) {
    ThreadTeam team(size);
    CHECK_EQ(team.size(), size);
    for (int repeat = 0; repeat < 20; ++repeat) check_works(team);
  }
}

TEST(slices_cover_the_range_and_do_not_depend_on_the_team) {
  for (const std::int64_t n : {0, 1, 9, 10, 11, 999}) {
    std::set<std::pair<std::int64_t, std::int64_t>> expected;
    for (std::int64_t begin = 0; begin < n; begin += 10)
      expected.insert({begin, std::min<std::int64_t>(n, begin + 10)});
    for (const int size : {1, 3}) {
      ThreadTeam team(size);
      std::set<std::pair<std::int64_t, std::int64_t>> slices;
      std::mutex mutex;
      team.run_slices(
          n,
          [&](std::int64_t begin, std::int64_t end, int) {
            const std::lock_guard lock(mutex);
            slices.insert({begin, end});
          },
          10);
      CHECK(slices == expected);
    }
  }
}

TEST(what_a_task_throws_reaches_the_caller_and_the_team_works_again) {
  for (const int size : {1, 2, 4}) {
    ThreadTeam team(size);
    for (const std::int64_t bad : {0, 1, 57, 999}) {
      CHECK_THROWS(std::out_of_range, "task", team.run(1000, [&](std::int64_t task, int) {
        if (task == bad) throw std::out_of_range("task");
      }));
      check_works(team);
    }
    CHECK_THROWS(std::out_of_range, "all", team.run(1000, [](std::int64_t, int) { throw std::out_of_range("all"); }));
    check_works(team);
  }
}

TEST(a_failure_leaves_out_the_tasks_not_yet_begun) {
  ThreadTeam team(1);
  int ran = 0;
  CHECK_THROWS(std::runtime_error, "third", team.run(100, [&](std::int64_t task, int) {
    ++ran;
    if (task == 2) throw std::runtime_error("third");
  }));
  CHECK_EQ(ran, 3);
}

TEST(an_interrupt_ends_long_tasks_of_all_threads_soon) {
  for (const int size : {1, 2, 4}) {
    std::atomic<bool> pressed{false};
    ThreadTeam team(size, [&] { return pressed.load(); });
    check_works(team);
    pressed = true;
    const auto start = std::chrono::steady_clock::now();
    CHECK_THROWS(Interrupted, "interrupted", team.run(size, [&](std::int64_t, int thread) {
      while (!team.poll(thread)) std::this_thread::yield();  // as a task would that takes hours
    }));
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
    pressed = false;
    check_works(team);
  }
}

TEST(an_interrupt_is_seen_while_the_caller_only_waits) {
  bool asked_by_caller = false;
  const std::thread::id caller = std::this_thread::get_id();
  ThreadTeam team(2, [&] {
    CHECK(std::this_thread::get_id() == caller);
    asked_by_caller = true;
    return true;
  });
  // One of the two tasks, whoever has it, lasts until the stop; the other returns at once.
  CHECK_THROWS(Interrupted, "interrupted", team.run(2, [&](std::int64_t task, int thread) {
    while (task == 0 && !team.poll(thread)) std::this_thread::yield();
  }));
  CHECK(asked_by_caller);
}

TEST(what_the_interrupt_hook_throws_reaches_the_caller) {
  ThreadTeam team(2, []() -> bool { throw std::domain_error("hook"); });
  CHECK_THROWS(std::domain_error, "hook", team.run(2, [&](std::int64_t, int thread) {
    while (!team.poll(thread)) std::this_thread::yield();
  }));
}

TEST(a_team_is_never_larger_than_its_work) {
  CHECK_EQ(team_size(8, 3), 3);
  CHECK_EQ(team_size(2, 100), 2);
  CHECK_EQ(team_size(5, 0), 1);
  CHECK_EQ(team_size(0, 1 << 20), available_threads());
}

#if defined(__linux__)
TEST(the_processors_counted_are_those_this_process_may_use) {
  cpu_set_t all;
  CPU_ZERO(&all);
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;  // more processors than the fixed set holds
  CHECK(available_threads() >= 1);
  CHECK(available_threads() <= CPU_COUNT(&all));
  int used = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && used < 1; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    ++used;
  }
  CHECK_EQ(available_threads(), 1);
  CHECK_EQ(team_size(0, 100), 1);
  CHECK_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}
#endif

}  // namespace
