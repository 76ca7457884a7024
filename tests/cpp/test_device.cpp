// SPDX-License-Identifier: Apache-2.0
// train() with Device::cuda, which here is the kernels' twin on the host, beside the CPU's.
#include <algorithm>
#include <numeric>
#include <optional>

#include "check.hpp"
#include "device/tuning.hpp"
#include "synthetic.hpp"
#include "twin_device.hpp"

namespace {

using namespace synthetic;
using warpfactor::Device;

#if defined(WARPFACTOR_SANITIZED)  // there are two tiles then, and everything takes ten times as long
const std::vector<std::int32_t> kRanks{1, 33};
constexpr std::int32_t kMany = 10000;
const std::vector<std::int32_t> kMeansRanks{20};
constexpr std::int64_t kLessMemory = 24000;
#else
const std::vector<std::int32_t> kRanks{1, 3, 16, 31, 33, 64, 100, 128, 130, 500, 1024};
constexpr std::int32_t kMany = 60000;
const std::vector<std::int32_t> kMeansRanks{1, 20, 72};
constexpr std::int64_t kLessMemory = 8000;
#endif

TrainParams small(std::int32_t n_factors) {
  TrainParams params;
  params.n_factors = n_factors;
  params.n_threads = 2;
  params.n_epochs = 1;
  params.reg = 0.04;  // given, so that no strengths are searched
  return params;
}

/// Without what is on by default: all rows are pulled alike, to zero.
TrainParams plain(TrainParams params) {
  params.reg_row = params.reg_bias_row = 0.0;
  params.implicit_feedback = ImplicitFeedback::none;
  return params;
}

/// Each user and each item has one rating, so that the order of the steps makes no difference.
Data one_rating_each(std::int32_t n, bool weighted = false) {
  Data data(n, n, n, 0.5);
  SplitMix64 random(4);
  std::iota(data.users.begin(), data.users.end(), 0);
  std::iota(data.items.begin(), data.items.end(), 0);
  random.shuffle(data.users.data(), static_cast<std::uint32_t>(n));
  random.shuffle(data.items.data(), static_cast<std::uint32_t>(n));
  for (std::int32_t r = 0; weighted && r < n; ++r) data.weights.push_back(static_cast<float>(r % 5) / 2);
  return data;
}

template <class T>
double furthest(const std::vector<T>& a, const std::vector<T>& b) {
  double most = a.size() == b.size() ? 0 : 1e9;
  for (std::size_t n = 0; n < std::min(a.size(), b.size()); ++n) {
    const double distance = std::abs(static_cast<double>(a[n]) - static_cast<double>(b[n]));
    most = distance <= most ? most : distance;  // NaN counts
  }
  return most;
}
template <class T>
double furthest(const Model<T>& a, const Model<T>& b) {
  return std::max({furthest(a.user_factors, b.user_factors), furthest(a.item_factors, b.item_factors),
                   furthest(a.user_biases, b.user_biases), furthest(a.item_biases, b.item_biases)});
}

template <class T>
void check_same(const Data& data, TrainParams params, double tolerance, const Data* held_out = nullptr,
                const TrainOptions<T>& given = {}) {
  TrainOptions<T> options = given;
  if (held_out != nullptr) options.validation = held_out->view();
  params.device = Device::cpu;
  const bool half = std::exchange(params.half, false);
  const TrainResult<T> cpu = train<T>(data.view(), params, options);
  params.device = Device::cuda;
  params.half = half;
  const TrainResult<T> device = train<T>(data.view(), params, options);
  CHECK_CLOSE(furthest(cpu.model, device.model), 0.0, tolerance);
  CHECK_EQ(cpu.history.size(), device.history.size());
  for (std::size_t e = 0; e < std::min(cpu.history.size(), device.history.size()); ++e) {
    CHECK_CLOSE(cpu.history[e].train_loss, device.history[e].train_loss, tolerance * 10);
    CHECK_CLOSE(cpu.history[e].train_rmse, device.history[e].train_rmse, tolerance * 10);
    if (held_out != nullptr) CHECK_CLOSE(cpu.history[e].valid_loss, device.history[e].valid_loss, tolerance * 10);
  }
  CHECK_EQ(device.instruction_set, "twin");
}

struct Rule {
  const char* name;
  void (*set)(TrainParams&);
};
const Rule kRules[] = {
    {"sgd", [](TrainParams&) {}},
    {"momentum", [](TrainParams& p) { p.momentum = 0.7; }},
    {"adagrad by row", [](TrainParams& p) { p.optimizer = Optimizer::adagrad; }},
    {"adagrad by element",
     [](TrainParams& p) {
       p.optimizer = Optimizer::adagrad;
       p.adagrad_per = AdagradPer::element;
     }},
    {"adam", [](TrainParams& p) { p.optimizer = Optimizer::adam; }},
    {"l1",
     [](TrainParams& p) {
       p.l1_ratio = 0.5;
       p.reg = p.reg_bias = PerSide(0.01, 0.02);
     }},
    {"nonnegative", [](TrainParams& p) { p.nonnegative = true; }},
    {"plain sgd", [](TrainParams& p) { p = plain(p); }},
    {"sgd, penalties per row", [](TrainParams& p) { p.implicit_feedback = ImplicitFeedback::none; }},
    {"plain momentum",
     [](TrainParams& p) {
       p = plain(p);
       p.momentum = 0.7;
     }},
    {"momentum, penalties per row",
     [](TrainParams& p) {
       p.implicit_feedback = ImplicitFeedback::none;
       p.momentum = 0.7;
     }},
};

// Adam divides by the root of squares, so that what rounding changed in a slope counts by its share of that slope.
double tolerance_of(const Rule& rule, double tolerance) {
  return std::string(rule.name) == "adam" ? 1000 * tolerance : tolerance;
}

TEST(one_step_of_each_row_is_the_cpus_for_each_rule_and_rank) {
  const Data data = one_rating_each(150), weighted = one_rating_each(150, true);
  for (const std::int32_t k : kRanks) {
    for (const Rule& rule : kRules) {
      for (const bool biases : {true, false}) {
        if (!check::takes_case()) continue;
        check::context = std::string(rule.name) + ", k = " + std::to_string(k) + (biases ? "" : ", no biases");
        TrainParams params = small(k);
        params.n_epochs = 3;
        params.biases = biases;
        rule.set(params);
        check_same<double>(k % 2 == 0 ? data : weighted, params, tolerance_of(rule, 1e-12));
        check_same<float>(k % 2 == 0 ? data : weighted, params, tolerance_of(rule, 1e-6));
      }
    }
  }
  check::context.clear();
}

TEST(one_step_of_each_row_is_the_cpus_for_each_loss) {
  Data data = one_rating_each(150);
  const Data held_out(150, 150, 1000, 0.5, 1);
  for (const Loss loss : {Loss::squared, Loss::absolute, Loss::huber}) {
    TrainParams params = small(10);
    params.n_epochs = 2;
    params.loss = loss;
    check::context = std::to_string(static_cast<int>(loss));
    check_same<double>(data, params, 1e-12, &held_out);
  }
  Data labels = held_out;
  for (float& value : data.values) value = value > 3 ? 1.0f : 0.0f;
  for (float& value : labels.values) value = value > 3 ? 1.0f : 0.0f;
  for (const Loss loss : {Loss::logistic, Loss::squared_hinge, Loss::poisson}) {
    TrainParams params = small(10);
    params.n_epochs = 2;
    params.loss = loss;
    check::context = std::to_string(static_cast<int>(loss));
    // The CPU evaluates held-out ratings in double from values that were rounded to float, and so does the twin.
    check_same<double>(data, params, 1e-12, &labels);
    check_same<float>(data, params, 2e-6, &labels);
  }
  check::context.clear();
}

template <class T>
void expectile(const T* ratings, const T* scores, T* losses, T* slopes) {
  for (int n = 0; n < 8; ++n) {
    const T error = scores[n] - ratings[n], factor = error < 0 ? T(2) : T(1);
    losses[n] = factor * error * error;
    slopes[n] = 2 * factor * error;
  }
}
template <class T>
void cubic(const T* values, T* slopes, std::int64_t n) {
  for (std::int64_t f = 0; f < n; ++f) slopes[f] = values[f] * values[f] * values[f] + values[f];
}

TEST(a_custom_loss_and_penalty_are_used) {
  TrainOptions<double> options;
  options.loss = expectile<double>;
  TrainParams params = small(10);
  params.loss = Loss::custom;
  params.n_epochs = 2;
  const Data data = one_rating_each(150), held_out(150, 150, 1000, 0.5, 1);
  check_same<double>(data, params, 1e-12, &held_out, options);
  options.penalty = cubic<double>;
  check_same<double>(data, params, 1e-12, &held_out, options);
  params.batch_size = 40;
  check_same<double>(data, params, 1e-12, &held_out, options);
}

TEST(half_storage_rounds_what_is_stored_and_nothing_else) {
  TrainParams params = small(20);
  params.half = true;
  // A step's result is rounded once, by at most 2^-11 of it; factors start at 0.02 and move by less than that.
  check_same<float>(one_rating_each(150), params, 0.1 * 0x1p-11);
}

TEST(batches_do_the_cpus_steps) {
  const Data data(60, 40, 800, 0.3), held_out(60, 40, 200, 0.3, 1);
  Data weighted = data;
  for (std::size_t r = 0; r < data.values.size(); ++r) weighted.weights.push_back(static_cast<float>(r % 3));
  for (const Rule& rule : kRules) {
    for (const std::int64_t batch_size : {1, 150, 100000}) {
      if (!check::takes_case()) continue;
      check::context = std::string(rule.name) + " in batches of " + std::to_string(batch_size);
      TrainParams params = small(12);
      params.n_epochs = batch_size == 1 ? 1 : 3;
      params.batch_size = batch_size;
      rule.set(params);
      check_same<double>(data, params, tolerance_of(rule, 1e-11), &held_out);
      check_same<double>(weighted, params, tolerance_of(rule, 1e-11), &held_out);
    }
  }
  TrainParams params = small(12);
  params.optimizer = Optimizer::gd;
  params.momentum = 0.5;
  params.n_epochs = 10;
  check::context = "gd";
  check_same<double>(data, params, 1e-11, &held_out);
  check::context.clear();
}

/// With users and items of more ratings than a part of a list has others, and rows without a rating.
Data with_long_lists() {
  Data data(1500, 1300, 9000, 0.3);
  for (std::size_t r = 0; r < data.users.size(); ++r) {
    if (r % 3 == 0) data.users[r] = 7;
    if (r % 3 == 1) data.items[r] = r % 2 == 0 ? 0 : 1200;
    if (data.users[r] == 11) data.users[r] = 12;
    if (data.items[r] == 1299) data.items[r] = 1298;
  }
  return data;
}

TEST(prior_means_move_as_the_cpus_do) {
  const Data data = with_long_lists();
  Data weighted = data;
  for (std::size_t r = 0; r < data.values.size(); ++r) weighted.weights.push_back(static_cast<float>(r % 3));
  for (const ImplicitFeedback of : {ImplicitFeedback::users, ImplicitFeedback::items, ImplicitFeedback::both}) {
    for (const std::int32_t k : kMeansRanks) {
      for (const bool biases : {true, false}) {
        if (!check::takes_case()) continue;
        check::context = std::string(name_of(of)) + ", k = " + std::to_string(k) + (biases ? "" : ", no biases");
        // All ratings together: the order makes no difference. Steps of adagrad suit rows of any number of ratings.
        TrainParams params = small(k);
        params.optimizer = Optimizer::adagrad;
        params.batch_size = 100000;
        params.init_scale = 0.2;
        params.n_epochs = 8;
        params.biases = biases;
        params.reg_row = 3.0;
        params.implicit_feedback = of;
        params.reg_implicit = 0.5;
        if (k == 72) params.warmup_epochs = 5;
        check_same<double>(k == 20 ? weighted : data, params, 1e-11);
        check_same<float>(k == 20 ? weighted : data, params, 1e-5);
      }
    }
  }
  check::context.clear();
}

TEST(blocked_gives_the_same_bits_whatever_runs_at_once_and_other_seeds_others) {
  const Data data(300, 200, 20000, 0.3), held_out(300, 200, 2000, 0.3, 1);
  TrainOptions<float> options;
  options.validation = held_out.view();
  for (const bool half : {false, true}) {
    std::optional<Model<float>> first;
    TrainParams params = small(20);
    params.device = Device::cuda;
    params.parallel = Parallel::blocked;
    params.half = half;
    params.n_epochs = 2;
    for (const std::int64_t tiles : {1, 12, 4096}) {
      twin_limits.tiles_at_once = tiles;
      params.n_threads = tiles == 12 ? 1 : 3;
      const TrainResult<float> result = train<float>(data.view(), params, options);
      if (!first) first = result.model;
      CHECK(same_bits(*first, result.model));
    }
    twin_limits = {};
    params.seed = 1;
    CHECK(!same_bits(*first, train<float>(data.view(), params).model));
  }
}

TEST(both_schedules_learn_as_the_cpu_does) {
  Data data(2000, 500, kMany, 0.3), held_out(2000, 500, 5000, 0.3, 1);
  TrainParams params = small(16);
  params.n_epochs = 15;
  const double cpu = rmse(train<float>(data.view(), params).model, held_out);
  params.device = Device::cuda;
  for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
    for (const bool half : {false, true}) {
      params.parallel = parallel;
      params.half = half;
      check::context = half ? "half" : "float";
      // Seeds alone, that is other orders, make the CPU's differ by 6 % on this data.
      CHECK_CLOSE(rmse(train<float>(data.view(), params).model, held_out) / cpu, 1.0, 0.06);
    }
  }
  check::context.clear();
}

// With one stream late, a slot that is filled too early, or worked on too early, shows.
constexpr std::optional<Stream> kLate[] = {std::nullopt, Stream::compute, Stream::copy};

TEST(ratings_that_do_not_fit_are_streamed_with_the_same_result) {
  Data data(300, 200, 20000, 0.3);
  for (std::size_t r = 0; r < data.values.size(); ++r) data.weights.push_back(1.0f + static_cast<float>(r % 2));
  TrainParams params = plain(small(20));
  params.device = Device::cuda;
  params.n_epochs = 3;
  for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
    params.parallel = parallel;
    params.device_memory = 0;
    const TrainResult<float> whole = train<float>(data.view(), params);
    params.device_memory = 220000;  // of about 430,000 that the model and the ratings take
    for (const std::optional<Stream>& late : kLate) {
      twin_limits.late = late;
      const TrainResult<float> streamed = train<float>(data.view(), params);
      if (parallel == Parallel::blocked) CHECK(same_bits(whole.model, streamed.model));
      CHECK_CLOSE(whole.history.back().train_rmse, streamed.history.back().train_rmse, 1e-2);
    }
    twin_limits = {};
    params.device_memory = 60000;
    CHECK_THROWS(CudaError, "device_memory", train<float>(data.view(), params));
  }
}

TEST(chunks_that_begin_inside_a_wave_are_streamed_with_the_same_result) {
  Data data(60, 50, 3900, 0.3);  // so few that one tile works at a time, and hogwild's order is fixed
  for (const bool weighted : {false, true}) {
    for (std::size_t r = 0; weighted && r < data.values.size(); ++r) {
      data.weights.push_back(1.0f + static_cast<float>(r % 2));
    }
    TrainParams params = plain(small(8));
    params.device = Device::cuda;
    params.parallel = Parallel::hogwild;
    params.n_epochs = 3;
    const TrainResult<float> whole = train<float>(data.view(), params);
    for (const std::int64_t bytes : {17000, 14000, 12500}) {
      params.device_memory = bytes;
      for (const std::optional<Stream>& late : kLate) {
        twin_limits.late = late;
        twin_most_taken = 0;
        CHECK(same_bits(whole.model, train<float>(data.view(), params).model));
        CHECK(twin_most_taken <= bytes);
      }
    }
    twin_limits = {};
  }
}

TEST(batches_that_do_not_fit_are_streamed_with_the_same_result) {
  Data data(300, 200, 20000, 0.3);
  for (std::size_t r = 0; r < data.values.size(); ++r) data.weights.push_back(1.0f + static_cast<float>(r % 2));
  for (const std::int64_t batch_size : {0, 3000}) {
    TrainParams params = plain(small(20));
    params.device = Device::cuda;
    params.n_epochs = 3;
    params.momentum = 0.5;
    params.batch_size = batch_size;
    if (batch_size == 0) params.optimizer = Optimizer::gd;
    twin_most_taken = 0;
    const TrainResult<float> whole = train<float>(data.view(), params);
    CHECK(twin_most_taken > 600000);  // 24 bytes a rating, and the model
    params.device_memory = 350000;
    for (const std::optional<Stream>& late : kLate) {
      twin_limits.late = late;
      twin_most_taken = 0;
      const TrainResult<float> streamed = train<float>(data.view(), params);
      CHECK(twin_most_taken <= params.device_memory);
      CHECK(same_bits(whole.model, streamed.model));
      CHECK_EQ(whole.history.back().train_rmse, streamed.history.back().train_rmse);
    }
    twin_limits = {};
    params.device_memory = 120000;
    CHECK_THROWS(CudaError, "out of memory", train<float>(data.view(), params));
  }
}

TEST(lists_that_do_not_fit_are_streamed_with_the_same_result) {
  const Data data = with_long_lists();
  for (const std::int64_t batch_size : {0, 3000}) {
    const std::int64_t less_memory = batch_size == 0 ? kLessMemory : 3 * kLessMemory;
    TrainParams params = small(4);
    params.device = Device::cuda;
    params.parallel = Parallel::blocked;
    params.n_epochs = 3;  // the means move after the second
    params.batch_size = batch_size;
    params.implicit_feedback = ImplicitFeedback::both;
    twin_most_taken = 0;
    const Model<float> whole = train<float>(data.view(), params).model;
    const std::int64_t all = twin_most_taken;
    // Without the room between biases, which goes first, there is less and less room for the lists and the ratings.
    std::int64_t streamed = 0;
    for (params.device_memory = all - 2 * 1400 * (kBiasSpacing - 4);; params.device_memory -= less_memory) {
      check::context = std::to_string(params.device_memory) + " of " + std::to_string(all) + " bytes";
      std::optional<Model<float>> first;
      try {
        for (const std::optional<Stream>& late : kLate) {
          twin_limits.late = late;
          twin_most_taken = 0;
          first = train<float>(data.view(), params).model;
          CHECK(same_bits(whole, *first));
          CHECK(twin_most_taken <= params.device_memory);
        }
      } catch (const CudaError& error) {
        CHECK(!first);
        CHECK(std::string(error.what()).find("out of memory on the device") != std::string::npos);
        break;
      }
      ++streamed;
    }
    twin_limits = {};
    CHECK(streamed * less_memory >= 64000);  // the ratings take 72,000 bytes, the lists 48,368
  }
  check::context.clear();
}

TEST(no_more_memory_is_taken_than_allowed) {
  const Data data(300, 200, 20000, 0.3), held_out(300, 200, 2000, 0.3, 1);
  TrainOptions<float> options;
  options.validation = held_out.view();
  TrainParams params = plain(small(20));
  params.device = Device::cuda;
  for (const std::int64_t bytes : {400000, 250000, 200000}) {
    params.device_memory = bytes;
    twin_most_taken = 0;
    CHECK(finite(train<float>(data.view(), params, options).model));
    CHECK(twin_most_taken <= bytes && twin_most_taken > bytes / 2);
  }
  params.device_memory = 0;
  twin_limits.bytes = 20000;
  twin_most_taken = 0;
  CHECK_THROWS(CudaError, "the fit takes at least", train<float>(data.view(), params, options));
  CHECK_EQ(twin_most_taken, 0);  // it was foretold
  twin_limits = {};
}

TEST(biases_are_spread_over_cache_lines_within_a_few_megabytes) {
  const auto bytes_of_biases = [](std::int32_t n_rows, const TrainParams& params) {
    const Data data(n_rows, n_rows, 100, 0.3);
    const auto most_taken = [&](bool biases) {
      TrainParams with = params;
      with.biases = biases;
      twin_most_taken = 0;
      CHECK(finite(train<float>(data.view(), with).model));
      return twin_most_taken;
    };
    return most_taken(true) - most_taken(false);
  };
  TrainParams params = plain(small(1));
  params.device = Device::cuda;
  CHECK_EQ(bytes_of_biases(1000, params), 2 * 1000 * 128);
  CHECK_EQ(bytes_of_biases(60000, params), 2 * 60000 * 64);
  CHECK_EQ(bytes_of_biases(600000, params), 2 * 600000 * 4);
  params.device_memory = 100000;  // a 64th of it is less than the biases take
  CHECK_EQ(bytes_of_biases(1000, params), 2 * 1000 * 4);
  params.optimizer = Optimizer::adam;  // which remembers two numbers of a bias, and two of a row
  params.device_memory = 400000;
  CHECK_EQ(bytes_of_biases(1000, params), 2 * 1000 * (8 - 2) * 4);
}

TEST(the_best_epoch_is_restored) {
  const Data data(100, 80, 1500, 0.8), held_out(100, 80, 500, 0.8, 1);
  TrainOptions<float> options;
  options.validation = held_out.view();
  TrainParams params = plain(small(20));
  params.device = Device::cuda;
  params.n_epochs = 60;
  params.reg = params.reg_bias = 0;  // overfits soon
  params.schedule = Schedule::constant;
  const TrainResult<float> result = train<float>(data.view(), params, options);
  CHECK(result.best_epoch < static_cast<std::int32_t>(result.history.size()));
  CHECK_CLOSE(rmse(result.model, held_out), result.history[static_cast<std::size_t>(result.best_epoch) - 1].valid_rmse,
              1e-5);
}

TEST(odd_shapes_train) {
  for (const auto& [n_users, n_items, n] :
       {std::tuple{1, 1, 5}, std::tuple{1, 300, 2000}, std::tuple{300, 1, 2000}, std::tuple{5, 4000, 9000},
        std::tuple{4000, 5, 9000}, std::tuple{50000, 50000, 3}}) {
    const Data data(n_users, n_items, n, 0.3);
    for (const Parallel parallel : {Parallel::blocked, Parallel::hogwild}) {
      TrainParams params = small(3);
      params.n_epochs = 5;
      const double cpu = train<float>(data.view(), params).history.back().train_rmse;
      params.device = Device::cuda;
      params.parallel = parallel;
      check::context = std::to_string(n_users) + " x " + std::to_string(n_items) +
                       (parallel == Parallel::blocked ? ", blocked" : ", hogwild");
      const TrainResult<float> result = train<float>(data.view(), params);
      CHECK(finite(result.model));
      CHECK(result.history.back().train_rmse < 1.1 * cpu + 0.01);
    }
  }
  check::context.clear();
}

TEST(what_a_device_cannot_do_is_said) {
  const Data data(10, 10, 50);
  TrainParams params = small(3);
  params.half = true;
  CHECK_THROWS(std::invalid_argument, "half", train<float>(data.view(), params));
  params.device = Device::cuda;
  CHECK_THROWS(std::invalid_argument, "half", train<double>(data.view(), params));
  params.half = false;
  params.device_memory = -1;
  CHECK_THROWS(std::invalid_argument, "device_memory", train<float>(data.view(), params));
  params.device_memory = 0;
  params.device_index = 3;
  CHECK_THROWS(CudaError, "no CUDA device 3", train<float>(data.view(), params));
}

TEST(training_can_be_interrupted) {
  const Data data(300, 200, 20000, 0.3);
  TrainParams params = small(20);
  params.device = Device::cuda;
  params.n_epochs = 1000000;
  int asked = 0;
  TrainOptions<float> options;
  options.on_epoch = [&](const EpochReport&) { return ++asked >= 3; };
  CHECK_EQ(train<float>(data.view(), params, options).history.size(), 3u);
}

}  // namespace
