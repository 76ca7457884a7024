// SPDX-License-Identifier: Apache-2.0
// Device-blind: validate, standardize, initialize, run epochs, stop early, hand back the best model.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <iterator>
#include <limits>
#include <numbers>

#include "backend.hpp"
#include "device/registry.hpp"
#include "random.hpp"
#include "survey.hpp"
#include "text.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

constexpr std::int32_t kMaxFactors = 1024;

// Factors that the caller gives set by their first epoch how far off predictions may be; a later one this many times as
// far off has diverged.
constexpr double kDivergedFirsts = 10;

[[noreturn]] void reject(const std::string& what) { throw std::invalid_argument(what); }

template <class V>
void require(bool condition, const char* name, const V& value, const char* allowed) {
  if (!condition) reject(std::string(name) + " is " + text(value) + "; it must be " + allowed);
}

void require_strength(const PerSide& reg, const std::string& name) {
  const bool both = reg.users == reg.items || (std::isnan(reg.users) && std::isnan(reg.items));
  const char* const allowed = "finite and at least 0";
  require(std::isfinite(reg.users) && reg.users >= 0, (both ? name : name + ".users").c_str(), reg.users, allowed);
  require(std::isfinite(reg.items) && reg.items >= 0, (name + ".items").c_str(), reg.items, allowed);
}

void validate(const TrainParams& p) {
  require(p.n_factors >= 1 && p.n_factors <= kMaxFactors, "n_factors", p.n_factors, "from 1 to 1024");
  require(p.n_epochs >= 0, "n_epochs", p.n_epochs, "at least 0");
  if (p.learning_rate) {
    require(std::isfinite(*p.learning_rate) && *p.learning_rate > 0, "learning_rate", *p.learning_rate,
            "finite and above 0");
  }
  require(p.warmup_epochs >= 0, "warmup_epochs", p.warmup_epochs, "at least 0 (0: all epochs train all factors)");
  require(p.warmup_factors >= 1, "warmup_factors", p.warmup_factors, "at least 1");
  if (p.warmup_epochs > 0 && p.warmup_epochs >= p.n_epochs) {
    reject("warmup_epochs is " + text(p.warmup_epochs) + ", and n_epochs " + text(p.n_epochs) +
           ": the warm-up must end before the last epoch, so lower warmup_epochs or raise n_epochs");
  }
  if (p.warmup_epochs > 0 && p.optimizer == Optimizer::adam) {
    reject("warmup_epochs is " + text(p.warmup_epochs) +
           ", and adam corrects its averages for a row as a whole, which is wrong for factors that join in later: use "
           "another optimizer, or set warmup_epochs to 0");
  }
  require_strength(p.reg, "reg");
  require_strength(p.reg_bias, "reg_bias");
  require(p.l1_ratio >= 0 && p.l1_ratio <= 1, "l1_ratio", p.l1_ratio, "from 0 (all L2) to 1 (all L1)");
  require(std::isfinite(p.huber_delta) && p.huber_delta > 0, "huber_delta", p.huber_delta, "finite and above 0");
  if (p.nonnegative && (p.loss == Loss::logistic || p.loss == Loss::squared_hinge)) {
    reject(std::string("nonnegative is true, and the ") + name_of(p.loss) +
           " loss needs negative scores for the lower label: leave nonnegative out, or use another loss");
  }
  const bool descends = p.optimizer == Optimizer::sgd || p.optimizer == Optimizer::gd;
  require(p.momentum >= 0 && p.momentum < 1, "momentum", p.momentum, "at least 0 and below 1");
  if (p.momentum > 0 && !descends) {
    reject("momentum is " + text(p.momentum) + ", and only sgd and gd have one: set it to 0, or use another optimizer");
  }
  require(p.beta_1 >= 0 && p.beta_1 < 1, "beta_1", p.beta_1, "at least 0 and below 1");
  require(p.beta_2 >= 0 && p.beta_2 < 1, "beta_2", p.beta_2, "at least 0 and below 1");
  require(std::isfinite(p.epsilon) && p.epsilon > 0, "epsilon", p.epsilon, "finite and above 0");
  require(p.batch_size >= 0, "batch_size", p.batch_size, "at least 1 (0: each rating makes a step of its own)");
  if (p.batch_size > 0 && p.optimizer == Optimizer::gd) {
    reject("batch_size is " + text(p.batch_size) +
           ", and gd takes all ratings together: leave batch_size out, or use sgd");
  }
  require(std::isfinite(p.init_scale) && p.init_scale >= 0, "init_scale", p.init_scale, "finite and at least 0");
  require(p.n_threads >= 0, "n_threads", p.n_threads, "at least 1, or 0 for all available");
  require(p.device_index >= 0, "device_index", p.device_index, "at least 0");
  require(p.device_memory >= 0, "device_memory", p.device_memory, "at least 1 byte, or 0 for what is free");
  if (p.half && p.device != Device::cuda) {
    reject("half is true, and only CUDA devices store factors in half precision: set it to false, or use cuda");
  }
  require(p.patience >= 0, "patience", p.patience, "at least 0 (0: run all epochs)");
}

/// The most that the ratings of one row weigh, weights having a mean of 1.
double most_weight(std::span<const std::int32_t> rows, const std::vector<std::uint32_t>& counts,
                   const RatingsView& ratings, const Survey& rated) {
  if (ratings.weights.empty()) return *std::max_element(counts.begin(), counts.end());
  std::vector<double> sums(counts.size(), 0.0);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    sums[static_cast<std::size_t>(rows[r])] += static_cast<double>(ratings.weights[r]);
  }
  return *std::max_element(sums.begin(), sums.end()) * static_cast<double>(rated.counted) / rated.weight;
}

double first_learning_rate(const TrainParams& p, const RatingsView& ratings, const Survey& rated) {
  if (p.learning_rate) return *p.learning_rate;
  double rate = 0;
  // The numbers are those that did well on ML-100K (u1), with 30 factors and 20 epochs.
  switch (p.optimizer) {
    case Optimizer::sgd: rate = 0.04 * (1 - p.momentum); break;
    case Optimizer::adagrad: rate = p.adagrad_per == AdagradPer::row ? 0.1 : 0.05; break;
    case Optimizer::adam: return 0.003;
    case Optimizer::gd: rate = std::numeric_limits<double>::infinity(); break;
    default: reject("optimizer has an unknown value");
  }
  if (p.batch_size == 0 && p.optimizer != Optimizer::gd) return rate;
  // The curvature along the biases of the busiest user and item is at most what their ratings weigh in a step.
  const double share = p.optimizer == Optimizer::gd
                           ? 1.0
                           : std::min(1.0, static_cast<double>(p.batch_size) / static_cast<double>(rated.counted));
  return std::min(rate, 1 / (share * (most_weight(ratings.users, rated.user_counts, ratings, rated) +
                                      most_weight(ratings.items, rated.item_counts, ratings, rated))));
}

/// How many factors the epochs of the warm-up train.
std::int32_t warmup_factors(const TrainParams& p) {
  const std::int64_t whole = (std::int64_t{p.warmup_factors} + kWarmupFactors - 1) / kWarmupFactors * kWarmupFactors;
  return static_cast<std::int32_t>(std::min<std::int64_t>(p.n_factors, whole));
}

double learning_rate_at(const TrainParams& p, double first, std::int32_t epoch) {
  const double t = epoch;
  switch (p.schedule) {
    case Schedule::constant: return first;
    case Schedule::inverse_time: return first / (1 + t / 10);
    case Schedule::linear: return first * (1 - t / p.n_epochs);
    case Schedule::cosine: return first * (1 + std::cos(std::numbers::pi * t / p.n_epochs)) / 2;
  }
  reject("schedule has an unknown value");
}

/// Uniform with the given standard deviation about z.start_factor; each row has a random stream of its own. Numbers
/// below z.lowest change their sign. Rows without ratings are zero: nothing is known about them, so their predictions
/// are to be the mean and the other side's bias.
template <class T>
void random_row(std::int64_t row, const std::vector<std::uint32_t>& counts, const TrainParams& params,
                const Standardization& z, std::uint64_t purpose, T* to) {
  if (counts[static_cast<std::size_t>(row)] == 0) {
    std::fill_n(to, params.n_factors, T(0));
    return;
  }
  const double unit = params.init_scale * std::sqrt(3.0) * 0x1p-31;  // half of the width, by 32 bits with a sign
  SplitMix64 random(params.seed, purpose, static_cast<std::uint64_t>(row));
  const auto number = [&](std::uint32_t bits) {
    const double w = z.start_factor + unit * static_cast<double>(static_cast<std::int32_t>(bits));
    return static_cast<T>(w < z.lowest ? -w : w);
  };
  for (std::int32_t f = 0; f < params.n_factors; f += 2) {
    const std::uint64_t drawn = random.next();
    to[f] = number(static_cast<std::uint32_t>(drawn >> 32));
    if (f + 1 < params.n_factors) to[f + 1] = number(static_cast<std::uint32_t>(drawn));
  }
}

template <class T>
void check_initial(std::span<const T> given, const char* name, std::int64_t n_rows, std::int64_t n_factors,
                   double lowest) {
  if (static_cast<std::int64_t>(given.size()) != n_rows * n_factors) {
    reject(std::string(name) + " has " + text(given.size()) + " elements; it must have " + text(n_rows) + " x " +
           text(n_factors));
  }
  const auto bad = std::find_if(given.begin(), given.end(), [](T v) { return !std::isfinite(v); });
  if (bad != given.end()) {
    reject(std::string(name) + " holds " + text(*bad) + " at element " + text(bad - given.begin()) +
           "; initial factors must be finite");
  }
  const auto low = std::find_if(given.begin(), given.end(), [lowest](T v) { return static_cast<double>(v) < lowest; });
  if (low != given.end()) {
    reject(std::string(name) + " holds " + text(*low) + " at element " + text(low - given.begin()) +
           "; with nonnegative, and with the poisson loss, initial factors must be at least 0");
  }
}

template <class T>
Start<T> start_of(const TrainParams& params, const Standardization& z, const Survey& rated,
                  const TrainOptions<T>& options) {
  if (options.user_factors.empty()) {
    return {[&](std::int64_t row, T* to) { random_row(row, rated.user_counts, params, z, kUserInit, to); },
            [&](std::int64_t row, T* to) { random_row(row, rated.item_counts, params, z, kItemInit, to); }};
  }
  const std::int64_t k = params.n_factors;
  const auto given = [k, scale = 1 / std::sqrt(z.model_scale)](std::span<const T> factors) {
    return [=](std::int64_t row, T* to) {
      std::transform(factors.data() + row * k, factors.data() + (row + 1) * k, to,
                     [scale](T v) { return static_cast<T>(static_cast<double>(v) * scale); });
    };
  };
  return {given(options.user_factors), given(options.item_factors)};
}

/// Multiplies all values; returns whether they are finite then.
template <class T>
bool multiply(std::vector<T>& values, double factor, ThreadTeam& team) {
  std::atomic<bool> finite{true};
  team.run_slices(static_cast<std::int64_t>(values.size()), [&](std::int64_t begin, std::int64_t end, int) {
    bool all = true;
    for (auto n = static_cast<std::size_t>(begin); n < static_cast<std::size_t>(end); ++n) {
      values[n] = static_cast<T>(static_cast<double>(values[n]) * factor);
      all &= std::isfinite(values[n]);
    }
    if (!all) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load();
}

/// Root mean squares over ratings, at the predictions that training starts from.
struct StartOf {
  double slope, error;
};

/// Throws where the caller's loss is not finite. `start`: the prediction, without the factors that the caller gives.
template <class T>
StartOf start_of_custom_loss(const RatingsView& ratings, const char* argument, double start, const TrainParams& params,
                             const TrainOptions<T>& options, ThreadTeam& team) {
  constexpr std::int64_t kAtOnce = 8;
  const std::int64_t n = ratings.size(), k = params.n_factors;
  struct Sums {
    double weight = 0, slopes = 0, errors = 0;
  };
  std::vector<Sums> sums(static_cast<std::size_t>(n / ThreadTeam::kSlice + 1));
  const auto prediction = [&](std::size_t r) {
    double x = start;
    for (std::int64_t f = 0; f < k && !options.user_factors.empty(); ++f) {
      x += static_cast<double>(options.user_factors[static_cast<std::size_t>(ratings.users[r] * k + f)]) *
           static_cast<double>(options.item_factors[static_cast<std::size_t>(ratings.items[r] * k + f)]);
    }
    return static_cast<T>(x);
  };
  team.run_slices(n, [&](std::int64_t begin, std::int64_t end, int) {
    Sums sum;
    for (std::int64_t from = begin; from < end; from += kAtOnce) {
      alignas(64) T values[kAtOnce], predictions[kAtOnce], losses[kAtOnce], slopes[kAtOnce];
      for (std::int64_t j = 0; j < kAtOnce; ++j) {
        const auto r = static_cast<std::size_t>(std::min(from + j, end - 1));
        values[j] = static_cast<T>(ratings.values[r]);
        predictions[j] = prediction(r);
      }
      options.loss(values, predictions, losses, slopes);
      for (std::int64_t j = 0; j < kAtOnce && from + j < end; ++j) {
        const auto r = static_cast<std::size_t>(from + j);
        const double weight = ratings.weights.empty() ? 1.0 : static_cast<double>(ratings.weights[r]);
        if (weight == 0) continue;
        if (!std::isfinite(losses[j]) || !std::isfinite(slopes[j])) {
          reject("the custom loss gives " + text(losses[j]) + " with the slope " + text(slopes[j]) + " for " +
                 argument + ".values[" + text(r) + "], " + text(values[j]) + ", and the prediction " +
                 text(predictions[j]) + ", with which training begins: make it finite there" +
                 (params.biases || params.nonnegative ? "" : ", or use biases=True or nonnegative=True"));
        }
        const double slope = static_cast<double>(slopes[j]),
                     error = static_cast<double>(values[j]) - static_cast<double>(predictions[j]);
        sum.weight += weight;
        sum.slopes += weight * slope * slope;
        sum.errors += weight * error * error;
      }
    }
    sums[static_cast<std::size_t>(begin / ThreadTeam::kSlice)] = sum;
  });
  Sums all;
  for (const Sums& sum : sums) {
    all.weight += sum.weight;
    all.slopes += sum.slopes;
    all.errors += sum.errors;
  }
  return {std::sqrt(all.slopes / all.weight), std::sqrt(all.errors / all.weight)};
}

/// Scales the slopes of the caller's loss so that their root mean square is what it would be with the squared loss:
/// then the learning rate and the penalties mean what they mean with that. Without `normalize` only the clipping is
/// scaled.
void fit_to_custom_loss(Standardization& z, const StartOf& start, bool normalize) {
  const double squared = start.error / z.loss.answer_scale;
  if (!(start.slope > 0) || !std::isfinite(start.slope) || !(squared > 0)) return;
  if (normalize) {
    z.loss.slope_scale = squared / start.slope;
  } else {
    z.max_slope *= start.slope / squared;
  }
}

[[noreturn]] void diverged(std::int32_t epoch, const TrainParams& p, double learning_rate, const std::string& how) {
  const double pull =
      learning_rate * std::max({p.reg.users, p.reg.items, p.reg_bias.users, p.reg_bias.items}) * (1 - p.l1_ratio);
  const std::string hint =
      pull > 1 && learning_rate < 1
          ? "learning_rate * reg is " + text(pull) + ", so each step overshoots zero: lower reg or learning_rate"
          : "lower learning_rate, for example to " + text(learning_rate / 4) +
                (p.batch_size > 0 ? ", or batch_size" : "") +
                (p.loss == Loss::custom
                     ? ", or keep the log, sqrt and / of the loss to where they are defined, by where, maximum or clip"
                     : "");
  throw DivergedError(epoch, "training diverged in epoch " + text(epoch) + " (" + how + ") with learning_rate " +
                                 text(learning_rate) + ": " + hint);
}

}  // namespace

template <class T>
TrainResult<T> train(const RatingsView& ratings, const TrainParams& params, const TrainOptions<T>& options) {
  using Clock = std::chrono::steady_clock;
  validate(params);
  require(ratings.n_users >= 1, "n_users", ratings.n_users, "at least 1");
  require(ratings.n_items >= 1, "n_items", ratings.n_items, "at least 1");
  if (ratings.size() == 0) reject("ratings is empty; give at least one rating");
  const RatingsView& validation = options.validation;
  const bool validating = !validation.users.empty() || !validation.items.empty() || !validation.values.empty();
  if (validating && (validation.n_users != ratings.n_users || validation.n_items != ratings.n_items)) {
    reject("validation is " + text(validation.n_users) + " x " + text(validation.n_items) +
           "; it must have the shape of the ratings, " + text(ratings.n_users) + " x " + text(ratings.n_items));
  }
  if (params.half && sizeof(T) != sizeof(float)) reject("half is true, and factors in double are none: use float");
  if (params.loss == Loss::custom && options.loss == nullptr) {
    reject("loss is custom, and options.loss is not given: give the function, or use another loss");
  }
  if (options.penalty != nullptr && params.l1_ratio > 0) {
    reject("l1_ratio is " + text(params.l1_ratio) +
           ", and a penalty of your own takes the place of both L1 and L2: set l1_ratio to 0, or leave it out");
  }
  if (options.user_factors.empty() != options.item_factors.empty()) {
    reject("give both initial user_factors and item_factors, or neither");
  }

  std::unique_ptr<Backend<T>> backend = params.device == Device::cuda
                                            ? make_cuda_backend<T>(params, options.interrupted)
                                            : make_cpu_backend<T>(params.n_threads, options.interrupted);
  TrainResult<T> result;
  Model<T>& model = result.model;
  const bool given = !options.user_factors.empty();
  Standardization z;
  Survey rated;
  double learning_rate = 0;
  {
    ThreadTeam team(team_size(params.n_threads, ratings.size() / ThreadTeam::kSlice), options.interrupted);
    rated = survey(ratings, "ratings", team);
    if (rated.counted == 0) reject("ratings.weights are all 0; at least one weight must be above 0");
    if (validating && survey(validation, "validation", team).counted == 0) {
      reject("validation.weights are all 0; at least one weight must be above 0");
    }
    learning_rate = first_learning_rate(params, ratings, rated);
    z = standardize(ratings, rated, validation, params, learning_rate, given);
    if (params.warmup_epochs > 0 && (given || z.start_factor > 0)) {
      reject("warmup_epochs is " + text(params.warmup_epochs) + ", and " +
             (given ? "initial factors are given, which all take part from the start: give none"
                    : "without biases all nonnegative factors are needed from the start: use biases=True") +
             ", or set warmup_epochs to 0");
    }
    model.rating_mean = rated.mean;
    model.n_users = ratings.n_users;
    model.n_items = ratings.n_items;
    model.n_factors = params.n_factors;
    model.global_mean = z.global_mean;
    model.start_bias = z.start_bias * z.model_scale;
    model.link = z.link;
    if (given) {
      check_initial(options.user_factors, "initial user_factors", model.n_users, params.n_factors, z.lowest);
      check_initial(options.item_factors, "initial item_factors", model.n_items, params.n_factors, z.lowest);
    }
    if (params.loss == Loss::custom) {
      fit_to_custom_loss(z, start_of_custom_loss(ratings, "ratings", z.start_score, params, options, team),
                         params.normalize);
      if (validating) start_of_custom_loss(validation, "validation", z.start_score, params, options, team);
    }
  }

  backend->upload(ratings, rated, z, start_of(params, z, rated, options), params, options);
  result.n_threads = backend->n_threads();
  result.instruction_set = backend->instruction_set();

  double limit = z.furthest_error;
  const auto describe = [&](const MeanLoss& mean, double& rmse, double& loss) {
    rmse = z.scale * std::sqrt(mean.square);
    loss = params.loss == Loss::squared ? rmse * rmse : z.loss_scale * mean.loss;
  };
  const auto told = [&](const char* of, double rmse, double loss) {
    const bool by_loss =
        params.loss == Loss::logistic || params.loss == Loss::squared_hinge || params.loss == Loss::custom;
    return std::string(of) + (by_loss ? " loss " + text(loss) : " RMSE " + text(rmse));
  };
  const bool choosing = validating && params.patience > 0;
  double best = std::numeric_limits<double>::infinity();
  for (std::int32_t epoch = 0; epoch < params.n_epochs; ++epoch) {
    const Clock::time_point began = Clock::now();
    EpochReport report;
    report.epoch = epoch + 1;
    report.learning_rate = learning_rate_at(params, learning_rate, epoch);
    const bool warming_up = epoch < params.warmup_epochs;
    const MeanLoss pass =
        backend->run_epoch(epoch, report.learning_rate, warming_up ? warmup_factors(params) : params.n_factors);
    const double error = z.mean_error(pass.loss, pass.square);
    if (given && epoch == 0 && std::isfinite(error)) limit = std::max(limit, kDivergedFirsts * error);
    describe(pass, report.train_rmse, report.train_loss);
    if (!(error <= limit))
      diverged(report.epoch, params, learning_rate, told("training", report.train_rmse, report.train_loss));
    if (validating) {
      describe(backend->evaluate(), report.valid_rmse, report.valid_loss);
      if (!std::isfinite(report.valid_rmse) || !std::isfinite(report.valid_loss)) {
        diverged(report.epoch, params, learning_rate, told("validation", report.valid_rmse, report.valid_loss));
      }
    }
    report.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    result.history.push_back(report);
    const bool better = !choosing || warming_up || report.valid_loss < best;
    if (better) {
      if (!warming_up) best = report.valid_loss;
      result.best_epoch = report.epoch;
    }
    const bool exhausted = !better && report.epoch - result.best_epoch >= params.patience;
    const bool last = report.epoch == params.n_epochs || exhausted;
    if (choosing && better && !warming_up && !last) backend->keep();
    if ((options.on_epoch && options.on_epoch(report)) || last) break;
  }
  if (choosing && !result.history.empty() && result.best_epoch != result.history.back().epoch) backend->restore();

  model.user_counts = std::move(rated.user_counts);
  model.item_counts = std::move(rated.item_counts);
  model.user_factors.resize(static_cast<std::size_t>(model.n_users) * static_cast<std::size_t>(model.n_factors));
  model.item_factors.resize(static_cast<std::size_t>(model.n_items) * static_cast<std::size_t>(model.n_factors));
  model.user_biases.assign(static_cast<std::size_t>(model.n_users), static_cast<T>(z.start_bias));
  model.item_biases.assign(static_cast<std::size_t>(model.n_items), static_cast<T>(z.start_bias));
  backend->download(model);
  ThreadTeam team(
      team_size(params.n_threads,
                static_cast<std::int64_t>(model.user_factors.size() + model.item_factors.size()) / ThreadTeam::kSlice));
  const double factor_scale = std::sqrt(z.model_scale);
  const bool finite[] = {
      multiply(model.user_factors, factor_scale, team), multiply(model.item_factors, factor_scale, team),
      multiply(model.user_biases, z.model_scale, team), multiply(model.item_biases, z.model_scale, team)};
  if (!std::all_of(std::begin(finite), std::end(finite), [](bool each) { return each; })) {
    diverged(static_cast<std::int32_t>(result.history.size()), params, learning_rate, "factors are not finite");
  }
  model.biases = params.biases;
  model.loss = params.loss;
  model.user_ids = Ids::numbered(model.n_users);
  model.item_ids = Ids::numbered(model.n_items);
  model.history = result.history;
  model.training.n_epochs = result.best_epoch;
  model.training.n_threads = result.n_threads;
  model.training.instruction_set = result.instruction_set;
  model.training.n_ratings = rated.counted;
  return result;
}

template TrainResult<float> train<float>(const RatingsView&, const TrainParams&, const TrainOptions<float>&);
template TrainResult<double> train<double>(const RatingsView&, const TrainParams&, const TrainOptions<double>&);

}  // namespace warpfactor
