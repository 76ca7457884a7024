// SPDX-License-Identifier: Apache-2.0
// How busy a device's tiles would be with `blocked`: the blocks of an epoch are counted with the plan's own stripes,
// and two schedules are played through for a number of tiles: waves, each of which waits for the slowest block of the
// one before (a launch each), and one launch, in which a block waits for the two blocks before that had its stripes
// (PassArgs::waves). It measures no device: what a rating, a segment, a task and a launch take are assumptions, in
// units of the time that a tile needs for a rating, and the table gives shares of the time in which tiles are at work.
//
//   cmake -S . -B build/bench -DCMAKE_BUILD_TYPE=Release -DWARPFACTOR_BENCHMARKS=ON && cmake --build build/bench
//   build/bench/warpfactor_device_schedule [n_users n_items n_ratings]     (default: Netflix's shape)
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "cpu/blocks.hpp"
#include "epoch_order.hpp"
#include "long_tail.hpp"
#include "random.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/runtime.hpp"

namespace {

using namespace warpfactor;

constexpr double kSegment = 0.5, kTask = 6, kLaunch = 12;  // in ratings

std::vector<std::int32_t> stripes_of(const RowPartition& partition) {
  std::vector<std::int32_t> at(partition.position.size()), stripes(partition.position.size());
  for (std::size_t b = 0; b + 1 < partition.begin.size(); ++b) {
    std::fill(at.begin() + partition.begin[b], at.begin() + partition.begin[b + 1], static_cast<std::int32_t>(b));
  }
  for (std::size_t row = 0; row < stripes.size(); ++row) {
    stripes[row] = at[static_cast<std::size_t>(partition.position[row])];
  }
  return stripes;
}

/// What the blocks of an epoch cost, by position of the wave and own stripe.
struct Epoch {
  std::int64_t n;
  std::vector<std::int32_t> order;  ///< of the waves
  std::vector<double> cost;         ///< position * n + stripe

  [[nodiscard]] double of(std::int64_t task) const { return cost[static_cast<std::size_t>(task)]; }
  /// The stripe that had the task's other stripe in the wave before.
  [[nodiscard]] std::int64_t before(std::int64_t position, std::int64_t stripe) const {
    const auto at = static_cast<std::size_t>(position);
    return (stripe + order[at] - order[at - 1] + n) % n;
  }
};

double by_waves(const Epoch& epoch, std::int64_t n_tiles) {
  double time = 0;
  for (std::int64_t wave = 0; wave < epoch.n; ++wave) {
    std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
    for (std::int64_t tile = 0; tile < n_tiles; ++tile) free_at.push(0);
    double last = 0;
    for (std::int64_t stripe = 0; stripe < epoch.n; ++stripe) {
      const double end = free_at.top() + epoch.of(wave * epoch.n + stripe);
      free_at.pop();
      free_at.push(end);
      last = std::max(last, end);
    }
    time += last + kLaunch;
  }
  return time;
}

/// Tiles take tasks in order, and have the number of the next one while they are at work on one.
double in_one(const Epoch& epoch, std::int64_t n_tiles) {
  const std::int64_t n_tasks = epoch.n * epoch.n;
  std::vector<double> end(static_cast<std::size_t>(n_tasks), -1), free_at(static_cast<std::size_t>(n_tasks), -1);
  std::vector<std::int64_t> next(static_cast<std::size_t>(n_tiles));  // by tile: the task that it has beside its own
  std::vector<std::int64_t> tile_of(static_cast<std::size_t>(n_tasks), -1);
  std::vector<std::vector<std::int64_t>> waiting(static_cast<std::size_t>(n_tasks));
  std::int64_t claimed = 0;
  double last = 0;
  using Event = std::pair<double, std::int64_t>;  // when a tile is free
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  for (std::int64_t tile = 0; tile < n_tiles; ++tile) {
    next[static_cast<std::size_t>(tile)] = claimed++;
    events.emplace(0.0, tile);
  }
  // Ends tasks whose two tasks before have ends.
  const std::function<void(std::int64_t)> try_task = [&](std::int64_t first) {
    std::vector<std::int64_t> todo{first};
    while (!todo.empty()) {
      const std::int64_t task = todo.back();
      todo.pop_back();
      const std::int64_t position = task / epoch.n, stripe = task % epoch.n;
      double start = free_at[static_cast<std::size_t>(task)];
      bool known = true;
      if (position > 0) {
        for (const std::int64_t that : {stripe, epoch.before(position, stripe)}) {
          const std::int64_t needed = (position - 1) * epoch.n + that;
          if (end[static_cast<std::size_t>(needed)] < 0) {
            waiting[static_cast<std::size_t>(needed)].push_back(task);
            known = false;
            break;
          }
          start = std::max(start, end[static_cast<std::size_t>(needed)]);
        }
      }
      if (!known) continue;
      const double over = end[static_cast<std::size_t>(task)] = start + epoch.of(task);
      last = std::max(last, over);
      events.emplace(over, tile_of[static_cast<std::size_t>(task)]);
      for (const std::int64_t other : waiting[static_cast<std::size_t>(task)]) todo.push_back(other);
      waiting[static_cast<std::size_t>(task)] = {};
    }
  };
  while (!events.empty()) {
    const auto [now, tile] = events.top();
    events.pop();
    const std::int64_t task = std::exchange(next[static_cast<std::size_t>(tile)], claimed++);
    if (task >= n_tasks) continue;
    tile_of[static_cast<std::size_t>(task)] = tile;
    free_at[static_cast<std::size_t>(task)] = now;
    try_task(task);
  }
  return last + kLaunch;
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int at, long long fallback) { return argc > at ? std::atoll(argv[at]) : fallback; };
  const auto n_users = static_cast<std::int32_t>(argument(1, 480189));
  const auto n_items = static_cast<std::int32_t>(argument(2, 17770));
  const std::int64_t n = argument(3, 100000000);
  if (n_users < 1 || n_items < 1 || n < 1) {
    std::fprintf(stderr, "usage: %s [n_users n_items n_ratings]\n", argv[0]);
    return 2;
  }
  const benchmark::LongTail users(n_users, n_users / 100.0), items(n_items, n_items / 300.0);
  const auto each = [&](const auto& work) {
    SplitMix64 random(1);
    for (std::int64_t r = 0; r < n; ++r) {
      const std::int32_t user = users.draw(random), item = items.draw(random);
      work(static_cast<std::size_t>(user), static_cast<std::size_t>(item));
    }
  };
  Survey rated;
  rated.counted = n;
  rated.user_counts.assign(static_cast<std::size_t>(n_users), 0);
  rated.item_counts.assign(static_cast<std::size_t>(n_items), 0);
  each([&](std::size_t user, std::size_t item) {
    ++rated.user_counts[user];
    ++rated.item_counts[item];
  });
  ThreadTeam team(available_threads());
  const bool users_own = !users_are_outer(rated);  // of blocked
  std::printf("%lld ratings of %d x %d, the own side is the %s', the heaviest own row has %.2f %%\n",
              static_cast<long long>(n), n_users, n_items, users_own ? "users" : "items",
              100.0 *
                  *std::max_element((users_own ? rated.user_counts : rated.item_counts).begin(),
                                    (users_own ? rated.user_counts : rated.item_counts).end()) /
                  static_cast<double>(n));
  std::printf(
      "stripes | ratings, segments of a block | most of a wave / mean | tiles | at work, by waves | in one launch | "
      "ratings at once, by waves | in one\n");
  for (const std::int32_t stripes : {512, 1024, 1536, 2048, 3072}) {
    const RowPartition own = partition_rows(users_own ? rated.user_counts : rated.item_counts, stripes, 0,
                                            users_own ? kUserOrder : kItemOrder, team),
                       other = partition_rows(users_own ? rated.item_counts : rated.user_counts, stripes, 0,
                                              users_own ? kItemOrder : kUserOrder, team);
    const std::int64_t waves = std::max(own.stripes(), other.stripes());
    const std::vector<std::int32_t> own_stripe = stripes_of(own), other_stripe = stripes_of(other);
    std::vector<std::int32_t> ratings(static_cast<std::size_t>(waves * waves), 0);  // own stripe * waves + other
    each([&](std::size_t user, std::size_t item) {
      const std::int64_t u = own_stripe[users_own ? user : item], v = other_stripe[users_own ? item : user];
      ++ratings[static_cast<std::size_t>(u * waves + v)];
    });
    // The segments of a block are about as many as own rows are expected to have ratings in it.
    std::vector<double> segments(static_cast<std::size_t>(waves), 0);
    const auto& counts = users_own ? rated.user_counts : rated.item_counts;
    for (std::size_t row = 0; row < counts.size(); ++row) {
      segments[static_cast<std::size_t>(own_stripe[row])] +=
          1 - std::pow(1 - 1 / static_cast<double>(waves), counts[row]);
    }
    Epoch epoch{waves, shuffled(waves, 0, 0), std::vector<double>(ratings.size())};
    double all_segments = 0, all = 0, most = 0;
    for (std::int64_t position = 0; position < waves; ++position) {
      double most_of_wave = 0;
      for (std::int64_t u = 0; u < waves; ++u) {
        const std::int64_t v = (u + epoch.order[static_cast<std::size_t>(position)]) % waves;
        const double in_block = ratings[static_cast<std::size_t>(u * waves + v)];
        const double segments_in = std::min(in_block, segments[static_cast<std::size_t>(u)]);
        const double cost = in_block + kSegment * segments_in + kTask;
        epoch.cost[static_cast<std::size_t>(position * waves + u)] = cost;
        most_of_wave = std::max(most_of_wave, cost);
        all_segments += segments_in;
        all += cost;
      }
      most += most_of_wave;
    }
    const double n_tasks = static_cast<double>(waves * waves);
    for (const std::int64_t tiles : {waves, 2 * waves}) {
      const double waved = by_waves(epoch, tiles), one = in_one(epoch, tiles);
      std::printf("%7lld | %8.1f %8.1f | %8.2f | %6lld | %5.1f %% | %5.1f %% | %8.0f | %8.0f\n",
                  static_cast<long long>(waves), static_cast<double>(n) / n_tasks, all_segments / n_tasks,
                  most * static_cast<double>(waves) / all, static_cast<long long>(tiles),
                  100 * all / waved / static_cast<double>(tiles), 100 * all / one / static_cast<double>(tiles),
                  static_cast<double>(n) / waved, static_cast<double>(n) / one);
    }
    std::fflush(stdout);
  }
  return 0;
}
