// SPDX-License-Identifier: Apache-2.0
#include "cpu/batches.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "cpu/tuning.hpp"
#include "epoch_order.hpp"
#include "optimizer.hpp"
#include "random.hpp"
#include "require.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor {
namespace {

/// The ratings of one batch, sorted by row; those of a row keep the batch's order. N numbers ratings.
template <class N>
void sort_by_row(std::span<const N> batch, std::span<const std::int32_t> rows, std::int32_t n_rows,
                 std::vector<std::uint64_t>& keys, std::vector<std::int64_t>& counts, N* sorted) {
  if (static_cast<std::int64_t>(batch.size()) >= n_rows / 8) {
    counts.assign(static_cast<std::size_t>(n_rows) + 1, 0);
    for (const N r : batch) ++counts[static_cast<std::size_t>(rows[static_cast<std::size_t>(r)]) + 1];
    std::partial_sum(counts.begin(), counts.end(), counts.begin());
    for (const N r : batch) {
      sorted[counts[static_cast<std::size_t>(rows[static_cast<std::size_t>(r)])]++] = r;
    }
    return;
  }
  // A batch of fewer than 2^28 ratings, since there are eight times as many rows.
  keys.resize(batch.size());
  for (std::size_t n = 0; n < batch.size(); ++n) {
    keys[n] = static_cast<std::uint64_t>(rows[static_cast<std::size_t>(batch[n])]) << 32 | n;
  }
  std::sort(keys.begin(), keys.end());
  for (std::size_t n = 0; n < batch.size(); ++n) sorted[n] = batch[static_cast<std::size_t>(keys[n] & 0xffffffffu)];
}

std::int32_t rows_of(std::span<const std::int32_t> rows) {
  return rows.empty() ? 0 : *std::max_element(rows.begin(), rows.end()) + 1;
}

/// The numbers of the ratings of weight > 0, in the order in which they are cut into batches.
template <class N>
std::vector<N> batch_order(std::span<const float> weights, std::int64_t n_ratings, std::int64_t batch_size,
                           std::uint64_t seed) {
  std::vector<N> order;
  order.reserve(static_cast<std::size_t>(n_ratings));
  for (std::int64_t r = 0; r < n_ratings; ++r) {
    if (weights.empty() || weights[static_cast<std::size_t>(r)] > 0) order.push_back(static_cast<N>(r));
  }
  if (static_cast<std::int64_t>(order.size()) > batch_size) {
    SplitMix64 random(seed, kBatchOrder, 0);
    for (std::size_t n = order.size(); n > 1; --n) std::swap(order[n - 1], order[random.below(n)]);
  }
  return order;
}

}  // namespace

std::int64_t n_batches_of(std::int64_t n_ratings, std::int64_t batch_size) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const std::int64_t n = n_ratings / batch_size + (n_ratings % batch_size > 0 ? 1 : 0);
  if (n > kMost) {
    reject("batch_size", batch_size,
           "at least " + text((n_ratings - 1) / kMost + 1) + " with " + text(n_ratings) + " ratings");
  }
  return n;
}

std::vector<std::vector<std::int64_t>> epoch_batches(const RatingsView& ratings, const TrainParams& params,
                                                     std::int32_t epoch) {
  std::vector<std::vector<std::int64_t>> batches;
  require_in_range(params);
  if (!ratings.weights.empty()) require_size(ratings.weights.size(), ratings.size(), "ratings.weights");
  std::int64_t size = batch_size(params, ratings.size());
  require(size >= 1, "batch_size", size, "at least 1, or each rating makes a step of its own");
  const std::vector<std::int64_t> order = batch_order<std::int64_t>(ratings.weights, ratings.size(), size, params.seed);
  const auto n = static_cast<std::int64_t>(order.size());
  for (const std::int32_t b : shuffled(n_batches_of(n, size), params.seed, epoch)) {
    const std::int64_t from = b * size;
    batches.emplace_back(order.begin() + from, order.begin() + from + std::min(size, n - from));
  }
  return batches;
}

namespace {

/// N numbers the ratings given.
template <class N, class T, class V>
Batches<T> numbered_batches(const BatchInput<V>& input, std::int64_t batch_size, std::uint64_t seed, ThreadTeam& team) {
  Batches<T> batches;
  const std::vector<N> order =
      batch_order<N>(input.weights, static_cast<std::int64_t>(input.values.size()), batch_size, seed);
  const auto n = static_cast<std::int64_t>(order.size());
  batch_size = std::min(batch_size, std::max<std::int64_t>(n, 1));  // b * batch_size must not overflow
  batches.n_ratings = n;
  batches.batch_size = batch_size;
  batches.n_batches = n_batches_of(n, batch_size);
  const auto n_batches = static_cast<std::size_t>(batches.n_batches);
  struct Scratch {
    std::vector<std::uint64_t> keys;
    std::vector<std::int64_t> counts;
    std::vector<N> sorted;
  };
  std::vector<Scratch> scratches(static_cast<std::size_t>(team.size()));
  for (const bool of_users : {true, false}) {
    auto& side = of_users ? batches.users : batches.items;
    const std::span<const std::int32_t> own = of_users ? input.users : input.items,
                                        other = of_users ? input.items : input.users;
    const std::int32_t n_rows = rows_of(own);
    side.others = Buffer<std::int32_t>(n + kGroup);
    side.values = Buffer<T>(n + kGroup);
    side.weights = Buffer<float>(input.weights.empty() ? 0 : n + kGroup);
    std::fill_n(side.others.data() + n, kGroup, 0);  // the kernel reads them with weight 0
    std::fill_n(side.values.data() + n, kGroup, T(0));
    if (side.weights.size() > 0) std::fill_n(side.weights.data() + n, kGroup, 0.0f);
    Buffer<std::int32_t> own_rows(n);
    std::vector<std::int64_t> first_row(n_batches + 1, 0);
    team.run(batches.n_batches, [&](std::int64_t b, int thread) {
      if (team.poll(thread)) return;
      Scratch& scratch = scratches[static_cast<std::size_t>(thread)];
      const std::int64_t begin = b * batch_size, size = std::min(batch_size, n - begin);
      scratch.sorted.resize(static_cast<std::size_t>(size));
      sort_by_row<N>({order.data() + begin, static_cast<std::size_t>(size)}, own, n_rows, scratch.keys, scratch.counts,
                     scratch.sorted.data());
      std::int64_t n_distinct = 0;
      for (std::int64_t at = 0; at < size; ++at) {
        const auto r = static_cast<std::size_t>(scratch.sorted[static_cast<std::size_t>(at)]);
        const std::int64_t to = begin + at;
        own_rows[to] = own[r];
        side.others[to] = other[r];
        side.values[to] = static_cast<T>(input.units.standardized(static_cast<double>(input.values[r])));
        if (side.weights.size() > 0) {
          side.weights[to] = input.units.weight(input.weights[r]);
        }
        n_distinct += at == 0 || own_rows[to] != own_rows[to - 1] ? 1 : 0;
      }
      first_row[static_cast<std::size_t>(b) + 1] = n_distinct;
    });
    std::partial_sum(first_row.begin(), first_row.end(), first_row.begin());
    side.rows.resize(static_cast<std::size_t>(first_row.back()));
    side.begin.resize(side.rows.size() + 1);
    side.begin.back() = n;
    team.run(batches.n_batches, [&](std::int64_t b, int thread) {
      if (team.poll(thread)) return;
      auto row = static_cast<std::size_t>(first_row[static_cast<std::size_t>(b)]);
      const std::int64_t begin = b * batch_size, end = std::min(n, begin + batch_size);
      for (std::int64_t at = begin; at < end; ++at) {
        if (at != begin && own_rows[at] == own_rows[at - 1]) continue;
        side.rows[row] = own_rows[at];
        side.begin[row++] = at;
      }
    });
    side.tasks.push_back(0);
    side.batch_tasks.push_back(0);
    for (std::size_t b = 0; b < n_batches; ++b) {
      std::int64_t task_begin = static_cast<std::int64_t>(b) * batch_size;
      for (std::int64_t row = first_row[b] + 1; row <= first_row[b + 1]; ++row) {
        const std::int64_t at = side.begin[static_cast<std::size_t>(row)];
        if (at - task_begin < kTaskRatings && row < first_row[b + 1]) continue;
        side.tasks.push_back(row);
        task_begin = at;
      }
      side.batch_tasks.push_back(static_cast<std::int64_t>(side.tasks.size()) - 1);
    }
  }
  return batches;
}

}  // namespace

template <class T, class V>
Batches<T> make_batches(const BatchInput<V>& input, std::int64_t batch_size, std::uint64_t seed, ThreadTeam& team) {
  // Half of the memory, where that is enough to number all ratings.
  return input.values.size() <= std::numeric_limits<std::uint32_t>::max()
             ? numbered_batches<std::uint32_t, T>(input, batch_size, seed, team)
             : numbered_batches<std::int64_t, T>(input, batch_size, seed, team);
}

template <class T>
BatchStepper<T>::BatchStepper(const Kernels<T>& kernels, const Batches<T>& batches, const BatchModel<T>& model,
                              ThreadTeam& team)
    : kernels_(kernels), batches_(batches), model_(model), team_(team), active_factors_(model.n_factors) {
  for (std::int64_t b = 0; b < batches.n_batches; ++b) {
    const auto at = static_cast<std::size_t>(b);
    std::int64_t n_rows = 0;
    for (const auto* side : {&batches.users, &batches.items}) {
      n_rows += side->tasks[static_cast<std::size_t>(side->batch_tasks[at + 1])] -
                side->tasks[static_cast<std::size_t>(side->batch_tasks[at])];
    }
    max_rows_ = std::max(max_rows_, n_rows);
  }
  scratch_.resize(static_cast<std::size_t>(team.size()));
  task_sums_.resize(static_cast<std::size_t>(batches.users.batch_tasks.back()));
}

template <class T>
void BatchStepper<T>::allocate(Scratch& scratch) const {
  if (scratch.weights.size() > 0) return;
  scratch.gradients = Buffer<T>(max_rows_ * model_.stride);
  scratch.bias_gradients = Buffer<T>(max_rows_);
  scratch.weights = Buffer<T>(max_rows_);
}

template <class T>
std::int64_t BatchStepper<T>::n_tasks(std::int64_t batch) const {
  const auto at = static_cast<std::size_t>(batch);
  return batches_.users.batch_tasks[at + 1] - batches_.users.batch_tasks[at] + batches_.items.batch_tasks[at + 1] -
         batches_.items.batch_tasks[at];
}

/// Task `number` of a batch: first the users' tasks, then the items'.
template <class T>
BatchRows<T> BatchStepper<T>::task(std::int64_t batch, std::int64_t number, Scratch& scratch,
                                   const StepSizes<T>& sizes) const {
  const auto at = static_cast<std::size_t>(batch);
  const std::int64_t user_tasks = batches_.users.batch_tasks[at + 1] - batches_.users.batch_tasks[at];
  const bool of_users = number < user_tasks;
  const auto& side = of_users ? batches_.users : batches_.items;
  const auto n = static_cast<std::size_t>(side.batch_tasks[at] + (of_users ? number : number - user_tasks));
  const auto first_row_of = [&](const auto& of) { return of.tasks[static_cast<std::size_t>(of.batch_tasks[at])]; };
  const std::int64_t row = side.tasks[n];
  std::int64_t at_row = row - first_row_of(side);  // in the scratch: the users' rows, then the items'
  if (!of_users) {
    at_row += batches_.users.tasks[static_cast<std::size_t>(batches_.users.batch_tasks[at + 1])] -
              first_row_of(batches_.users);
  }
  BatchRows<T> rows{};
  rows.own = of_users ? model_.users : model_.items;
  rows.other = of_users ? model_.items : model_.users;
  rows.of_users = of_users;
  rows.penalty_once = model_.penalty_once;
  rows.active_factors = active_factors_;
  rows.width = padded_stride<T>(active_factors_);
  rows.stride = model_.stride;
  rows.rows = side.rows.data() + row;
  rows.begin = side.begin.data() + row;
  rows.n_rows = side.tasks[n + 1] - row;
  rows.others = side.others.data();
  rows.values = side.values.data();
  rows.weights = side.weights.size() > 0 ? side.weights.data() : nullptr;
  rows.gradients = scratch.gradients.data() + at_row * model_.stride;
  rows.bias_gradients = scratch.bias_gradients.data() + at_row;
  rows.row_weights = scratch.weights.data() + at_row;
  rows.sizes = sizes;
  return rows;
}

template <class T>
PassSums BatchStepper<T>::total() const {
  PassSums all;
  for (const PassSums& sums : task_sums_) {
    all.loss += sums.loss;
    all.squares += sums.squares;
  }
  return all;
}

template <class T>
PassSums BatchStepper<T>::run_blocked(const std::vector<std::int32_t>& order, const StepSizes<T>& sizes) {
  Scratch& scratch = scratch_.front();
  allocate(scratch);
  for (const std::int32_t b : order) {
    const auto at = static_cast<std::size_t>(b);
    const std::int64_t first_sum = batches_.users.batch_tasks[at],
                       user_tasks = batches_.users.batch_tasks[at + 1] - first_sum, all_tasks = n_tasks(b);
    const auto take_gradients = [&](std::int64_t number, int thread) {
      if (team_.poll(thread)) return;
      const PassSums sums = kernels_.batch_gradients(task(b, number, scratch, sizes));
      if (number < user_tasks) task_sums_[static_cast<std::size_t>(first_sum + number)] = sums;
    };
    const auto take_steps = [&](std::int64_t number, int thread) {
      if (team_.poll(thread)) return;
      kernels_.batch_steps(task(b, number, scratch, sizes));
    };
    const std::int64_t size = std::min(batches_.batch_size, batches_.n_ratings - b * batches_.batch_size);
    const bool shared = size * model_.stride >= kSharedWork;
    team_.run(all_tasks, take_gradients, shared);
    team_.run(all_tasks, take_steps, shared);
  }
  return total();
}

template <class T>
PassSums BatchStepper<T>::run_hogwild(const std::vector<std::int32_t>& order, const StepSizes<T>& sizes) {
  team_.run(static_cast<std::int64_t>(order.size()), [&](std::int64_t n, int thread) {
    if (team_.poll(thread)) return;
    Scratch& scratch = scratch_[static_cast<std::size_t>(thread)];
    allocate(scratch);
    const std::int32_t b = order[static_cast<std::size_t>(n)];
    const auto at = static_cast<std::size_t>(b);
    const std::int64_t first_sum = batches_.users.batch_tasks[at],
                       user_tasks = batches_.users.batch_tasks[at + 1] - first_sum, all_tasks = n_tasks(b);
    for (std::int64_t number = 0; number < all_tasks; ++number) {
      const PassSums sums = kernels_.batch_gradients(task(b, number, scratch, sizes));
      if (number < user_tasks) task_sums_[static_cast<std::size_t>(first_sum + number)] = sums;
    }
    for (std::int64_t number = 0; number < all_tasks; ++number) kernels_.batch_steps(task(b, number, scratch, sizes));
  });
  return total();
}

template Batches<float> make_batches<float, float>(const BatchInput<float>&, std::int64_t, std::uint64_t, ThreadTeam&);
template Batches<double> make_batches<double, float>(const BatchInput<float>&, std::int64_t, std::uint64_t,
                                                     ThreadTeam&);
template Batches<double> make_batches<double, double>(const BatchInput<double>&, std::int64_t, std::uint64_t,
                                                      ThreadTeam&);
template class BatchStepper<float>;
template class BatchStepper<double>;

BatchRowCounts batch_rows(const RatingCounts& counts, std::int64_t batch_size) {
  const std::int64_t n = std::max<std::int64_t>(counts.n_ratings, 1), size = std::clamp<std::int64_t>(batch_size, 1, n);
  const double n_batches = static_cast<double>(n) / static_cast<double>(size);
  return {rows_among(counts, true, size, n_batches), rows_among(counts, false, size, n_batches),
          rows_among(counts, true, size) + rows_among(counts, false, size)};
}

template <class T>
void plan_batches(MemoryPlan& plan, const RatingCounts& counts, std::int64_t batch_size, int n_threads) {
  const char* const part = "ratings in batches";
  const std::int64_t n = std::max<std::int64_t>(counts.n_ratings, 1), size = std::min(batch_size, n),
                     n_batches = n / size + (n % size > 0 ? 1 : 0), place = std::int64_t{sizeof(std::int64_t)};
  const std::int64_t number = n <= std::numeric_limits<std::uint32_t>::max() ? 4 : 8, weight = counts.weighted ? 4 : 0,
                     at_once = std::min<std::int64_t>(n_threads, n_batches);
  const BatchRowCounts rows = batch_rows(counts, size);
  std::int64_t scratch = 0;
  plan.take("sorting", n * number);  // their order
  for (const bool users : {true, false}) {
    const bool counted = size >= counts.rows(users) / 8;
    const std::int64_t keys = at_once * (counted ? (counts.rows(users) + 1) * place : size * place),
                       more = std::max<std::int64_t>(keys + at_once * size * number - scratch, 0);
    plan.take(part, n * (4 + std::int64_t{sizeof(T)} + weight));
    plan.take("sorting", n * 4 + more);
    scratch += more;
    plan.take(part, (users ? rows.users : rows.items) * (4 + place) + 4 * n_batches * place);
    plan.free("sorting", n * 4);
  }
  plan.free("sorting");
}
template void plan_batches<float>(MemoryPlan&, const RatingCounts&, std::int64_t, int);
template void plan_batches<double>(MemoryPlan&, const RatingCounts&, std::int64_t, int);

}  // namespace warpfactor
