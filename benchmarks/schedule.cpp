// SPDX-License-Identifier: Apache-2.0
// How busy the blocked schedule would keep many threads: every block's cost is measured with one thread (the median of
// three epochs, in the order of an epoch), and the schedule of cpu_backend.cpp is then played through for more threads
// than the machine has. What the simulation does not know: that threads share caches and memory bandwidth, and that
// rows come from another core's cache.
//
//   cmake -S . -B build/bench -DCMAKE_BUILD_TYPE=Release -DWARPFACTOR_BENCHMARKS=ON && cmake --build build/bench
//   build/bench/warpfactor_schedule [n_users n_items n_ratings n_factors]     (default: Netflix's shape, k = 64)
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <vector>

#include "buffer.hpp"
#include "cpu/blocks.hpp"
#include "cpu/kernel_table.hpp"
#include "epoch_order.hpp"
#include "long_tail.hpp"
#include "random.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/runtime.hpp"

namespace {

using namespace warpfactor;
using benchmark::LongTail;

struct Triples {
  std::vector<std::int32_t> users, items;
  std::vector<float> values;
};

Triples generate(std::int32_t n_users, std::int32_t n_items, std::int64_t n) {
  const LongTail users(n_users, n_users / 100.0), items(n_items, n_items / 300.0);
  Triples triples;
  triples.users.resize(static_cast<std::size_t>(n));
  triples.items.resize(static_cast<std::size_t>(n));
  triples.values.resize(static_cast<std::size_t>(n));
  SplitMix64 random(1);
  for (std::size_t r = 0; r < triples.values.size(); ++r) {
    triples.users[r] = users.draw(random);
    triples.items[r] = items.draw(random);
    triples.values[r] = static_cast<float>(random.below(5)) - 2;
  }
  return triples;
}

/// Seconds from the epoch's start to its end with `n_threads`: block (outer, inner) starts when the thread that has
/// taken the outer is done with the inner before, and the outer before with this inner.
double makespan(const std::vector<double>& cost, std::int64_t outer_turns, std::int64_t inner_turns, int n_threads) {
  std::priority_queue<double, std::vector<double>, std::greater<>> free_at;
  for (int thread = 0; thread < n_threads; ++thread) free_at.push(0);
  std::vector<double> done(static_cast<std::size_t>(inner_turns),
                           0);  // by inner: when the outer before was done with it
  for (std::int64_t outer = 0; outer < outer_turns; ++outer) {
    double now = free_at.top();
    free_at.pop();
    for (std::int64_t inner = 0; inner < inner_turns; ++inner) {
      double& previous = done[static_cast<std::size_t>(inner)];
      now = previous = std::max(now, previous) + cost[static_cast<std::size_t>(outer * inner_turns + inner)];
    }
    free_at.push(now);
  }
  double last = 0;
  for (; !free_at.empty(); free_at.pop()) last = free_at.top();
  return last;
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int at, long long fallback) { return argc > at ? std::atoll(argv[at]) : fallback; };
  const auto n_users = static_cast<std::int32_t>(argument(1, 480189));
  const auto n_items = static_cast<std::int32_t>(argument(2, 17770));
  const std::int64_t n = argument(3, 100000000), k = argument(4, 64);
  if (n_users < 1 || n_items < 1 || n < 1 || k < 1 || k > 1024) {
    std::fprintf(stderr, "usage: %s [n_users n_items n_ratings n_factors]\n", argv[0]);
    return 2;
  }
  const std::int64_t stride = padded_stride<float>(k);
  ThreadTeam team(available_threads());
  BlockedRatings blocked;
  {
    const Triples triples = generate(n_users, n_items, n);
    const RatingsView view{triples.users, triples.items, triples.values, {}, n_users, n_items};
    const Survey rated = survey(view, "ratings", team);
    blocked = make_blocks(view, rated, choose_grid(n_users, n_items, n, stride * 4, users_are_outer(rated)),
                          {0, 1.4, 1}, 0, team);
  }
  Buffer<float> users(n_users * stride), items(n_items * stride), user_biases(n_users), item_biases(n_items);
  SplitMix64 random(2);
  for (Buffer<float>* rows : {&users, &items}) {
    for (std::int64_t f = 0; f < rows->size(); ++f) {
      (*rows)[f] = f % stride < k ? static_cast<float>(random.below(2001)) * 1e-5f - 0.01f : 0.0f;
    }
  }
  std::fill_n(user_biases.data(), n_users, 0.0f);
  std::fill_n(item_biases.data(), n_items, 0.0f);

  const EpochOrder order(blocked.outer().stripes(), blocked.inner().stripes(), 0, 0);
  std::vector<double> cost(blocked.grouped.size());
  std::vector<double> measured[4];
  for (std::vector<double>& epoch_cost : measured) {
    epoch_cost.resize(cost.size());
    for (std::int64_t outer = 0; outer < order.outer_turns(); ++outer) {
      for (std::int64_t inner = 0; inner < order.inner_turns(); ++inner) {
        const auto one = static_cast<std::size_t>(order.outer_stripe(outer));
        const auto other = static_cast<std::size_t>(order.inner_stripe(inner));
        const std::size_t user = blocked.users_outer ? one : other, item = blocked.users_outer ? other : one;
        const std::size_t block = blocked.block(order.outer_stripe(outer), order.inner_stripe(inner));
        SgdArgs<float> args{};
        args.users.factors = users.data() + blocked.users.begin[user] * stride;
        args.items.factors = items.data() + blocked.items.begin[item] * stride;
        args.users.biases = user_biases.data() + blocked.users.begin[user];
        args.items.biases = item_biases.data() + blocked.items.begin[item];
        args.active_factors = k;
        args.width = args.stride = stride;
        args.ratings = blocked.ratings.data() + blocked.offsets[block];
        args.n_ratings = blocked.offsets[block + 1] - blocked.offsets[block];
        args.n_grouped = blocked.grouped[block];
        args.sizes.learning_rate = 0.04f;
        args.sizes.reg = {0.045f, 0.045f};
        args.sizes.reg_bias = {0.04f, 0.04f};
        args.sizes.max_weight = 6.0f;
        args.sizes.max_slope = 5.0f;
        args.sizes.lowest = -std::numeric_limits<float>::infinity();
        const auto began = std::chrono::steady_clock::now();
        kernel_table().f32.sgd(args);
        epoch_cost[static_cast<std::size_t>(outer * order.inner_turns() + inner)] =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
      }
    }
  }

  for (std::size_t c = 0; c < cost.size(); ++c) {  // without the first epoch, which maps pages
    const double a = measured[1][c], b = measured[2][c], d = measured[3][c];
    cost[c] = std::max(std::min(a, b), std::min(std::max(a, b), d));
  }

  const double busy = std::accumulate(cost.begin(), cost.end(), 0.0);
  const auto grouped = static_cast<double>(std::accumulate(blocked.grouped.begin(), blocked.grouped.end(), 0LL));
  std::printf(
      "%lld ratings, %d x %d, k = %lld, %s: %lld outer stripes (%s) x %lld inner stripes, %.0f ratings a block,\n",
      static_cast<long long>(n), n_users, n_items, static_cast<long long>(k), kernel_table().instruction_set,
      static_cast<long long>(order.outer_turns()), blocked.users_outer ? "users" : "items",
      static_cast<long long>(order.inner_turns()), static_cast<double>(n) / static_cast<double>(cost.size()));
  std::printf("%.1f %% of the ratings in groups, %.1f M updates/s with one thread\n\n",
              100 * grouped / static_cast<double>(n), static_cast<double>(n) / busy / 1e6);
  std::printf("| threads | busy / makespan | speed-up |\n|---|---|---|\n");
  for (const int threads : {1, 2, 4, 8, 16, 32, 64, 128, 256}) {
    const double speedup = busy / makespan(cost, order.outer_turns(), order.inner_turns(), threads);
    std::printf("| %d | %.1f %% | %.1f |\n", threads, 100 * speedup / threads, speedup);
  }
  return 0;
}
