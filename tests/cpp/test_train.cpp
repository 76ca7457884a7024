// SPDX-License-Identifier: Apache-2.0
// train() as callers see it, with the blocked schedule.
#include <chrono>
#include <limits>
#include <numeric>
#include <thread>

#include "check.hpp"
#include "early_stopping.hpp"
#include "synthetic.hpp"
#include "warpfactor/runtime.hpp"

namespace {

using namespace synthetic;

TrainParams small(std::int32_t n_factors = 8) {
  TrainParams params;
  params.n_factors = n_factors;
  params.n_threads = 2;
  return params;
}

/// Penalties per rating alone, and no prior means.
TrainParams plain(TrainParams params) {
  params.reg_row = params.reg_bias_row = 0;
  params.implicit_feedback = ImplicitFeedback::none;
  return params;
}

template <class T>
void check_recovery(bool biased) {
  const Data data(300, 200, 20000, 0.0, 0, biased), held_out(300, 200, 4000, 0.0, 1, biased);
  TrainParams params = plain(small(6));
  params.biases = biased;
  params.n_epochs = 60;
  params.reg = params.reg_bias = 1e-4;
  const TrainResult<T> result = train<T>(data.view(), params);
  CHECK(rmse(result.model, held_out) < 0.05);  // the ratings' own deviation is about 1.2
  CHECK_EQ(result.history.size(), 60u);
  CHECK(result.history.back().train_rmse < 0.05 * result.history.front().train_rmse);
  CHECK_EQ(result.model.n_users, 300);
  CHECK_EQ(result.model.n_items, 200);
  CHECK_EQ(result.model.n_factors, 6);
  CHECK_EQ(result.best_epoch, 60);
  const double mean =
      std::accumulate(data.values.begin(), data.values.end(), 0.0) / static_cast<double>(data.values.size());
  CHECK_CLOSE(result.model.rating_mean, mean, 1e-9);
  CHECK_EQ(result.model.global_mean, biased ? result.model.rating_mean : 0.0);
  if (!biased) {
    for (const T b : result.model.user_biases) CHECK_EQ(b, T(0));
    for (const T b : result.model.item_biases) CHECK_EQ(b, T(0));
  }
}

TEST(a_planted_low_rank_matrix_is_recovered_in_float) { check_recovery<float>(true); }
TEST(a_planted_low_rank_matrix_is_recovered_in_double) { check_recovery<double>(true); }
TEST(a_planted_matrix_without_biases_is_recovered) { check_recovery<float>(false); }

template <class T>
void check_same_bits(const Data& data, const Data& held_out, TrainParams params, std::int32_t most_threads) {
  TrainOptions<T> options;
  options.validation = held_out.view();
  params.n_threads = 1;
  const TrainResult<T> alone = train<T>(data.view(), params, options);
  bool reached = false;
  for (const std::int32_t threads : {2, 3, 5, 7}) {
    check::context = std::to_string(sizeof(T) * 8) + " bits, " + std::to_string(threads) + " threads";
    params.n_threads = threads;
    const TrainResult<T> result = train<T>(data.view(), params, options);
    reached = reached || result.n_threads == most_threads;
    CHECK(same_bits(alone.model, result.model));
    CHECK_EQ(alone.history.size(), result.history.size());
    for (std::size_t e = 0; e < alone.history.size(); ++e) {
      CHECK_EQ(alone.history[e].train_rmse, result.history[e].train_rmse);
      CHECK_EQ(alone.history[e].valid_rmse, result.history[e].valid_rmse);
    }
  }
  CHECK(reached);  // the data must be large enough to give that many threads work at once
}

TEST(blocked_gives_the_same_bits_for_any_number_of_threads_with_many_cells) {
  // Wide rows: 7 x 8 blocks and more of few ratings, so threads wait for each other often.
  Data data(900, 1000, 20000, 0.3);
  for (std::size_t r = 0; r < data.values.size(); ++r) data.weights.push_back(0.5f + static_cast<float>(r % 3));
  const Data held_out(900, 1000, 2000, 0.3, 1);
  TrainParams params = small(500);
  params.n_epochs = 3;
  params.reg = 0.04;  // given, so that no strengths are searched, which takes most of the time
  check_same_bits<float>(data, held_out, params, 7);
  check_same_bits<double>(data, held_out, params, 7);
}

TEST(blocked_gives_the_same_bits_for_any_number_of_threads_with_many_ratings) {
  // Long parts of the layout's sort and of the sums, and half of the ratings on one user.
  Data data(3000, 50, 150000, 0.3);
  for (std::size_t r = 0; r < data.users.size(); r += 2) data.users[r] = 77;
  const Data held_out(3000, 50, 70000, 0.3, 1);
  TrainParams params = small(5);
  params.n_epochs = 2;
  check_same_bits<float>(data, held_out, params, 5);
}

TEST(prior_means_have_the_same_bits_for_any_number_of_threads) {
  Data data(3000, 2000, 120'000, 0.3);
  const Data held_out(3000, 2000, 5000, 0.3, 1), clicks(3000, 2000, 9000, 0.3, 2);
  TrainOptions<float> options;
  options.implicit = clicks.view();
  options.implicit.values = {};
  for (const bool weighted : {false, true}) {
    if (weighted) {
      for (std::size_t r = 0; r < data.values.size(); ++r) data.weights.push_back(static_cast<float>(r % 4));
    }
    for (const Optimizer optimizer : {Optimizer::sgd, Optimizer::adagrad, Optimizer::gd}) {
      if (!check::takes_case()) continue;
      TrainParams params = small(20);
      params.n_epochs = 5;
      params.optimizer = optimizer;
      params.implicit_feedback = ImplicitFeedback::both;
      params.reg_row = 8;
      params.n_threads = 1;
      const TrainResult<float> alone = train<float>(data.view(), params, options);
      CHECK(alone.chosen.reg_bias_row.has_value() && !params.reg_bias_row.has_value());
      for (const std::int32_t threads : {2, 5}) {
        check::context = std::string(name_of(optimizer)) + ", " + std::to_string(threads) + " threads";
        params.n_threads = threads;
        const TrainResult<float> result = train<float>(data.view(), params, options);
        CHECK(same_bits(alone.model, result.model));
        CHECK_EQ(alone.chosen.reg_bias_row->users, result.chosen.reg_bias_row->users);
      }
    }
  }
}

/// Fixed strengths, so that nothing depends on a search.
TrainParams with_means() {
  TrainParams params = small();
  params.n_epochs = 5;
  params.reg_row = 8;
  params.reg_bias_row = 5;
  params.implicit_feedback = ImplicitFeedback::both;
  return params;
}

TEST(pairs_without_a_rating_count_for_the_prior_means_once_and_if_they_are_new) {
  Data data(100, 80, 3000, 0.2);
  for (std::int32_t& user : data.users) user = user == 7 ? 8 : user;  // a user without ratings
  const TrainParams params = with_means();
  const auto model_with = [&](const std::vector<std::int32_t>& users, const std::vector<std::int32_t>& items) {
    TrainOptions<float> options;
    options.implicit.users = users;
    options.implicit.items = items;
    return train<float>(data.view(), params, options).model;
  };
  const Model<float> plain = train<float>(data.view(), params).model;
  CHECK(same_bits(plain, model_with(data.users, data.items)));
  std::vector<std::int32_t> users, items;
  for (std::int32_t n = 0; n < 60; ++n) {
    users.push_back(n == 7 ? 6 : n);
    items.push_back(79 - n);
  }
  const Model<float> clicked = model_with(users, items);
  CHECK(!same_bits(plain, clicked));
  std::vector<std::int32_t> more_users = users, more_items = items;
  more_users.insert(more_users.end(), users.begin(), users.end());
  more_items.insert(more_items.end(), items.begin(), items.end());
  CHECK(same_bits(clicked, model_with(more_users, more_items)));
  // A user without ratings tells nothing of the items.
  for (std::int32_t item = 0; item < 80; ++item) {
    more_users.push_back(7);
    more_items.push_back(item);
  }
  CHECK(same_bits(clicked, model_with(more_users, more_items)));
}

TEST(the_result_tells_what_was_chosen) {
  const Data data(100, 80, 3000, 0.2);
  TrainParams params = small();
  const TrainResult<float> result = train<float>(data.view(), params);
  const TrainParams& chosen = result.chosen;
  CHECK(chosen.n_epochs && chosen.learning_rate && chosen.reg && chosen.reg_bias && chosen.reg_row &&
        chosen.reg_bias_row && chosen.reg_implicit && chosen.init_scale);
  CHECK_EQ(static_cast<std::size_t>(*chosen.n_epochs), result.history.size());
  CHECK(chosen.implicit_feedback != ImplicitFeedback::automatic);
  CHECK_EQ(chosen.n_factors, params.n_factors);
  for (const char* name : {"n_epochs", "learning_rate", "reg", "reg_bias", "reg_row", "reg_bias_row", "reg_implicit",
                           "implicit_feedback", "init"}) {
    const std::string quoted = std::string("\"") + name + "\":";
    CHECK(result.model.chosen.find(quoted) != std::string::npos);
  }
  CHECK(result.model.chosen.find("n_factors") == std::string::npos);
}

TEST(prior_means_wait_for_the_end_of_the_second_epoch) {
  const Data data(100, 80, 3000, 0.2);
  TrainParams params = with_means();
  params.schedule = Schedule::constant;
  params.optimizer = Optimizer::gd;  // the grid of single ratings' steps is another one where rows have means
  for (const std::int32_t epochs : {1, 2, 3}) {
    params.n_epochs = epochs;
    params.implicit_feedback = ImplicitFeedback::both;
    const Model<double> means = train<double>(data.view(), params).model;
    params.implicit_feedback = ImplicitFeedback::none;
    const Model<double> none = train<double>(data.view(), params).model;
    check::context = std::to_string(epochs) + " epochs";
    CHECK_EQ(same_bits(means, none), epochs < 3);
  }
}

TEST(the_result_depends_on_the_seed_and_nothing_else) {
  const Data data(100, 80, 3000, 0.2);
  TrainParams params = small();
  const TrainResult<float> first = train<float>(data.view(), params);
  CHECK(same_bits(first.model, train<float>(data.view(), params).model));
  params.seed = 1;
  CHECK(!same_bits(first.model, train<float>(data.view(), params).model));
}

TEST(the_callers_memory_is_only_read) {
  const Data data(100, 80, 3000, 0.2);
  const Data copy = data;
  train<float>(data.view(), small());
  CHECK(data.users == copy.users && data.items == copy.items && data.values == copy.values);
}

TEST(the_first_epochs_error_is_that_of_the_mean) {
  const Data data(300, 200, 5000, 0.5);
  TrainParams params = plain(small());
  params.n_epochs = 1;
  params.learning_rate = 1e-9;
  params.init_scale = 0;
  const TrainResult<double> result = train<double>(data.view(), params);
  double square = 0;
  for (const float value : data.values) square += std::pow(static_cast<double>(value) - result.model.rating_mean, 2);
  CHECK_CLOSE(result.history[0].train_rmse, std::sqrt(square / 5000), 1e-5);
}

TEST(every_schedule_lowers_the_learning_rate_as_it_says) {
  const Data data(30, 20, 300);
  TrainParams params = small();
  params.n_epochs = 8;
  params.learning_rate = 0.04;
  const auto rates = [&](Schedule schedule) {
    params.schedule = schedule;
    std::vector<double> all;
    for (const EpochReport& report : train<float>(data.view(), params).history) all.push_back(report.learning_rate);
    return all;
  };
  const std::vector<double> constant = rates(Schedule::constant), inverse = rates(Schedule::inverse_time),
                            linear = rates(Schedule::linear), cosine = rates(Schedule::cosine);
  for (std::size_t t = 0; t < 8; ++t) {
    const double at = static_cast<double>(t);
    CHECK_CLOSE(constant[t], 0.04, 1e-15);
    CHECK_CLOSE(inverse[t], 0.04 / (1 + at / 10), 1e-15);
    CHECK_CLOSE(linear[t], 0.04 * (1 - at / 8), 1e-15);
    CHECK_CLOSE(cosine[t], 0.04 * (1 + std::cos(std::acos(-1.0) * at / 8)) / 2, 1e-15);
  }
}

/// Few noisy ratings and no penalty: the validation error falls, then rises.
struct Overfitting {
  Data data{200, 150, 4000, 0.8}, held_out{200, 150, 1500, 0.8, 1};
  TrainParams params = plain(small(16));
  TrainOptions<float> options;
  Overfitting() {
    params.reg = params.reg_bias = 0;
    params.schedule = Schedule::constant;
    params.n_epochs = 60;
    options.validation = held_out.view();
  }
};

std::size_t lowest(const std::vector<EpochReport>& history) {
  return static_cast<std::size_t>(
      std::min_element(history.begin(), history.end(),
                       [](const EpochReport& a, const EpochReport& b) { return a.valid_rmse < b.valid_rmse; }) -
      history.begin());
}

TEST(early_stopping_waits_for_patience_and_hands_back_the_best_epoch) {
  for (const std::int32_t patience : {1, 3, 7}) {
    Overfitting setup;
    setup.params.patience = patience;
    const TrainResult<float> result = train<float>(setup.data.view(), setup.params, setup.options);
    const auto n_epochs = static_cast<std::int32_t>(result.history.size());
    CHECK(n_epochs < 60);
    CHECK_EQ(result.best_epoch, n_epochs - patience);
    const std::size_t best = lowest(result.history);
    CHECK_EQ(result.best_epoch, result.history[best].epoch);
    // Float products against float sums over 1500 ratings; a neighbouring epoch is further away by far.
    CHECK_CLOSE(rmse(result.model, setup.held_out), result.history[best].valid_rmse, 1e-5);
    CHECK(std::abs(result.history.back().valid_rmse - result.history[best].valid_rmse) > 1e-4);

    // The same as training for that many epochs and no more.
    setup.params.n_epochs = result.best_epoch;
    setup.options.validation = {};
    CHECK(same_bits(result.model, train<float>(setup.data.view(), setup.params, setup.options).model));
  }
}

TEST(with_early_stopping_n_epochs_is_only_a_bound) {
  const Data data(200, 150, 4000, 0.3), held_out(200, 150, 500, 0.3, 1);
  TrainParams params = plain(small(4));
  TrainOptions<float> options;
  options.validation = held_out.view();
  const auto trained = [&](std::optional<std::int32_t> n_epochs) {
    params.n_epochs = n_epochs;
    return train<float>(data.view(), params, options);
  };
  params.learning_rate = 0.04;  // what plain() would have chosen
  const TrainResult<float> open = trained(std::nullopt), bounded = trained(500), loose = trained(100000);
  CHECK_EQ(open.history.size(), 60u);  // half as many again as the 40 of a small set
  CHECK_EQ(*bounded.chosen.n_epochs, 60);
  CHECK(same_bits(open.model, bounded.model));
  CHECK(same_bits(open.model, loose.model));
  for (std::size_t t = 0; t < open.history.size(); ++t) {
    CHECK_CLOSE(open.history[t].learning_rate, 0.04 * (1 - static_cast<double>(t) / 60), 1e-12);
  }
  CHECK_EQ(trained(7).history.size(), 7u);
  CHECK_CLOSE(trained(7).history.back().learning_rate, 0.04 / 7, 1e-12);
  params.learning_rate = 0.02;  // half as large: twice as many, as far as they may
  CHECK_EQ(trained(std::nullopt).history.size(), 60u);
  CHECK_EQ(trained(100).history.size(), 100u);
  CHECK_EQ(trained(500).history.size(), 120u);
  CHECK_EQ(most_epochs(params, 4000, true), 500);
  params.learning_rate = std::nullopt;
  CHECK_EQ(most_epochs(params, 4000, true), 60);
  CHECK_EQ(most_epochs(params, 4000, false), 500);
  params.optimizer = Optimizer::gd;
  CHECK_EQ(most_epochs(params, 4000, true), 500);
}

TEST(overfitting_leads_back_to_the_best_epoch_and_on_at_a_lower_rate) {
  Overfitting setup;
  setup.params.schedule = Schedule::linear;
  setup.params.learning_rate = 0.08;
  const TrainResult<float> result = train<float>(setup.data.view(), setup.params, setup.options);
  const auto best =
      static_cast<std::size_t>(result.best_epoch) - 1;  // the last of those that are as good as the lowest
  CHECK(best >= lowest(result.history));
  CHECK(std::pow(result.history[best].valid_rmse / result.history[lowest(result.history)].valid_rmse, 2) <= 1 + 5e-4);
  std::size_t back = 0;  // the first epoch at a lower rate
  while (back < result.history.size() &&
         result.history[back].learning_rate > 0.079 * (1 - static_cast<double>(back) / 60)) {
    ++back;
  }
  CHECK(back < result.history.size());
  CHECK_CLOSE(result.history[back].learning_rate, 0.35 * 0.08 * (1 - static_cast<double>(back) / 60), 1e-12);
  const double before = result.history[back - 1].valid_rmse, after = result.history[back].valid_rmse;
  CHECK(after < before);  // it began from the best, not from where it was
  CHECK(static_cast<std::size_t>(result.best_epoch) > back);
  CHECK_CLOSE(rmse(result.model, setup.held_out), result.history[best].valid_rmse, 1e-5);
  // Without the epochs that were gone back over, and no more.
  CHECK(result.learning_rates.size() < static_cast<std::size_t>(result.best_epoch));
  CHECK_EQ(result.learning_rates.back(), result.history[best].learning_rate);
}

TEST(of_losses_that_are_as_good_the_later_epoch_is_kept_where_the_rate_falls) {
  EarlyStopping falling(3, true), staying(3, false);
  for (EarlyStopping* each : {&falling, &staying}) CHECK(each->judge(1, 1.0).better);
  CHECK(falling.judge(2, 1.0004).better);
  CHECK(!staying.judge(2, 1.0004).better);
  CHECK(!falling.judge(3, 1.0008).better);  // not within 0.05 % of the lowest, 1
  CHECK(falling.judge(4, 0.9).better);
  CHECK(!falling.judge(5, 1.0).better);
}

TEST(the_learning_rates_that_were_found_train_without_validation) {
  Overfitting setup;
  setup.params.patience = 2;
  const TrainResult<float> found = train<float>(setup.data.view(), setup.params, setup.options);
  TrainOptions<float> again;
  again.learning_rates = found.learning_rates;
  setup.params.patience = 0;
  setup.params.n_epochs = found.best_epoch;
  CHECK(same_bits(found.model, train<float>(setup.data.view(), setup.params, again).model));
  setup.params.n_epochs = found.best_epoch + 1;
  CHECK_THROWS(std::invalid_argument, "learning_rates has", train<float>(setup.data.view(), setup.params, again));
}

TEST(a_snapshot_is_the_model_of_its_epoch_and_changes_nothing) {
  const Data data(200, 150, 4000, 0.3);
  TrainParams params = small(20);
  params.n_epochs = 8;
  const TrainResult<float> whole = train<float>(data.view(), params);
  TrainOptions<float> options;
  std::optional<TrainResult<float>> third;
  options.on_snapshot = [&](const EpochReport& report, const std::function<TrainResult<float>()>& snapshot) {
    if (report.epoch == 3) third = snapshot();
  };
  CHECK(same_bits(train<float>(data.view(), params, options).model, whole.model));
  options = {};
  options.on_epoch = [](const EpochReport& report) { return report.epoch == 3; };
  const TrainResult<float> stopped = train<float>(data.view(), params, options);
  CHECK(third && same_bits(third->model, stopped.model));
  CHECK_EQ(third->model.history.size(), 3u);
}

TEST(without_patience_all_epochs_run_and_the_last_is_handed_back) {
  Overfitting setup;
  setup.params.patience = 0;
  const TrainResult<float> result = train<float>(setup.data.view(), setup.params, setup.options);
  CHECK_EQ(result.history.size(), 60u);
  CHECK_EQ(result.best_epoch, 60);
  CHECK_CLOSE(rmse(result.model, setup.held_out), result.history.back().valid_rmse, 1e-5);
}

TEST(validation_ratings_that_training_never_saw_are_left_out) {
  Data data(60, 50, 1500);
  data.weights.assign(data.values.size(), 1.0f);
  for (std::size_t r = 0; r < data.values.size(); ++r) {  // the one has no rating, the other none that weighs
    if (data.users[r] == 7) data.users[r] = 8;
    if (data.items[r] == 9) data.weights[r] = 0;
  }
  Data held_out(60, 50, 700, 0, 3);
  held_out.users[5] = held_out.items[11] = -1;
  Data known = held_out;
  known.users.clear();
  known.items.clear();
  known.values.clear();
  for (std::size_t r = 0; r < held_out.values.size(); ++r) {
    const std::int32_t user = held_out.users[r], item = held_out.items[r];
    if (user == 7 || item == 9 || user < 0 || item < 0) continue;
    known.users.push_back(user);
    known.items.push_back(item);
    known.values.push_back(held_out.values[r]);
  }
  CHECK(known.values.size() < held_out.values.size() - 2);
  TrainParams params;
  params.n_epochs = 3;
  TrainOptions<float> options, with_known;
  options.validation = held_out.view();
  with_known.validation = known.view();
  const TrainResult<float> a = train<float>(data.view(), params, options),
                           b = train<float>(data.view(), params, with_known);
  for (std::size_t e = 0; e < 3; ++e) CHECK_EQ(a.history[e].valid_loss, b.history[e].valid_loss);
}

TEST(the_result_tells_the_ratings_number_and_range) {
  Data data(20, 10, 5000);
  const auto [low, high] = std::minmax_element(data.values.begin(), data.values.end());
  TrainParams params;
  params.n_epochs = 0;
  TrainResult<float> result = train<float>(data.view(), params);
  CHECK_EQ(result.model.training.n_ratings, 5000);
  CHECK_EQ(result.model.training.rating_min, *low);
  CHECK_EQ(result.model.training.rating_max, *high);
  data.weights.assign(data.values.size(), 1.0f);
  data.weights[static_cast<std::size_t>(high - data.values.begin())] = 0;
  *high = 1e6f;
  result = train<float>(data.view(), params);
  CHECK_EQ(result.model.training.n_ratings, 4999);
  CHECK(result.model.training.rating_max < 100);
  CHECK_EQ(result.model.training.rating_min, *low);
}

TEST(without_validation_there_is_no_validation_error) {
  const Data data(50, 40, 1000);
  for (const EpochReport& report : train<float>(data.view(), small()).history) CHECK(std::isnan(report.valid_rmse));
}

TEST(the_callback_sees_every_epoch_and_can_stop) {
  const Data data(50, 40, 1000);
  const std::thread::id caller = std::this_thread::get_id();
  std::int32_t calls = 0;
  TrainOptions<float> options;
  options.on_epoch = [&](const EpochReport& report) {
    CHECK_EQ(report.epoch, ++calls);
    CHECK(std::this_thread::get_id() == caller);
    return report.epoch == 4;
  };
  const TrainResult<float> stopped = train<float>(data.view(), small(), options);
  CHECK_EQ(calls, 4);
  CHECK_EQ(stopped.history.size(), 4u);
  CHECK_EQ(stopped.best_epoch, 4);
  options.on_epoch = [](const EpochReport&) -> bool { throw std::domain_error("from the callback"); };
  CHECK_THROWS(std::domain_error, "from the callback", train<float>(data.view(), small(), options));
}

TEST(a_stop_by_the_callback_still_hands_back_the_best_epoch) {
  Overfitting setup;
  setup.params.patience = 7;
  const TrainResult<float> whole = train<float>(setup.data.view(), setup.params, setup.options);
  const std::int32_t stop_at = whole.best_epoch + 2;
  setup.options.on_epoch = [&](const EpochReport& report) { return report.epoch == stop_at; };
  const TrainResult<float> stopped = train<float>(setup.data.view(), setup.params, setup.options);
  CHECK_EQ(static_cast<std::int32_t>(stopped.history.size()), stop_at);
  CHECK_EQ(stopped.best_epoch, whole.best_epoch);
  CHECK(same_bits(stopped.model, whole.model));
}

TEST(an_interrupt_is_obeyed_within_an_epoch_and_leaves_the_process_usable) {
  const Data data(200, 100, 60000, 0.1);
  TrainParams params = small(1024);  // an epoch of this takes longer than a poll
  const TrainResult<float> before = train<float>(data.view(), small());
  for (const std::int32_t threads : {1, 2, 4}) {
    params.n_threads = threads;
    params.n_epochs = 1000000;
    TrainOptions<float> options;
    int polls = 0;
    options.interrupted = [&] { return ++polls >= 2; };
    const auto start = std::chrono::steady_clock::now();
    CHECK_THROWS(Interrupted, "interrupted", train<float>(data.view(), params, options));
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
    options.interrupted = []() -> bool { throw std::domain_error("signal handler"); };
    CHECK_THROWS(std::domain_error, "signal handler", train<float>(data.view(), params, options));
  }
  CHECK(same_bits(before.model, train<float>(data.view(), small()).model));
}

TEST(no_epochs_hand_back_the_start) {
  const Data data(50, 40, 1000);
  TrainParams params = small(3);
  params.n_epochs = 0;
  const TrainResult<double> result = train<double>(data.view(), params);
  CHECK(result.history.empty());
  CHECK_EQ(result.best_epoch, 0);
  double square = 0;
  for (const double w : result.model.user_factors) square += w * w;
  const double in_z_units = std::sqrt(square / 150) / std::sqrt(1.2);  // the ratings' deviation is about 1.2
  CHECK_CLOSE(in_z_units, *result.chosen.init_scale, 0.3 * *result.chosen.init_scale);
  for (const double b : result.model.user_biases) CHECK_EQ(b, 0.0);
}

template <class T>
void check_initial_factors() {
  const Data data(50, 40, 1000);
  TrainParams params = small(3);
  std::vector<T> users(150), items(120);
  SplitMix64 random(5);
  for (std::vector<T>* factors : {&users, &items}) {
    for (T& w : *factors) w = static_cast<T>(noise(random));
  }
  TrainOptions<T> options;
  options.user_factors = users;
  options.item_factors = items;
  params.n_epochs = 0;
  for (const bool normalize : {false, true}) {
    params.normalize = normalize;
    const TrainResult<T> start = train<T>(data.view(), params, options);
    for (std::size_t n = 0; n < users.size(); ++n) {  // two roundings when they are scaled and scaled back
      CHECK_CLOSE(start.model.user_factors[n], users[n],
                  normalize ? 2 * std::numeric_limits<T>::epsilon() * std::abs(users[n]) : T(0));
    }
    for (std::size_t n = 0; n < items.size(); ++n) {
      CHECK_CLOSE(start.model.item_factors[n], items[n],
                  normalize ? 2 * std::numeric_limits<T>::epsilon() * std::abs(items[n]) : T(0));
    }
  }
}

TEST(training_goes_on_from_a_model) {
  const Data data(80, 50, 3000, 0.3);
  TrainParams params = small(4);
  params.n_threads = 1;
  const TrainResult<float> first = train<float>(data.view(), params);
  const Model<float>& model = first.model;
  params = first.chosen;
  TrainOptions<float> options;
  options.user_factors = model.user_factors;
  options.item_factors = model.item_factors;
  options.user_biases = model.user_biases;
  options.item_biases = model.item_biases;
  options.global_mean = model.global_mean;
  params.n_epochs = 0;
  const Model<float> same = train<float>(data.view(), params, options).model;
  CHECK_EQ(same.global_mean, model.global_mean);
  const float epsilon = std::numeric_limits<float>::epsilon();  // of two roundings
  for (std::size_t n = 0; n < model.user_factors.size(); ++n) {
    CHECK_CLOSE(same.user_factors[n], model.user_factors[n], 2 * epsilon * std::abs(model.user_factors[n]));
  }
  for (std::size_t n = 0; n < model.item_biases.size(); ++n) {
    CHECK_CLOSE(same.item_biases[n], model.item_biases[n], 2 * epsilon * std::abs(model.item_biases[n]));
  }
  // A slow epoch from there begins at about the error that the first training ended with: the prior means are back.
  params.n_epochs = 1;
  params.learning_rate = 1e-4;
  const TrainResult<float> next = train<float>(data.view(), params, options);
  CHECK(next.history.front().train_rmse < 1.02 * first.history.back().train_rmse);
  CHECK(rmse(next.model, data) < 1.001 * rmse(model, data));
}

TEST(training_starts_from_the_callers_factors) {
  check_initial_factors<float>();
  check_initial_factors<double>();
  // Ratings that the given factors explain entirely: the first pass already finds no error.
  Data data(50, 40, 1000);
  TrainParams params = small(2);
  params.biases = false;
  params.reg = 0;
  params.n_epochs = 1;
  std::vector<double> users, items;
  SplitMix64 random(6);
  for (int n = 0; n < 100; ++n) users.push_back(noise(random));
  for (int n = 0; n < 80; ++n) items.push_back(noise(random));
  for (std::size_t r = 0; r < data.values.size(); ++r) {
    const auto u = static_cast<std::size_t>(data.users[r]) * 2, i = static_cast<std::size_t>(data.items[r]) * 2;
    data.values[r] = static_cast<float>(users[u] * items[i] + users[u + 1] * items[i + 1]);
  }
  TrainOptions<double> options;
  options.user_factors = users;
  options.item_factors = items;
  CHECK(train<double>(data.view(), params, options).history[0].train_rmse < 1e-6);
  options = {};
  CHECK(train<double>(data.view(), params, options).history[0].train_rmse > 0.5);
}

TEST(rows_without_a_rating_are_zero) {
  Data data(60, 50, 2000);
  for (std::int32_t& u : data.users) u = u == 7 ? 8 : u;
  for (std::int32_t& i : data.items) i = i == 49 ? 48 : i;
  const Model<float> model = train<float>(data.view(), small(5)).model;
  for (std::size_t f = 0; f < 5; ++f) {
    CHECK_EQ(model.user_factors[7 * 5 + f], 0.0f);
    CHECK_EQ(model.item_factors[49 * 5 + f], 0.0f);
    CHECK(model.user_factors[8 * 5 + f] != 0.0f);
  }
  CHECK_EQ(model.user_biases[7], 0.0f);
  CHECK_EQ(model.item_biases[49], 0.0f);
  CHECK_EQ(model.predict(7, 49), static_cast<float>(model.global_mean));
}

TEST(one_rating_is_learned) {
  for (const bool biased : {false, true}) {
    for (const bool normalize : {false, true}) {
      TrainParams params = small();
      params.biases = biased;
      params.normalize = normalize;
      params.n_epochs = 200;
      params.reg = params.reg_bias = 0;
      params.learning_rate = 0.1;
      const std::vector<std::int32_t> user{2}, item{1};
      const std::vector<float> value{4.5f};
      const TrainResult<float> result = train<float>({user, item, value, {}, 3, 3}, params);
      CHECK(finite(result.model));
      CHECK_CLOSE(result.model.predict(2, 1), 4.5f, 0.1f);
      CHECK_EQ(result.n_threads, 1);
    }
  }
}

TEST(ratings_all_equal_predict_that_value) {
  for (const float value : {0.0f, 4.0f, -3.0f, 1e-30f}) {
    for (const bool biased : {false, true}) {
      Data data(40, 30, 800);
      std::fill(data.values.begin(), data.values.end(), value);
      TrainParams params = small();
      params.biases = biased;
      params.reg = 0;
      params.n_epochs = 60;
      const TrainResult<float> result = train<float>(data.view(), params);
      CHECK(finite(result.model));
      check::context = "all " + std::to_string(value) + (biased ? ", biased" : "");
      CHECK(rmse(result.model, data) <= 0.05 * std::max(1.0, std::abs(static_cast<double>(value))));
    }
  }
}

TEST(a_start_at_zero_or_far_out_is_no_divergence) {
  Data equal(40, 30, 800);
  std::fill(equal.values.begin(), equal.values.end(), 0.1f);  // a mean that rounds
  const Data data(200, 150, 4000, 0.3);
  for (const double init_scale : {0.0, 1e-6, 0.5}) {
    check::context = "init_scale " + std::to_string(init_scale);
    TrainParams params = small(64);
    params.init_scale = init_scale;
    CHECK(rmse(train<float>(equal.view(), params).model, equal) < 0.1 + init_scale);
    CHECK(finite(train<float>(data.view(), params).model));
  }
}

TEST(one_user_and_one_item_are_enough) {
  for (const auto& [n_users, n_items] : {std::pair{1, 50}, std::pair{50, 1}, std::pair{1, 1}}) {
    const Data data(n_users, n_items, 300, 0.1);
    const TrainResult<float> result = train<float>(data.view(), small());
    check::context = std::to_string(n_users) + " x " + std::to_string(n_items);
    CHECK(finite(result.model));
    CHECK(rmse(result.model, data) < 0.4);
    CHECK_EQ(result.n_threads, 1);  // a team larger than the grid would only wait
  }
}

/// RMS difference of two models' predictions over all pairs.
template <class T>
double distance(const Model<T>& a, const Model<T>& b, double factor = 1) {
  double square = 0;
  for (std::int32_t u = 0; u < a.n_users; ++u) {
    for (std::int32_t i = 0; i < a.n_items; ++i) {
      square += std::pow(factor * static_cast<double>(a.predict(u, i)) - static_cast<double>(b.predict(u, i)), 2);
    }
  }
  return std::sqrt(square / (static_cast<double>(a.n_users) * a.n_items));
}

TEST(the_rating_scale_does_not_change_the_fit) {
  for (const bool biased : {false, true}) {
    Data data(100, 80, 3000, 0.2), hundred = data, power = data;
    for (float& v : hundred.values) v *= 100;
    for (float& v : power.values) v *= 64;
    TrainParams params = small();
    params.biases = biased;
    const TrainResult<double> one = train<double>(data.view(), params),
                              times_100 = train<double>(hundred.view(), params),
                              times_64 = train<double>(power.view(), params);
    // A power of two only moves exponents. Times 100 rounds each rating once, which 20 epochs hardly amplify.
    CHECK_EQ(distance(one.model, times_64.model, 64), 0.0);
    CHECK(distance(one.model, times_100.model, 100) < 100 * 1e-4);
    CHECK_CLOSE(times_100.history.back().train_rmse, 100 * one.history.back().train_rmse, 1e-2);

    params.normalize = false;  // and that is normalize's doing
    params.learning_rate = 1e-3;
    CHECK(distance(train<double>(data.view(), params).model, train<double>(power.view(), params).model, 64) > 1);
  }
}

TEST(equal_weights_are_no_weights) {
  for (const float weight : {1.0f, 2.0f, 0.25f}) {
    Data plain(100, 80, 3000, 0.2), held_out(100, 80, 500, 0.2, 1);
    Data weighted = plain, weighted_held_out = held_out;
    weighted.weights.assign(3000, weight);
    weighted_held_out.weights.assign(500, 3 * weight);
    TrainOptions<double> options;
    options.validation = held_out.view();
    const TrainResult<double> expected = train<double>(plain.view(), small(), options);
    options.validation = weighted_held_out.view();
    const TrainResult<double> result = train<double>(weighted.view(), small(), options);
    check::context = "weight " + std::to_string(weight);
    CHECK(distance(expected.model, result.model) < 1e-9);
    for (std::size_t e = 0; e < expected.history.size(); ++e) {
      CHECK_CLOSE(result.history[e].train_rmse, expected.history[e].train_rmse, 1e-9);
      CHECK_CLOSE(result.history[e].valid_rmse, expected.history[e].valid_rmse, 1e-9);
    }
  }
}

TEST(a_rating_of_weight_0_is_as_good_as_absent) {
  Data data(100, 80, 3000, 0.2);
  data.weights.assign(3000, 1.0f);
  for (std::size_t r = 0; r < 3000; r += 3) data.weights[r] = 0;  // the first one too
  Data absurd = data, without = data;
  for (std::size_t r = 0; r < 3000; r += 3) absurd.values[r] = -1e38f;
  TrainParams params = small();
  params.n_epochs = 40;
  const TrainResult<double> result = train<double>(data.view(), params);
  CHECK(same_bits(result.model, train<double>(absurd.view(), params).model));
  CHECK(same_bits(train<float>(data.view(), params).model, train<float>(absurd.view(), params).model));

  without.users.clear(), without.items.clear(), without.values.clear(), without.weights.clear();
  for (std::size_t r = 0; r < 3000; ++r) {
    if (data.weights[r] == 0) continue;
    without.users.push_back(data.users[r]);
    without.items.push_back(data.items[r]);
    without.values.push_back(data.values[r]);
  }
  const TrainResult<double> expected = train<double>(without.view(), params);
  CHECK(distance(expected.model, result.model) < 1e-9);  // their means differ by rounding
  for (std::size_t e = 0; e < expected.history.size(); ++e) {
    CHECK_CLOSE(result.history[e].train_rmse, expected.history[e].train_rmse, 1e-12);  // summed with weights of 1
  }
}

TEST(a_row_with_ratings_of_weight_0_only_is_zero) {
  Data data(100, 80, 3000, 0.2);
  for (const std::int32_t user : data.users) data.weights.push_back(user == 5 ? 0.0f : 1.0f);
  const Model<float> model = train<float>(data.view(), small(4)).model;
  for (std::size_t f = 0; f < 4; ++f) CHECK_EQ(model.user_factors[5 * 4 + f], 0.0f);
  CHECK_EQ(model.user_biases[5], 0.0f);
}

TEST(weight_2_acts_like_the_rating_given_twice) {
  Data weighted(60, 50, 1500, 0.3), twice = weighted;
  for (std::size_t r = 0; r < 1500; ++r) {
    weighted.weights.push_back(r % 2 == 0 ? 2.0f : 1.0f);
    if (r % 2 != 0) continue;
    twice.users.push_back(twice.users[r]);
    twice.items.push_back(twice.items[r]);
    twice.values.push_back(twice.values[r]);
  }
  TrainParams params = plain(small(2));
  params.reg = params.reg_bias = 0.1;
  params.n_epochs = 400;
  params.learning_rate = 0.02;
  const Model<double> a = train<double>(weighted.view(), params).model, b = train<double>(twice.view(), params).model;
  CHECK_CLOSE(a.rating_mean, b.rating_mean, 1e-9);
  weighted.weights.clear();
  const Model<double> ignored = train<double>(weighted.view(), params).model;
  CHECK(distance(a, b) < 0.02);
  CHECK(distance(a, b) < 0.2 * distance(ignored, b));
}

TEST(a_larger_penalty_gives_smaller_factors) {
  const Data data(100, 80, 3000, 0.2);
  double last = std::numeric_limits<double>::infinity();
  for (const double reg : {0.0, 0.05, 0.2, 5.0}) {
    TrainParams params = small();
    params.reg = reg;
    double square = 0;
    for (const float w : train<float>(data.view(), params).model.user_factors) square += static_cast<double>(w) * w;
    CHECK(square < last);
    last = square;
  }
}

TEST(any_number_of_factors_works) {
  const Data data(30, 20, 500, 0.1);
  for (const std::int32_t k : {1, 2, 3, 15, 17, 63, 100, 511, 1023, 1024}) {
    check::context = std::to_string(k) + " factors";
    TrainParams params = small(k);
    params.n_epochs = 3;
    const TrainResult<float> result = train<float>(data.view(), params);
    CHECK_EQ(result.model.user_factors.size(), static_cast<std::size_t>(30 * k));
    CHECK(finite(result.model));
    CHECK(result.history[2].train_rmse < result.history[0].train_rmse);
  }
}

TEST(threads_default_to_those_available) {
  const Data data(900, 1000, 2000);
  TrainParams params = small(500);
  params.n_epochs = 1;
  params.n_threads = 0;
  const std::int32_t used = train<float>(data.view(), params).n_threads;
  CHECK(used >= 1 && used <= available_threads());
  CHECK(used == available_threads() || available_threads() > 7);
}

}  // namespace
