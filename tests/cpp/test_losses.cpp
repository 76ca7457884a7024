// SPDX-License-Identifier: Apache-2.0
// The losses and penalties: the rule by itself, and what train() makes of them. That the kernels compute them is
// test_kernels.cpp's business.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "check.hpp"
#include "cpu/vec.hpp"
#include "standardize.hpp"
#include "synthetic.hpp"
#include "update_rule.hpp"

namespace {

using namespace synthetic;

constexpr Loss kLosses[] = {Loss::squared,  Loss::absolute,      Loss::huber,
                            Loss::logistic, Loss::squared_hinge, Loss::poisson};
constexpr double kInf = std::numeric_limits<double>::infinity();

bool has_labels(Loss loss) { return loss == Loss::logistic || loss == Loss::squared_hinge; }

template <class T>
LossShape<T> shape_of(Loss loss) {
  LossShape<T> shape;
  shape.loss = loss;
  shape.delta = T(0.75);
  shape.floor = T(0.125);
  shape.answer_scale = T(2);
  shape.answer_shift = T(-1);
  return shape;
}

struct Point {
  double r, x;
};

std::vector<Point> grid(Loss loss) {
  std::vector<double> ratings{-3, -1, -0.3, 0, 0.3, 1, 4.5};
  if (has_labels(loss)) ratings = {-1, 1};
  if (loss == Loss::poisson) ratings = {0, 0.01, 0.5, 1, 7};
  std::vector<Point> points;
  for (const double r : ratings) {
    for (int step = -40; step <= 40; ++step) {
      const double x = 0.213 * step + 0.0517;
      if (loss != Loss::poisson || x > 0) points.push_back({r, x});
    }
  }
  return points;
}

/// Distance from the nearest place where l has no second derivative.
double from_kink(Loss loss, const Point& at, const LossShape<double>& shape) {
  switch (loss) {
    case Loss::absolute: return std::abs(at.x - at.r);
    case Loss::huber: return std::abs(std::abs(at.x - at.r) - shape.delta);
    case Loss::squared_hinge: return std::abs(1 - at.r * at.x);
    case Loss::poisson: return std::abs(at.x - shape.floor);
    default: return kInf;
  }
}

TEST(every_slope_is_the_central_difference_of_its_loss) {
  constexpr double h = 1e-5;
  for (const Loss loss : kLosses) {
    const LossShape<double> shape = shape_of<double>(loss);
    const double halves = loss == Loss::squared ? 0.5 : 1;  // the squared loss is reported without its half
    int tried = 0;
    for (const Point& at : grid(loss)) {
      if (from_kink(loss, at, shape) < 2 * h) continue;
      ++tried;
      const double up = halves * rule::loss_terms(at.r, at.x + h, shape).reported,
                   down = halves * rule::loss_terms(at.r, at.x - h, shape).reported;
      // The third derivatives: 0, 0, 0, at most 0.1, 0, and 2 r / x^3. Rounding: a few ulps of the sums' terms.
      const double third = loss == Loss::logistic  ? 0.1
                           : loss == Loss::poisson ? 2 * at.r / std::pow(std::max(at.x, shape.floor), 3)
                                                   : 0;
      const double largest = 1 + up + at.r * at.r + 10 * std::abs(at.x) + 10 * std::abs(at.r);
      const double tolerance = 1.1 * h * h * third / 6 + 16 * 1.2e-16 * largest / h;
      check::context = std::string(name_of(loss)) + " at r = " + std::to_string(at.r) + ", x = " + std::to_string(at.x);
      CHECK_CLOSE(rule::loss_terms(at.r, at.x, shape).slope, (up - down) / (2 * h), tolerance);
    }
    CHECK(tried > 50);
  }
}

template <class T>
void check_packs(Loss loss) {
  const LossShape<T> shape = shape_of<T>(loss);
  const std::vector<Point> points = grid(loss);
  for (std::size_t first = 0; first + 8 <= points.size(); first += 8) {
    T r[8], x[8], reported[8], slope[8], square[8];
    for (std::size_t j = 0; j < 8; ++j) {
      r[j] = static_cast<T>(points[first + j].r);
      x[j] = static_cast<T>(points[first + j].x);
    }
    using Numbers = rule::Eight<T>;
    const rule::LossTerms<Numbers> eight = rule::loss_terms(Numbers::load(r), Numbers::load(x), shape);
    eight.reported.store(reported);
    eight.slope.store(slope);
    eight.square.store(square);
    for (std::size_t j = 0; j < 8; ++j) {
      const rule::LossTerms<T> one = rule::loss_terms(r[j], x[j], shape);
      // The same operations, except products and sums that the compiler may fuse in one and not in the other.
      const T ulp = 16 * std::numeric_limits<T>::epsilon();
      const T size = T(1) + std::abs(r[j]) + std::abs(x[j]);
      CHECK_CLOSE(reported[j], one.reported, ulp * size * size);
      CHECK_CLOSE(slope[j], one.slope, ulp * (size + std::abs(one.slope)));
      CHECK_CLOSE(square[j], one.square, 4 * ulp * size * size);
      // And in single precision about the same as in double.
      const rule::LossTerms<double> exact =
          rule::loss_terms(static_cast<double>(r[j]), static_cast<double>(x[j]), shape_of<double>(loss));
      CHECK_CLOSE(one.reported, exact.reported, ulp * size * size);
      CHECK_CLOSE(one.slope, exact.slope, ulp * (size + std::abs(one.slope)));
    }
  }
}

TEST(eight_ratings_at_once_have_the_losses_of_each) {
  for (const Loss loss : kLosses) {
    check::context = std::string("float, ") + name_of(loss);
    check_packs<float>(loss);
    check::context = std::string("double, ") + name_of(loss);
    check_packs<double>(loss);
  }
}

TEST(losses_of_far_scores_do_not_overflow) {
  for (const float y : {-1.0f, 1.0f}) {
    const rule::LossTerms<float> right = rule::loss_terms(y, y * 1e4f, shape_of<float>(Loss::logistic)),
                                 wrong = rule::loss_terms(y, y * -1e4f, shape_of<float>(Loss::logistic));
    CHECK_EQ(right.reported, 0.0f);
    CHECK_EQ(right.slope, 0.0f);
    CHECK_EQ(wrong.reported, 1e4f);
    CHECK_EQ(wrong.slope, -y);
    CHECK_EQ(wrong.square, 4.0f);
  }
  const rule::LossTerms<float> empty = rule::loss_terms(0.0f, 0.0f, shape_of<float>(Loss::poisson));
  CHECK_EQ(empty.reported, 0.0f);
  CHECK_EQ(empty.slope, 1.0f);
}

TEST(a_score_that_is_no_number_stays_one) {
  for (const Loss loss : kLosses) {
    check::context = name_of(loss);
    const rule::LossTerms<double> terms =
        rule::loss_terms(1.0, std::numeric_limits<double>::quiet_NaN(), shape_of<double>(loss));
    CHECK(std::isnan(terms.reported) && std::isnan(terms.slope) && std::isnan(terms.square));
  }
}

TEST(the_soft_threshold_and_the_limit_are_the_proximal_step) {
  // The step's result minimizes (v - w)^2 / 2 + threshold * |v| over v >= lowest: compared with a search.
  for (const double lowest : {-kInf, 0.0}) {
    for (int n = -30; n <= 30; ++n) {
      const double w = 0.1 * n, threshold = 0.73, found = rule::proximal(w, threshold, lowest);
      const auto cost = [&](double v) { return (v - w) * (v - w) / 2 + threshold * std::abs(v); };
      CHECK(found >= lowest);
      for (int m = -4000; m <= 4000; ++m) {
        const double v = 0.001 * m;
        if (v >= lowest) CHECK(cost(found) <= cost(v) + 1e-15);
      }
    }
  }
}

/// Ratings that the loss can take.
Data data_for(Loss loss, std::int32_t n_users, std::int32_t n_items, std::int32_t n, std::uint64_t seed = 0) {
  Data data(n_users, n_items, n, 0.3, seed);
  for (float& value : data.values) {
    if (has_labels(loss)) value = value > 3 ? 1.0f : -1.0f;
    if (loss == Loss::poisson) value = std::max(0.0f, std::round(value));
  }
  return data;
}

TrainParams params_for(Loss loss, std::int32_t n_factors = 6) {
  TrainParams params;
  params.n_factors = n_factors;
  params.n_threads = 2;
  params.loss = loss;
  return params;
}

TEST(blocked_gives_the_same_bits_for_any_number_of_threads_with_every_loss) {
  for (const Loss loss : kLosses) {
    for (const double l1_ratio : {0.0, 0.5}) {
      if (!check::takes_case()) continue;
      Data data = data_for(loss, 1500, 1200, 12000);
      for (std::size_t r = 0; r < data.values.size(); ++r) data.weights.push_back(0.5f + static_cast<float>(r % 3));
      const Data held_out = data_for(loss, 1500, 1200, 2000, 1);
      TrainOptions<float> options;
      options.validation = held_out.view();
      TrainParams params = params_for(loss, 40);
      params.n_epochs = 2;
      params.l1_ratio = l1_ratio;
      params.n_threads = 1;
      const TrainResult<float> alone = train<float>(data.view(), params, options);
      check::context = name_of(loss);
      params.n_threads = 2;
      const TrainResult<float> shared = train<float>(data.view(), params, options);
      CHECK_EQ(shared.n_threads, 2);
      CHECK(same_bits(alone.model, shared.model));
      CHECK_EQ(alone.history.back().train_loss, shared.history.back().train_loss);
      CHECK_EQ(alone.history.back().train_rmse, shared.history.back().train_rmse);
      CHECK_EQ(alone.history.back().valid_loss, shared.history.back().valid_loss);
    }
  }
}

/// The score of a pair, from which the link makes the prediction.
template <class T>
double score(Model<T> model, std::int32_t user, std::int32_t item) {
  model.link = Link::identity;
  return static_cast<double>(model.predict(user, item));
}

TEST(the_reported_losses_are_the_formulas_means_in_the_ratings_units) {
  for (const Loss loss : kLosses) {
    for (const bool biased : {false, true}) {
      if (!check::takes_case()) continue;
      check::context = std::string(name_of(loss)) + (biased ? ", biased" : "");
      const Data data = data_for(loss, 60, 50, 2500), held_out = data_for(loss, 60, 50, 400, 1);
      TrainOptions<double> options;
      options.validation = held_out.view();
      TrainParams params = params_for(loss, 3);
      params.biases = biased;
      params.n_epochs = 5;
      params.huber_delta = 0.4;
      const TrainResult<double> result = train<double>(data.view(), params, options);
      const EpochReport& best = result.history[static_cast<std::size_t>(result.best_epoch) - 1];
      double deviation = 0, mean = 0, size = 0;
      for (const float value : data.values) mean += value;
      mean /= static_cast<double>(data.values.size());
      for (const float value : data.values) deviation += (value - mean) * (value - mean);
      deviation = std::sqrt(deviation / static_cast<double>(data.values.size()));
      size = std::max(deviation, std::hypot(deviation, biased ? 0 : mean) / 5);
      double losses = 0, squares = 0;
      for (std::size_t r = 0; r < held_out.values.size(); ++r) {
        const double value = static_cast<double>(held_out.values[r]);
        const double x = score(result.model, held_out.users[r], held_out.items[r]);
        const double error = value - result.model.predict(held_out.users[r], held_out.items[r]);
        squares += error * error;
        if (loss == Loss::squared) {
          losses += error * error;
        } else if (loss == Loss::poisson) {
          losses += (value > 0 ? value * std::log(value / x) : 0) - value + x;
        } else {
          losses += loss_term(loss, value, x, 0.4 * size).loss;
        }
      }
      const double n = static_cast<double>(held_out.values.size());
      // Ratings are divided by their deviation in single precision.
      CHECK_CLOSE(best.valid_loss, losses / n, 1e-6 * (1 + losses / n));
      CHECK_CLOSE(best.valid_rmse, std::sqrt(squares / n), 1e-6);
      if (loss == Loss::squared) CHECK_CLOSE(best.train_loss, best.train_rmse * best.train_rmse, 1e-15);
      CHECK(result.history.back().train_loss < result.history.front().train_loss);
    }
  }
}

TEST(labels_of_0_and_1_train_as_those_of_minus_1_and_1) {
  for (const Loss loss : {Loss::logistic, Loss::squared_hinge}) {
    check::context = name_of(loss);
    const Data signs = data_for(loss, 60, 50, 2500);
    Data bits = signs;
    for (float& value : bits.values) value = value > 0 ? 1.0f : 0.0f;
    const Model<float> a = train<float>(signs.view(), params_for(loss)).model,
                       b = train<float>(bits.view(), params_for(loss)).model;
    // The log-odds are those of a share that is rounded elsewhere.
    CHECK_CLOSE(score(a, 3, 4), score(b, 3, 4), 1e-5);
    if (loss == Loss::logistic) {
      CHECK(a.link == Link::signed_probability && b.link == Link::probability);
      CHECK_CLOSE(a.predict(3, 4), 2 * b.predict(3, 4) - 1, 1e-5f);
      CHECK(b.predict(3, 4) > 0 && b.predict(3, 4) < 1);
    } else {
      CHECK(a.link == Link::identity && b.link == Link::identity);
    }
  }
}

TEST(what_is_no_label_or_no_count_is_refused_by_name) {
  const auto check_refused = [](Loss loss, const std::string& part, const std::vector<float>& values) {
    Data data = data_for(loss, 5, 4, 20);
    std::copy(values.begin(), values.end(), data.values.begin());
    CHECK_THROWS(std::invalid_argument, "ratings" + part, train<float>(data.view(), params_for(loss)));
    TrainOptions<float> options;
    options.validation = data.view();
    Data good = data_for(loss, 5, 4, 20);
    CHECK_THROWS(std::invalid_argument, "validation" + part, train<float>(good.view(), params_for(loss), options));
  };
  for (const Loss loss : {Loss::logistic, Loss::squared_hinge}) {
    check_refused(loss, std::string(".values[2] is 3; it must be a label with the ") + name_of(loss), {1, -1, 3});
    check_refused(loss, ".values[0] is 0.5; it must be a label", {0.5f, 1});
    check_refused(loss, ".values[2] is 0; it must be a label", {1, -1, 0});
    Data same = data_for(loss, 5, 4, 20);
    std::fill(same.values.begin(), same.values.end(), 1.0f);
    CHECK_THROWS(std::invalid_argument, "ratings are all 1; they must have both labels",
                 train<float>(same.view(), params_for(loss)));
  }
  check_refused(Loss::poisson, ".values[1] is -2; it must be at least 0 with the poisson loss", {1, -2});
}

TEST(the_poisson_loss_does_not_know_the_ratings_scale) {
  for (const bool biased : {false, true}) {
    Data data = data_for(Loss::poisson, 60, 50, 2500), power = data;
    for (float& value : power.values) value *= 64;
    TrainParams params = params_for(Loss::poisson);
    params.biases = biased;
    const TrainResult<double> one = train<double>(data.view(), params), many = train<double>(power.view(), params);
    CHECK_CLOSE(64 * one.model.predict(3, 4), many.model.predict(3, 4), 1e-12);
    CHECK_CLOSE(64 * one.history.back().train_loss, many.history.back().train_loss, 1e-9);
  }
}

TEST(counts_that_are_all_zero_are_predicted_as_zero) {
  Data data(20, 10, 200);
  std::fill(data.values.begin(), data.values.end(), 0.0f);
  for (const bool biased : {false, true}) {
    TrainParams params = params_for(Loss::poisson);
    params.biases = biased;
    const TrainResult<float> result = train<float>(data.view(), params);
    CHECK(finite(result.model));
    CHECK(rmse(result.model, data) < 0.01);
  }
}

template <class T>
T least(const Model<T>& model) {
  T all = 0;
  for (const std::vector<T>* part :
       {&model.user_factors, &model.item_factors, &model.user_biases, &model.item_biases}) {
    all = std::min(all, *std::min_element(part->begin(), part->end()));
  }
  return all;
}

TEST(nothing_is_negative_with_nonnegative_or_counts) {
  for (const Loss loss : {Loss::squared, Loss::absolute, Loss::huber, Loss::poisson}) {
    for (const Optimizer optimizer : {Optimizer::sgd, Optimizer::adagrad, Optimizer::adam}) {
      for (const bool biased : {false, true}) {
        if (!check::takes_case()) continue;
        check::context = std::string(name_of(loss)) + (biased ? ", biased" : "");
        const Data data = data_for(Loss::poisson, 60, 50, 2500);
        TrainParams params = params_for(loss);
        params.nonnegative = loss != Loss::poisson;
        params.biases = biased;
        params.optimizer = optimizer;
        const Model<float> model = train<float>(data.view(), params).model;
        CHECK(least(model) >= 0);
        CHECK_EQ(model.global_mean, 0.0);
        CHECK(rmse(model, data) < 1.2);  // that of the mean is 1.3
        params.n_epochs = 0;
        CHECK(least(train<float>(data.view(), params).model) >= 0);
      }
    }
  }
}

TEST(initial_factors_below_0_are_refused_where_nothing_may_be_negative) {
  const Data data = data_for(Loss::poisson, 5, 4, 20);
  TrainParams params = params_for(Loss::poisson, 1);
  std::vector<float> users(5, 0.5f), items(4, 0.5f);
  items[2] = -0.25f;
  TrainOptions<float> options;
  options.user_factors = users;
  options.item_factors = items;
  CHECK_THROWS(std::invalid_argument, "initial item_factors[2] is -0.25; it must be at least 0",
               train<float>(data.view(), params, options));
  params.loss = Loss::squared;
  train<float>(data.view(), params, options);
  params.nonnegative = true;
  CHECK_THROWS(std::invalid_argument, "at least 0", train<float>(data.view(), params, options));
}

TEST(an_l1_penalty_leaves_exact_zeros_and_an_l2_penalty_does_not) {
  const Data data = data_for(Loss::squared, 100, 80, 4000);
  for (const Optimizer optimizer : {Optimizer::sgd, Optimizer::adagrad, Optimizer::adam}) {
    double share[2] = {};
    for (const double l1_ratio : {0.0, 1.0}) {
      TrainParams params = params_for(Loss::squared, 16);
      params.optimizer = optimizer;
      params.l1_ratio = l1_ratio;
      params.reg = 0.04;
      params.init_scale = 0.3;
      const std::vector<float> factors = train<float>(data.view(), params).model.user_factors;
      share[l1_ratio > 0] =
          static_cast<double>(std::count(factors.begin(), factors.end(), 0.0f)) / static_cast<double>(factors.size());
    }
    check::context = std::to_string(share[1]) + " of the factors are 0";
    CHECK_EQ(share[0], 0.0);
    CHECK(share[1] > 0.1 && share[1] < 1);
  }
}

double length(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

TEST(each_strength_shrinks_its_own_side) {
  const Data data = data_for(Loss::squared, 100, 80, 4000);
  for (const Optimizer optimizer : {Optimizer::sgd, Optimizer::adagrad}) {
    for (const double l1_ratio : {0.0, 0.5}) {
      if (!check::takes_case()) continue;
      const auto lengths = [&](PerSide reg, PerSide reg_bias) {
        TrainParams params = params_for(Loss::squared);
        params.optimizer = optimizer;
        params.l1_ratio = l1_ratio;
        params.init_scale = 0.3;
        params.n_epochs = 20;
        params.reg_row = params.reg_bias_row = 0;
        params.implicit_feedback = ImplicitFeedback::none;
        params.reg = reg;
        params.reg_bias = reg_bias;
        const Model<float> model = train<float>(data.view(), params).model;
        return std::vector{length(model.user_factors), length(model.item_factors), length(model.user_biases),
                           length(model.item_biases)};
      };
      const std::vector<double> even = lengths(0.04, 0.05), users = lengths({0.4, 0.04}, 0.05),
                                items = lengths({0.04, 0.4}, 0.05), user_biases = lengths(0.04, {0.5, 0.05}),
                                item_biases = lengths(0.04, {0.05, 0.5});
      CHECK(users[0] < 0.7 * even[0] && users[0] < 0.9 * users[1]);
      CHECK(items[1] < 0.7 * even[1] && items[1] < 0.9 * items[0]);
      CHECK(user_biases[2] < 0.8 * even[2] && user_biases[3] > 0.9 * even[3]);
      CHECK(item_biases[3] < 0.8 * even[3] && item_biases[2] > 0.9 * even[2]);
    }
  }
}

TEST(every_loss_diverges_with_an_error_or_not_at_all) {
  for (const Loss loss : kLosses) {
    for (const double learning_rate : {1.0, 100.0, 1e10, 1e30}) {
      if (!check::takes_case()) continue;
      check::context = std::string(name_of(loss)) + ", learning rate " + std::to_string(learning_rate);
      TrainParams params = params_for(loss);
      params.learning_rate = learning_rate;
      params.n_epochs = 20;
      try {
        CHECK(finite(train<float>(data_for(loss, 60, 50, 2500).view(), params).model));
      } catch (const DivergedError& error) {
        CHECK(error.epoch() >= 1 && error.epoch() <= params.n_epochs);
      }
    }
  }
}

TEST(every_loss_trains_with_any_start_and_any_width) {
  for (const Loss loss : kLosses) {
    const Data data = data_for(loss, 40, 30, 1000);
    for (const std::int32_t k : {1, 3, 100}) {
      for (const double init_scale : {0.0, 0.01, 0.3}) {
        for (const bool biased : {false, true}) {
          if (!check::takes_case()) continue;
          check::context = std::string(name_of(loss)) + ", k = " + std::to_string(k) + ", init " +
                           std::to_string(init_scale) + (biased ? ", biased" : "");
          TrainParams params = params_for(loss, k);
          params.init_scale = init_scale;
          params.biases = biased;
          params.n_epochs = 8;
          const TrainResult<float> result = train<float>(data.view(), params);
          CHECK(finite(result.model));
          CHECK(result.history.back().train_loss <= 1.001 * result.history.front().train_loss);
        }
      }
    }
  }
}

}  // namespace
