// SPDX-License-Identifier: Apache-2.0
// Training by batches: how ratings are cut into batches, and the steps against the formulas in plain loops.
#include <array>
#include <chrono>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "check.hpp"
#include "cpu/batches.hpp"
#include "epoch_order.hpp"
#include "synthetic.hpp"

namespace {

using namespace synthetic;

struct Input {
  std::int32_t n_users, n_items;
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;  ///< the value of a rating is its number

  Input(std::int32_t users_, std::int32_t items_, std::int32_t n, bool weighted) : n_users(users_), n_items(items_) {
    SplitMix64 random(3);
    for (std::int32_t r = 0; r < n; ++r) {
      users.push_back(static_cast<std::int32_t>(below(random, n_users)));
      items.push_back(static_cast<std::int32_t>(below(random, n_items)));
      values.push_back(static_cast<float>(r));
      if (weighted) weights.push_back(r % 5 == 2 ? 0.0f : static_cast<float>(1 + r % 3));
    }
  }
  [[nodiscard]] BatchInput<float> input() const { return {users, items, values, weights, {0, 1, 2}}; }
  [[nodiscard]] RatingsView view() const { return {users, items, values, weights, n_users, n_items}; }
};

template <class T>
void check_side(const typename Batches<T>::Side& side, const Input& data, bool of_users,
                const std::vector<std::vector<std::int64_t>>& batches) {
  const std::vector<std::int32_t>&own = of_users ? data.users : data.items, &other = of_users ? data.items : data.users;
  CHECK_EQ(side.batch_tasks.size(), batches.size() + 1);
  CHECK_EQ(side.begin.size(), side.rows.size() + 1);
  CHECK_EQ(side.tasks.back(), static_cast<std::int64_t>(side.rows.size()));
  std::int64_t n = 0, next_row = 0, task_rows = 0;
  for (std::size_t b = 0; b < batches.size(); ++b) {
    // What the batch should be: by row, ascending; the same row's in the order of the batch.
    std::map<std::int32_t, std::vector<std::int64_t>> expected;
    for (const std::int64_t r : batches[b]) expected[own[static_cast<std::size_t>(r)]].push_back(r);
    const std::int64_t first_task = side.batch_tasks[b], last_task = side.batch_tasks[b + 1];
    CHECK(last_task > first_task);
    CHECK_EQ(side.tasks[static_cast<std::size_t>(first_task)], next_row);
    for (std::int64_t task = first_task; task < last_task; ++task) {
      task_rows += side.tasks[static_cast<std::size_t>(task) + 1] - side.tasks[static_cast<std::size_t>(task)];
      CHECK(side.tasks[static_cast<std::size_t>(task) + 1] > side.tasks[static_cast<std::size_t>(task)]);
    }
    for (const auto& [row, ratings] : expected) {
      const auto at = static_cast<std::size_t>(next_row++);
      CHECK_EQ(side.rows[at], row);
      CHECK_EQ(side.begin[at], n);
      for (const std::int64_t r : ratings) {
        CHECK_EQ(static_cast<std::int64_t>(side.values[n]), r);
        CHECK_EQ(side.others[n], other[static_cast<std::size_t>(r)]);
        if (!data.weights.empty()) CHECK_EQ(side.weights[n], 2 * data.weights[static_cast<std::size_t>(r)]);
        ++n;
      }
    }
    CHECK_EQ(side.tasks[static_cast<std::size_t>(last_task)], next_row);
  }
  CHECK_EQ(side.begin.back(), n);
  CHECK_EQ(task_rows, static_cast<std::int64_t>(side.rows.size()));
  if (data.weights.empty()) CHECK_EQ(side.weights.size(), std::int64_t{0});
}

/// The batches by their number, from what epoch_batches tells of two epochs, which have the same batches.
std::vector<std::vector<std::int64_t>> expected_batches(const Input& data, std::int64_t batch_size,
                                                        std::uint64_t seed) {
  TrainParams params;
  params.batch_size = batch_size;
  params.seed = seed;
  std::vector<std::vector<std::int64_t>> batches;
  for (const std::int32_t epoch : {0, 7}) {
    std::vector<std::vector<std::int64_t>> in_order = epoch_batches(data.view(), params, epoch);
    const std::vector<std::int32_t> order = shuffled(static_cast<std::int64_t>(in_order.size()), seed, epoch);
    std::vector<std::vector<std::int64_t>> sorted(in_order.size());
    for (std::size_t n = 0; n < order.size(); ++n) sorted[static_cast<std::size_t>(order[n])] = in_order[n];
    if (epoch > 0) CHECK(sorted == batches);
    if (epoch > 0 && order.size() > 20) CHECK(order != shuffled(static_cast<std::int64_t>(order.size()), seed, 0));
    batches = std::move(sorted);
  }
  return batches;
}

void check_dealing(const Input& data, std::int64_t batch_size) {
  check::context = std::to_string(data.values.size()) + " ratings in batches of " + std::to_string(batch_size);
  const std::vector<std::vector<std::int64_t>> batches = expected_batches(data, batch_size, 5);
  std::set<std::int64_t> seen;
  std::int64_t counted = 0;
  for (std::size_t r = 0; r < data.values.size(); ++r) counted += data.weights.empty() || data.weights[r] > 0 ? 1 : 0;
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const auto size = static_cast<std::int64_t>(batches[b].size());
    CHECK(size == batch_size || (b + 1 == batches.size() && size > 0 && size < batch_size));
    for (const std::int64_t r : batches[b]) {
      CHECK(seen.insert(r).second);
      CHECK(data.weights.empty() || data.weights[static_cast<std::size_t>(r)] > 0);
    }
  }
  CHECK_EQ(static_cast<std::int64_t>(seen.size()), counted);
  for (const int threads : {1, 2, 5}) {
    ThreadTeam team(threads);
    const auto made = make_batches<double, float>(data.input(), batch_size, 5, team);
    CHECK_EQ(made.n_ratings, counted);
    CHECK_EQ(made.n_batches, static_cast<std::int64_t>(batches.size()));
    check_side<double>(made.users, data, true, batches);
    check_side<double>(made.items, data, false, batches);
  }
}

constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();

TEST(every_rating_of_weight_above_zero_is_in_one_batch_on_each_side) {
  for (const bool weighted : {false, true}) {
    // Few rows for their ratings, and many, so that both ways of sorting a batch are met; also on one side each.
    for (const auto& [n_users, n_items] : {std::pair{40, 30}, {5000, 4000}, {1, 3000}, {3000, 1}}) {
      const Input data(n_users, n_items, 1000, weighted);
      for (const std::int64_t batch_size : {std::int64_t{1}, std::int64_t{7}, std::int64_t{100}, std::int64_t{999},
                                            std::int64_t{1000}, std::int64_t{5000}, kHuge}) {
        check_dealing(data, batch_size);
      }
    }
  }
}

TEST(batches_of_weights_that_are_too_few_are_refused) {
  const std::vector<std::int32_t> users{0, 1, 2}, items{0, 1, 0};
  const std::vector<float> values{1, 2, 3}, weights{1, 1};
  TrainParams params;
  params.batch_size = 2;
  CHECK_THROWS(std::invalid_argument, "ratings.weights has 2 elements; it must have 3",
               epoch_batches({users, items, values, weights, 3, 2}, params, 0));
}

TEST(more_batches_than_int32_numbers_are_refused) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  CHECK(n_batches_of(kMost, 1) == kMost && n_batches_of(3 * kMost, 3) == kMost && n_batches_of(7, 3) == 3);
  CHECK(n_batches_of(7, std::numeric_limits<std::int64_t>::max()) == 1 && n_batches_of(0, 5) == 0);
  CHECK_THROWS(std::invalid_argument, "batch_size is 1; it must be at least 2 with 2147483648 ratings",
               n_batches_of(kMost + 1, 1));
}

TEST(long_batches_are_cut_into_parts) {
  const Input data(300, 20, 30000, false);
  check_dealing(data, 13000);
  ThreadTeam team(1);
  const auto made = make_batches<float, float>(data.input(), 13000, 5, team);
  CHECK(made.users.batch_tasks[1] > 3);
  CHECK(made.items.batch_tasks[1] > 3);
}

TEST(a_single_batch_keeps_the_order_given) {
  const Input data(40, 30, 500, false);
  const auto batches = expected_batches(data, 500, 1);
  CHECK_EQ(batches.size(), 1u);
  for (std::size_t n = 0; n < batches[0].size(); ++n) CHECK_EQ(batches[0][n], static_cast<std::int64_t>(n));
  TrainParams gd;
  gd.optimizer = Optimizer::gd;
  CHECK(epoch_batches(data.view(), gd, 3) == batches);
}

TEST(which_ratings_are_together_depends_on_the_seed) {
  const Input data(40, 30, 500, false);
  CHECK(expected_batches(data, 50, 1) != expected_batches(data, 50, 2));
  CHECK_THROWS(std::invalid_argument, "batch_size is 0", epoch_batches(data.view(), {}, 0));
}

/// A model as the formulas have it, in long double, on the ratings as they are (normalize is false).
struct Simulated {
  using Real = long double;
  struct Row {
    std::vector<Real> w, first, second, gradient;  ///< its bias comes last
    Real squares = 0, weight = 0;
    int steps = 0;
  };
  const Data& data;
  const TrainParams& params;
  std::size_t k;
  Real mean;
  std::vector<Row> users, items;

  Simulated(const Data& data_, const TrainParams& params_, const std::vector<double>& P, const std::vector<double>& Q,
            double mean_)
      : data(data_), params(params_), k(static_cast<std::size_t>(params_.n_factors)), mean(mean_) {
    for (const auto& [rows, factors, n] : {std::tuple{&users, &P, data.n_users}, {&items, &Q, data.n_items}}) {
      for (std::int32_t row = 0; row < n; ++row) {
        Row made;
        const auto from = factors->begin() + static_cast<std::ptrdiff_t>(row) * params.n_factors;
        made.w.assign(from, from + params.n_factors);
        made.w.push_back(0);
        made.first = made.second = made.gradient = std::vector<Real>(k + 1, 0);
        rows->push_back(made);
      }
    }
  }

  void step(const std::vector<std::int64_t>& batch, Real rate, Real weight_scale) {
    std::set<std::pair<bool, std::size_t>> moving;
    for (const std::int64_t r : batch) {
      const auto at = static_cast<std::size_t>(r);
      const auto u = static_cast<std::size_t>(data.users[at]), i = static_cast<std::size_t>(data.items[at]);
      Row &p = users[u], &q = items[i];
      const Real weight = data.weights.empty() ? 1 : weight_scale * static_cast<Real>(data.weights[at]);
      Real slope = mean + p.w[k] + q.w[k] - static_cast<Real>(data.values[at]);
      for (std::size_t f = 0; f < k; ++f) slope += p.w[f] * q.w[f];
      for (std::size_t f = 0; f <= k; ++f) {
        p.gradient[f] += weight * (slope * (f < k ? q.w[f] : 1) + (f < k ? l2(params.reg->users) * p.w[f] : 0));
        q.gradient[f] += weight * (slope * (f < k ? p.w[f] : 1) + (f < k ? l2(params.reg->items) * q.w[f] : 0));
      }
      p.gradient[k] += weight * l2(params.reg_bias->users) * p.w[k];
      q.gradient[k] += weight * l2(params.reg_bias->items) * q.w[k];
      p.weight += weight;
      q.weight += weight;
      moving.insert({true, u});
      moving.insert({false, i});
    }
    for (const auto& [user, row] : moving) {
      const double reg = user ? params.reg->users : params.reg->items,
                   reg_bias = user ? params.reg_bias->users : params.reg_bias->items;
      move(user ? users[row] : items[row], rate, reg, reg_bias);
    }
  }

 private:
  [[nodiscard]] Real l2(double reg) const { return reg * (1 - static_cast<Real>(params.l1_ratio)); }

  void move(Row& row, Real rate, double reg, double reg_bias) const {
    ++row.steps;
    Real squares = 0;
    for (std::size_t f = 0; f <= k; ++f) {
      Real &g = row.gradient[f], &m = row.first[f], &s = row.second[f], along = g, own_rate = rate;
      squares += g * g / static_cast<Real>(k + 1);
      switch (params.optimizer) {
        case Optimizer::sgd:
        case Optimizer::gd: along = m = params.momentum * m + g; break;
        case Optimizer::adagrad:
          own_rate = rate / std::sqrt(1 + (params.adagrad_per == AdagradPer::row ? row.squares : s));
          s += g * g;
          break;
        case Optimizer::adam: {
          const Real b = params.beta_1, c = params.beta_2;
          m = b * m + (1 - b) * g;
          s = c * s + (1 - c) * g * g;
          along = m / (1 - std::pow(b, row.steps));
          own_rate = rate / (std::sqrt(s / (1 - std::pow(c, row.steps))) + params.epsilon);
          break;
        }
      }
      Real& w = row.w[f];
      w -= own_rate * along;
      Real threshold = own_rate * row.weight * params.l1_ratio * (f < k ? reg : reg_bias);
      if (params.optimizer == Optimizer::adam) threshold = std::min(threshold, rate);
      w = w > 0 ? std::max(0.0L, w - threshold) : std::min(0.0L, w + threshold);
      g = 0;
    }
    row.squares += squares;
    row.weight = 0;
  }
};

struct Tried {
  const char* name;
  Optimizer optimizer;
  double learning_rate;
  double momentum = 0;
  AdagradPer per = AdagradPer::row;
};
constexpr Tried kTried[] = {{"sgd", Optimizer::sgd, 0.02},
                            {"momentum", Optimizer::sgd, 0.005, 0.8},
                            {"adagrad by row", Optimizer::adagrad, 0.05},
                            {"adagrad by element", Optimizer::adagrad, 0.05, 0, AdagradPer::element},
                            {"adam", Optimizer::adam, 0.01}};

TrainParams params_of(const Tried& tried, std::int64_t batch_size) {
  TrainParams params;
  params.n_factors = 5;
  params.reg = 0.04;
  params.reg_bias = 0.05;
  params.reg_row = params.reg_bias_row = 0;
  params.implicit_feedback = ImplicitFeedback::none;
  params.n_epochs = 3;
  params.optimizer = tried.optimizer;
  params.learning_rate = tried.learning_rate;
  params.momentum = tried.momentum;
  params.adagrad_per = tried.per;
  params.batch_size = batch_size;
  params.n_threads = 2;
  params.seed = 9;
  return params;
}

void check_steps(const Tried& tried, std::int64_t batch_size, bool weighted, double l1_ratio) {
  check::context = std::string(tried.name) + ", batches of " + std::to_string(batch_size) +
                   (weighted ? ", weighted" : "") + (l1_ratio > 0 ? ", L1" : "");
  Data data(60, 50, 600, 0.3);
  double weight_sum = 0, counted = 0;
  for (std::size_t r = 0; weighted && r < data.values.size(); ++r) {
    data.weights.push_back(r % 7 == 3 ? 0.0f : 0.5f + static_cast<float>(r % 3));
    weight_sum += static_cast<double>(data.weights.back());
    counted += data.weights.back() > 0 ? 1 : 0;
  }
  TrainParams params = params_of(tried, batch_size);
  params.reg = {0.05, 0.1};
  params.reg_bias = {0.02, 0.07};
  params.l1_ratio = l1_ratio;
  params.normalize = false;
  std::vector<double> P, Q;
  SplitMix64 random(2);
  for (std::int32_t f = 0; f < 60 * 5; ++f) P.push_back(0.3 * noise(random));
  for (std::int32_t f = 0; f < 50 * 5; ++f) Q.push_back(0.3 * noise(random));
  TrainOptions<double> options;
  options.user_factors = P;
  options.item_factors = Q;
  const TrainResult<double> result = train<double>(data.view(), params, options);

  Simulated expected(data, params, P, Q, result.model.global_mean);
  // Weights are stored as float, after they are scaled.
  for (std::int32_t epoch = 0; epoch < params.n_epochs; ++epoch) {
    const long double rate = params.learning_rate.value() * (1 - static_cast<long double>(epoch) / *params.n_epochs);
    for (const auto& batch : epoch_batches(data.view(), params, epoch)) {
      expected.step(batch, rate, weighted ? static_cast<long double>(counted / weight_sum) : 1);
    }
  }
  const double tolerance = weighted ? 1e-6 : 1e-12;
  for (std::size_t u = 0; u < 60; ++u) {
    for (std::size_t f = 0; f < 5; ++f)
      CHECK_CLOSE(result.model.user_factors[u * 5 + f], expected.users[u].w[f], tolerance);
    CHECK_CLOSE(result.model.user_biases[u], expected.users[u].w[5], tolerance);
  }
  for (std::size_t i = 0; i < 50; ++i) {
    for (std::size_t f = 0; f < 5; ++f)
      CHECK_CLOSE(result.model.item_factors[i * 5 + f], expected.items[i].w[f], tolerance);
    CHECK_CLOSE(result.model.item_biases[i], expected.items[i].w[5], tolerance);
  }
}

// With batches of one, that is plain sequential training in the order of epoch_batches.
TEST(training_by_batches_follows_the_formulas) {
  for (const Tried& tried : kTried) {
    for (const std::int64_t batch_size : {1, 64, 100000}) {
      for (const auto& [weighted, l1_ratio] : {std::pair{false, 0.0}, {true, 0.0}, {false, 0.4}}) {
        if (check::takes_case()) check_steps(tried, batch_size, weighted, l1_ratio);
      }
    }
  }
}

TEST(full_batch_descent_follows_the_formulas_and_is_a_batch_of_all) {
  check_steps({"gd", Optimizer::gd, 0.005}, 0, false, 0);
  check_steps({"gd with momentum", Optimizer::gd, 0.002, 0.9}, 0, true, 0.3);
  const Data data(300, 200, 5000, 0.3);
  for (const double momentum : {0.0, 0.9}) {
    TrainParams params = params_of({"gd", Optimizer::gd, 0.002, momentum}, 0);
    const TrainResult<float> gd = train<float>(data.view(), params);
    for (const std::int64_t batch_size : {std::int64_t{5000}, kHuge}) {
      params.optimizer = Optimizer::sgd;
      params.batch_size = batch_size;
      CHECK(same_bits(gd.model, train<float>(data.view(), params).model));
    }
  }
}

template <class T>
void check_same_bits(const Tried& tried, std::int64_t batch_size) {
  check::context = std::string(tried.name) + ", " + std::to_string(8 * sizeof(T)) + " bits, batches of " +
                   std::to_string(batch_size);
  const Data data(900, 700, 12000, 0.3), held_out(900, 700, 1000, 0.3, 1);
  TrainOptions<T> options;
  options.validation = held_out.view();
  TrainParams params = params_of(tried, batch_size);
  params.n_factors = 30;
  params.n_epochs = 2;
  params.n_threads = 1;
  const TrainResult<T> alone = train<T>(data.view(), params, options);
  for (const std::int32_t threads : {2, 5}) {
    params.n_threads = threads;
    const TrainResult<T> shared = train<T>(data.view(), params, options);
    CHECK_EQ(shared.n_threads, threads);
    CHECK(same_bits(alone.model, shared.model));
    for (std::size_t e = 0; e < alone.history.size(); ++e) {
      CHECK_EQ(alone.history[e].train_rmse, shared.history[e].train_rmse);
      CHECK_EQ(alone.history[e].valid_rmse, shared.history[e].valid_rmse);
    }
  }
  CHECK_CLOSE(alone.history.back().valid_rmse, rmse(alone.model, held_out), 1e-5);
}

TEST(batches_give_the_same_bits_for_any_number_of_threads) {
  for (const Tried& tried : kTried) check_same_bits<float>(tried, 5000);  // enough work for several threads in each
  check_same_bits<double>(kTried[0], 5000);
  check_same_bits<double>(kTried[4], 5000);
  check_same_bits<float>(kTried[0], 100);
  check_same_bits<float>({"gd", Optimizer::gd, 0.001, 0.5}, 0);
}

TEST(every_optimizer_learns_by_batches_and_by_single_ratings) {
  const Data data(100, 80, 6000, 0.1), held_out(100, 80, 1000, 0.1, 1);
  for (const Tried& tried : kTried) {
    for (const std::int64_t batch_size : {0, 100}) {
      if (!check::takes_case()) continue;
      TrainParams params = params_of(tried, batch_size);
      check::context = std::string(tried.name) + ", batches of " + std::to_string(batch_size);
      params.learning_rate.reset();
      params.n_epochs = 40;
      params.reg = params.reg_bias = 0.005;
      params.init_scale = 0.1;
      CHECK(rmse(train<float>(data.view(), params).model, held_out) < 0.5);  // of a deviation of about 1.2
    }
  }
}

TEST(an_interrupt_is_obeyed_between_the_parts_of_a_step) {
  const Data data(200, 100, 60000, 0.1);
  for (const std::int64_t batch_size : {std::int64_t{1}, std::int64_t{1000}, kHuge}) {
    for (const std::int32_t threads : {1, 2, 4}) {
      check::context = "batches of " + std::to_string(batch_size) + ", " + std::to_string(threads) + " threads";
      TrainParams params = params_of(kTried[4], batch_size);
      params.n_factors = 300;
      params.n_threads = threads;
      params.n_epochs = 1000000;
      TrainOptions<float> options;
      int polls = 0;
      options.interrupted = [&] { return ++polls >= 2; };
      const auto start = std::chrono::steady_clock::now();
      CHECK_THROWS(Interrupted, "interrupted", train<float>(data.view(), params, options));
      CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
    }
  }
}

/// l = (r - x)^2 / 2, as anyone may write it.
template <class T>
void half_square(const T* ratings, const T* scores, T* losses, T* slopes) {
  for (int n = 0; n < 8; ++n) {
    slopes[n] = scores[n] - ratings[n];
    losses[n] = slopes[n] * slopes[n] / 2;
  }
}
template <class T>
void ridge(const T* values, T* slopes, std::int64_t n) {
  for (std::int64_t f = 0; f < n; ++f) slopes[f] = values[f];
}

template <class T>
void check_own_functions(std::int64_t batch_size) {
  const Data data(100, 80, 4000, 0.2), held_out(100, 80, 500, 0.2, 1);
  for (const Tried& tried : kTried) {
    check::context = std::string(tried.name) + ", batches of " + std::to_string(batch_size);
    TrainParams params = params_of(tried, batch_size);
    params.normalize = false;  // or the slopes are scaled to those at the start
    TrainOptions<T> options;
    options.validation = held_out.view();
    const TrainResult<T> built_in = train<T>(data.view(), params, options);
    params.loss = Loss::custom;
    options.loss = half_square<T>;
    options.penalty = ridge<T>;
    const TrainResult<T> own = train<T>(data.view(), params, options);
    // The custom loss is shown the ratings as given, and the built-in one less their mean, rounded to float.
    const double tolerance = sizeof(T) == 4 ? 1e-3 : 1e-6;
    for (std::size_t f = 0; f < own.model.user_factors.size(); ++f) {
      CHECK_CLOSE(own.model.user_factors[f], built_in.model.user_factors[f], tolerance);
    }
    for (std::size_t f = 0; f < own.model.item_biases.size(); ++f) {
      CHECK_CLOSE(own.model.item_biases[f], built_in.model.item_biases[f], tolerance);
    }
    for (std::size_t e = 0; e < own.history.size(); ++e) {
      CHECK_CLOSE(own.history[e].train_rmse, built_in.history[e].train_rmse, tolerance);
      CHECK_CLOSE(own.history[e].valid_rmse, built_in.history[e].valid_rmse, tolerance);
      CHECK_CLOSE(2 * own.history[e].train_loss, built_in.history[e].train_loss, tolerance);
      CHECK_CLOSE(2 * own.history[e].valid_loss, built_in.history[e].valid_loss, tolerance);
    }
  }
}

TEST(a_custom_loss_and_penalty_train_as_the_built_in_ones_do) {
  for (const std::int64_t batch_size : {0, 60, 4000}) {
    check_own_functions<float>(batch_size);
    check_own_functions<double>(batch_size);
  }
}

TEST(adams_l1_step_is_no_longer_than_the_rate) {
  // Counts that the start predicts exactly: without a slope to divide by, L1 alone would take all to 0 at once.
  Data data(1, 1, 1);
  data.values[0] = 1;
  TrainParams params = params_of(kTried[4], 0);
  params.loss = Loss::poisson;
  params.l1_ratio = 1;
  params.n_epochs = 1;
  const TrainResult<double> result = train<double>(data.view(), params);
  CHECK(result.model.user_biases[0] > 0.5 - 2.01 * 0.01);  // one along the slope, and one of L1
}

TEST(an_epsilon_too_small_for_the_type_is_none) {
  const Data data(60, 50, 600, 0.3);
  for (const double epsilon : {1e-30, 1e-50, 1e-300}) {
    check::context = "epsilon " + std::to_string(std::log10(epsilon));
    TrainParams params = params_of(kTried[4], 50);
    params.epsilon = epsilon;
    CHECK(finite(train<float>(data.view(), params).model));
    CHECK(finite(train<double>(data.view(), params).model));
    params.batch_size = 0;
    CHECK(finite(train<float>(data.view(), params).model));
  }
}

}  // namespace
