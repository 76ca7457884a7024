// SPDX-License-Identifier: Apache-2.0
// Every bad argument of train() is refused by name; nothing crashes and nothing is NaN in silence.
#include <cstring>
#include <functional>
#include <limits>

#include "check.hpp"
#include "survey.hpp"
#include "synthetic.hpp"
#include "warpfactor/runtime.hpp"

namespace {

using namespace synthetic;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();
constexpr float kNanF = std::numeric_limits<float>::quiet_NaN(), kInfF = std::numeric_limits<float>::infinity();

void check_params(const char* part, const std::function<void(TrainParams&)>& change) {
  const Data data(5, 4, 20);
  TrainParams params;
  change(params);
  CHECK_THROWS(std::invalid_argument, part, train<float>(data.view(), params));
  CHECK_THROWS(std::invalid_argument, part, train<double>(data.view(), params));
}

TEST(parameters_out_of_range_are_named_with_their_value) {
  for (const std::int32_t n : {0, -1, -2147483647, 1025}) {
    check_params(("n_factors is " + std::to_string(n)).c_str(), [&](TrainParams& p) { p.n_factors = n; });
  }
  check_params("n_epochs is -1", [](TrainParams& p) { p.n_epochs = -1; });
  check_params("n_threads is -1", [](TrainParams& p) { p.n_threads = -1; });
  check_params("patience is -3", [](TrainParams& p) { p.patience = -3; });
  for (const double bad : {kNan, kInf, -kInf, -1.0}) {
    check_params("learning_rate is", [&](TrainParams& p) { p.learning_rate = bad; });
    check_params("reg is", [&](TrainParams& p) { p.reg = bad; });
    check_params("reg_bias is", [&](TrainParams& p) { p.reg_bias = bad; });
    check_params("reg.users is", [&](TrainParams& p) { p.reg = {bad, 0.1}; });
    check_params("reg_bias.items is", [&](TrainParams& p) { p.reg_bias = {0.1, bad}; });
    check_params("l1_ratio is", [&](TrainParams& p) { p.l1_ratio = bad; });
    check_params("huber_delta is", [&](TrainParams& p) { p.huber_delta = bad; });
    check_params("init_scale is", [&](TrainParams& p) { p.init_scale = bad; });
  }
  check_params("learning_rate is 0", [](TrainParams& p) { p.learning_rate = 0; });
  check_params("l1_ratio is 1.5", [](TrainParams& p) { p.l1_ratio = 1.5; });
  check_params("huber_delta is 0", [](TrainParams& p) { p.huber_delta = 0; });
  for (const Loss loss : {Loss::logistic, Loss::squared_hinge}) {
    check_params("nonnegative is true; it must be false", [&](TrainParams& p) {
      p.nonnegative = true;
      p.loss = loss;
    });
  }
}

TEST(parameters_of_the_optimizers_are_named_with_their_value) {
  for (const double bad : {kNan, kInf, -0.1, 1.0, 1.5}) {
    check_params("momentum is", [&](TrainParams& p) { p.momentum = bad; });
    check_params("beta_1 is", [&](TrainParams& p) { p.beta_1 = bad; });
    check_params("beta_2 is", [&](TrainParams& p) { p.beta_2 = bad; });
  }
  for (const double bad : {kNan, kInf, 0.0, -1e-8}) {
    check_params("epsilon is", [&](TrainParams& p) { p.epsilon = bad; });
  }
  check_params("momentum is 1; it must be at least 0 and below 1", [](TrainParams& p) { p.momentum = 1; });
  check_params("batch_size is -1; it must be at least 0", [](TrainParams& p) { p.batch_size = -1; });
  check_params("batch_size is 7; it must be 0 with gd", [](TrainParams& p) {
    p.optimizer = Optimizer::gd;
    p.batch_size = 7;
  });
  for (const Optimizer optimizer : {Optimizer::adam, Optimizer::adagrad}) {
    check_params("momentum is 0.5; it must be 0 with", [&](TrainParams& p) {
      p.optimizer = optimizer;
      p.momentum = 0.5;
    });
  }
  check_params("warmup_epochs is -1; it must be at least 0", [](TrainParams& p) { p.warmup_epochs = -1; });
  check_params("warmup_factors is 0; it must be at least 1", [](TrainParams& p) { p.warmup_factors = 0; });
  check_params("warmup_epochs is 20; it must be below n_epochs, which is 20",
               [](TrainParams& p) { p.n_epochs = p.warmup_epochs = 20; });
  check_params("warmup_epochs is 3; it must be 0 with adam", [](TrainParams& p) {
    p.warmup_epochs = 3;
    p.optimizer = Optimizer::adam;
  });
  check_params("warmup_epochs is 3; it must be 0 without biases", [](TrainParams& p) {
    p.warmup_epochs = 3;
    p.loss = Loss::poisson;
    p.biases = false;
  });
  check_params("optimizer is 77; it must be one of sgd, adagrad, adam, gd",
               [](TrainParams& p) { p.optimizer = static_cast<Optimizer>(77); });
}

TEST(strengths_per_row_and_prior_means_that_do_not_go_together_are_named) {
  for (const double bad : {kNan, kInf, -1.0}) {
    check_params("reg_row is", [&](TrainParams& p) { p.reg_row = bad; });
    check_params("reg_row.items is", [&](TrainParams& p) { p.reg_row = {1, bad}; });
    check_params("reg_bias_row is", [&](TrainParams& p) { p.reg_bias_row = bad; });
    check_params("reg_bias_row.users is", [&](TrainParams& p) { p.reg_bias_row = {bad, 1}; });
    check_params("reg_implicit is", [&](TrainParams& p) { p.reg_implicit = bad; });
  }
  check_params("reg_implicit is 0; it must be finite and above 0", [](TrainParams& p) { p.reg_implicit = 0; });
  check_params("implicit_feedback is 9; it must be one of auto, none, users, items, both",
               [](TrainParams& p) { p.implicit_feedback = static_cast<ImplicitFeedback>(9); });
  for (const ImplicitFeedback sides : {ImplicitFeedback::users, ImplicitFeedback::items, ImplicitFeedback::both}) {
    check_params("l1_ratio is 0.5; it must be 0 with implicit_feedback", [&](TrainParams& p) {
      p.implicit_feedback = sides;
      p.l1_ratio = 0.5;
    });
    check_params("it must be none with nonnegative", [&](TrainParams& p) {
      p.implicit_feedback = sides;
      p.nonnegative = true;
    });
    check_params("it must be none with nonnegative", [&](TrainParams& p) {
      p.implicit_feedback = sides;
      p.loss = Loss::poisson;
    });
  }
  const Data data(5, 4, 20);
  TrainOptions<double> options;
  options.penalty = [](const double* w, double* slopes, std::int64_t n) { std::copy_n(w, n, slopes); };
  TrainParams params;
  params.reg_row = 1;
  CHECK_THROWS(std::invalid_argument, "reg_row is above 0; it must be 0 with a penalty of your own",
               train<double>(data.view(), params, options));
  params = {};
  params.reg_bias_row = {0, 1};
  CHECK_THROWS(std::invalid_argument, "reg_bias_row is above 0; it must be 0 with a penalty of your own",
               train<double>(data.view(), params, options));
  params = {};
  params.implicit_feedback = ImplicitFeedback::items;
  CHECK_THROWS(std::invalid_argument, "implicit_feedback is items; it must be none with a penalty of your own",
               train<double>(data.view(), params, options));
}

TEST(bad_pairs_without_a_rating_are_named_with_their_place) {
  Data data(5, 4, 20);
  const auto fit = [&](std::vector<std::int32_t> users, std::vector<std::int32_t> items) {
    TrainOptions<float> options;
    options.implicit.users = users;
    options.implicit.items = items;
    return train<float>(data.view(), {}, options);
  };
  CHECK_THROWS(std::invalid_argument, "implicit has 2 users and 1 items", fit({0, 1}, {0}));
  CHECK_THROWS(std::invalid_argument, "implicit.users[1] is 5; it must be from 0 to 4", fit({0, 5}, {0, 1}));
  CHECK_THROWS(std::invalid_argument, "implicit.users[0] is -1; it must be from 0 to 4", fit({-1, 0}, {0, 1}));
  CHECK_THROWS(std::invalid_argument, "implicit.items[1] is 4; it must be from 0 to 3", fit({0, 1}, {0, 4}));
  CHECK_THROWS(std::invalid_argument, "implicit.items[0] is -7", fit({0, 1}, {-7, 0}));
  for (std::int32_t& user : data.users) user = user == 2 ? 1 : user;
  CHECK_THROWS(std::invalid_argument, "implicit holds no pair of a user and an item that both have ratings",
               fit({2, 2}, {0, 1}));
}

TEST(missing_or_superfluous_custom_functions_are_named) {
  const Data data(5, 4, 20);
  TrainParams params;
  params.loss = Loss::custom;
  CHECK_THROWS(std::invalid_argument, "loss is custom; it must be another one where options.loss",
               train<float>(data.view(), params));
  TrainOptions<double> options;
  options.penalty = [](const double* w, double* slopes, std::int64_t n) { std::copy_n(w, n, slopes); };
  params = {};
  params.l1_ratio = 0.5;
  CHECK_THROWS(std::invalid_argument, "l1_ratio is 0.5", train<double>(data.view(), params, options));
  params = {};
  params.loss = Loss::custom;
  options.loss = [](const double*, const double*, double* losses, double* slopes) {
    std::fill_n(losses, 8, 0.0);
    std::fill_n(slopes, 8, kNan);
  };
  CHECK_THROWS(std::invalid_argument, "the custom loss gives 0 with the slope nan",
               train<double>(data.view(), params, options));
}

TEST(a_bad_validation_rating_of_a_custom_loss_is_named_by_its_place_among_those_given) {
  const Data data(5, 4, 20);
  // The first is of an unknown user, and left out.
  const std::vector<std::int32_t> users{-1, data.users[0]}, items{0, data.items[0]};
  const std::vector<float> values{1000, 1000};
  TrainParams params;
  params.loss = Loss::custom;
  TrainOptions<double> options;
  options.loss = [](const double* ratings, const double*, double* losses, double* slopes) {
    for (int n = 0; n < 8; ++n) losses[n] = slopes[n] = ratings[n] == 1000 ? kNan : 1.0;
  };
  options.validation = {.users = users, .items = items, .values = values, .n_users = 5, .n_items = 4};
  CHECK_THROWS(std::invalid_argument, "validation.values[1], 1000", train<double>(data.view(), params, options));
}

/// Applies `change` to a copy of good ratings, as the ratings and as the validation.
void check_ratings(const char* part, const std::function<void(Data&)>& change) {
  const Data good(5, 4, 20);
  Data bad = good;
  bad.weights.assign(bad.values.size(), 1.0f);
  change(bad);
  CHECK_THROWS(std::invalid_argument, std::string("ratings") + part, train<float>(bad.view(), {}));
  TrainOptions<float> options;
  options.validation = bad.view();
  CHECK_THROWS(std::invalid_argument, std::string("validation") + part, train<float>(good.view(), {}, options));
}

TEST(bad_ratings_are_named_with_their_place) {
  check_ratings(".values[7] is nan", [](Data& d) { d.values[7] = kNanF; });
  check_ratings(".values[0] is inf", [](Data& d) { d.values[0] = kInfF; });
  check_ratings(".values[19] is -inf", [](Data& d) { d.values[19] = -kInfF; });
  check_ratings(".users[3] is -2", [](Data& d) { d.users[3] = -2; });
  check_ratings(".users[3] is 5", [](Data& d) { d.users[3] = 5; });
  check_ratings(".items[0] is 4", [](Data& d) { d.items[0] = 4; });
  check_ratings(".items[0] is -2147483648", [](Data& d) { d.items[0] = std::numeric_limits<std::int32_t>::min(); });
  check_ratings(".weights[2] is nan", [](Data& d) { d.weights[2] = kNanF; });
  check_ratings(".weights[2] is inf", [](Data& d) { d.weights[2] = kInfF; });
  check_ratings(".weights[2] is -1", [](Data& d) { d.weights[2] = -1; });
  check_ratings(".weights[0] is nan", [](Data& d) { d.weights[0] = kNanF; });
  check_ratings(".weights are all 0", [](Data& d) { std::fill(d.weights.begin(), d.weights.end(), 0.0f); });
  check_ratings(" has 19 users, 20 items, 20 values", [](Data& d) { d.users.pop_back(); });
  check_ratings(" has 20 users, 19 items, 20 values", [](Data& d) { d.items.pop_back(); });
  check_ratings(" has 20 users, 20 items, 19 values", [](Data& d) { d.values.pop_back(); });
  check_ratings(" has 20 users, 20 items, 20 values and 7 weights", [](Data& d) { d.weights.resize(7); });
  check_ratings(" has 20 users, 20 items, 20 values and 21 weights", [](Data& d) { d.weights.resize(21); });
}

TEST(only_validation_may_have_unknown_rows) {
  const Data good(5, 4, 20);
  Data unknown = good;
  unknown.users[3] = -1;
  CHECK_THROWS(std::invalid_argument, "ratings.users[3] is -1; it must be from 0 to 4",
               train<float>(unknown.view(), {}));
  TrainOptions<float> options;
  options.validation = unknown.view();
  train<float>(good.view(), {}, options);
  std::fill(unknown.users.begin(), unknown.users.end(), -1);
  options.validation = unknown.view();
  CHECK_THROWS(std::invalid_argument, "validation: none of its 20 ratings has a user and an item with training ratings",
               train<float>(good.view(), {}, options));
}

TEST(every_number_out_of_a_parameter_s_range_is_refused_as_the_table_says) {
  const Data data(5, 4, 20);
  for (const Param& param : kParams) {
    check::context = param.name;
    const std::string says = std::string(param.name) + " is ";
    const auto refused = [&](const auto& change) {
      TrainParams params;
      change(params);
      CHECK_THROWS(std::invalid_argument, says, require_in_range(params));
      CHECK_THROWS(std::invalid_argument, "; it must be " + allowed_text(param), require_in_range(params));
    };
    std::visit(
        [&]<class V>(V TrainParams::* member) {
          if constexpr (std::is_enum_v<V>) {
            refused([&](TrainParams& p) { p.*member = static_cast<V>(99); });
          } else if constexpr (std::is_signed_v<V>) {
            refused([&](TrainParams& p) { p.*member = static_cast<V>(param.range.low) - 1; });
          } else if constexpr (std::is_same_v<V, std::optional<double>> || std::is_same_v<V, PerSide>) {
            refused([&](TrainParams& p) { p.*member = param.range.low - 1; });
          }
        },
        param.member);
  }
  check::context.clear();
}

TEST(values_that_an_enum_does_not_have_are_refused) {
  for (const Param& param : kParams) {
    std::visit(
        [&]<class V>(V TrainParams::* member) {
          if constexpr (std::is_enum_v<V>) {
            for (const int value : {-1, 99}) {
              TrainParams params;
              params.*member = static_cast<V>(value);
              CHECK_THROWS(std::invalid_argument, std::string(param.name) + " is " + std::to_string(value),
                           require_in_range(params));
            }
          }
        },
        param.member);
  }
  CHECK_THROWS(std::invalid_argument, "loss is 99", loss_term(static_cast<Loss>(99), 1, 1));
  CHECK_THROWS(std::invalid_argument, "and not custom", loss_term(Loss::custom, 1, 1));
}

TEST(more_ratings_of_a_row_than_its_count_can_hold_are_refused) {
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> counts{0, kMost - 1};
  add_counts(counts, {7, 1}, "user");
  CHECK(counts[0] == 7 && counts[1] == kMost);
  CHECK_THROWS(std::invalid_argument, "a user (row 1) has more than 4294967295 ratings",
               add_counts(counts, {0, 1}, "user"));
}

TEST(a_bad_rating_among_many_is_found_by_every_team) {
  Data data(50, 40, 300000);
  data.values[290001] = kNanF;
  for (const std::int32_t threads : {1, 3}) {
    TrainParams params;
    params.n_threads = threads;
    CHECK_THROWS(std::invalid_argument, "ratings.values[290001] is nan", train<float>(data.view(), params));
  }
}

TEST(empty_ratings_and_shapes_are_refused) {
  CHECK_THROWS(std::invalid_argument, "ratings is empty", train<float>({{}, {}, {}, {}, 3, 3}, {}));
  const Data good(5, 4, 20);
  for (const std::int32_t n : {0, -1}) {
    RatingsView ratings = good.view();
    ratings.n_users = n;
    CHECK_THROWS(std::invalid_argument, "n_users is", train<float>(ratings, {}));
    ratings = good.view();
    ratings.n_items = n;
    CHECK_THROWS(std::invalid_argument, "n_items is", train<float>(ratings, {}));
  }
  const Data other(6, 4, 20);
  TrainOptions<float> options;
  options.validation = other.view();
  CHECK_THROWS(std::invalid_argument, "validation is 6 x 4", train<float>(good.view(), {}, options));
  options.validation = good.view();
  options.validation.values = {};
  CHECK_THROWS(std::invalid_argument, "validation has 20 users", train<float>(good.view(), {}, options));
}

TEST(bad_initial_factors_are_named) {
  const Data data(5, 4, 20);
  TrainParams params;
  params.n_factors = 3;
  const std::vector<float> users(15, 0.1f), items(12, 0.1f);
  std::vector<float> nan_users = users, inf_items = items;
  nan_users[4] = kNanF;
  inf_items[11] = kInfF;
  const auto run = [&](std::span<const float> p, std::span<const float> q) {
    TrainOptions<float> options;
    options.user_factors = p;
    options.item_factors = q;
    train<float>(data.view(), params, options);
  };
  run(users, items);
  CHECK_THROWS(std::invalid_argument, "user_factors", run(users, {}));
  CHECK_THROWS(std::invalid_argument, "item_factors", run({}, items));
  CHECK_THROWS(std::invalid_argument, "user_factors has 12 elements; it must have 5 x 3", run(items, items));
  CHECK_THROWS(std::invalid_argument, "item_factors has 15 elements; it must have 4 x 3", run(users, users));
  CHECK_THROWS(std::invalid_argument, "user_factors[4] is nan; it must be finite", run(nan_users, items));
  CHECK_THROWS(std::invalid_argument, "item_factors[11] is inf; it must be finite", run(users, inf_items));
}

TEST(bad_initial_biases_are_named) {
  const Data data(5, 4, 20);
  TrainParams params;
  params.n_factors = 3;
  const std::vector<float> users(15, 0.1f), items(12, 0.1f), user_biases(5, 0.1f), item_biases(4, 0.1f);
  TrainOptions<float> good;
  good.user_factors = users;
  good.item_factors = items;
  good.user_biases = user_biases;
  good.item_biases = item_biases;
  const auto run = [&](const auto& change) {
    TrainOptions<float> options = good;
    change(options);
    train<float>(data.view(), params, options);
  };
  using Options = TrainOptions<float>;
  using Bad = std::invalid_argument;
  run([](Options&) {});
  CHECK_THROWS(Bad, "user_biases has 4 elements; it must have 5 x 1",
               run([&](Options& options) { options.user_biases = item_biases; }));
  CHECK_THROWS(Bad, "item_biases has 0 elements", run([](Options& options) { options.item_biases = {}; }));
  CHECK_THROWS(Bad, "without initial factors",
               run([](Options& options) { options.user_factors = options.item_factors = {}; }));
  CHECK_THROWS(Bad, "global_mean is nan", run([](Options& options) { options.global_mean = kNanF; }));
  params.biases = false;
  CHECK_THROWS(Bad, "biases is false", run([](Options&) {}));
}

TEST(cuda_is_never_replaced_by_the_cpu_in_silence) {
  if (cuda_status().usable) return;
  CHECK(!cuda_status().reason.empty());
  const Data data(5, 4, 20);
  TrainParams params;
  params.device = Device::cuda;
  CHECK_THROWS(CudaError, cuda_status().reason, train<float>(data.view(), params));
  CHECK_THROWS(CudaError, cuda_status().reason, train<double>(data.view(), params));
}

template <class T>
void check_divergence(double learning_rate) {
  const Data data(60, 50, 2000);
  TrainParams params;
  params.learning_rate = learning_rate;
  params.n_factors = 8;
  params.n_epochs = 20;
  try {
    train<T>(data.view(), params);
    CHECK(false && "training diverged without an error");
  } catch (const DivergedError& error) {
    CHECK(error.epoch() >= 1 && error.epoch() <= *params.n_epochs);
    for (const std::string& part :
         {"epoch " + std::to_string(error.epoch()), std::string("learning_rate"), std::string("lower")}) {
      CHECK(std::strstr(error.what(), part.c_str()) != nullptr);
    }
  }
}

TEST(divergence_is_an_error_with_the_epoch_and_a_hint) {
  for (const double learning_rate : {3.0, 100.0, 1e10, 1e30, 1e300}) {
    check::context = "learning_rate " + std::to_string(learning_rate);
    check_divergence<float>(learning_rate);
    check_divergence<double>(learning_rate);
  }
}

TEST(huge_ratings_are_no_divergence) {
  Data data(30, 20, 500);
  for (float& value : data.values) value *= 1e37f;
  const TrainResult<double> result = train<double>(data.view(), {});
  CHECK(finite(result.model));
  CHECK(rmse(result.model, data) < 1e37);
}

}  // namespace
