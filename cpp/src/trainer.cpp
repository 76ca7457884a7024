// SPDX-License-Identifier: Apache-2.0
// Device-blind: validate, standardize, initialize, run epochs, stop early, hand back the best model.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <sstream>
#include <type_traits>

#include "backend.hpp"
#include "random.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

constexpr std::int32_t kMaxFactors = 1024;

// A model that predicts nothing but the mean has an RMSE of one standard deviation.
constexpr double kDivergedDeviations = 10;

// Without biases the factors must carry the mean too: beyond this many standard deviations it, not the deviation, sets
// the scale, or the first steps would be too long.
constexpr double kMostDeviations = 5;

template <class V>
std::string text(const V& value) {
  if constexpr (std::is_floating_point_v<V>) {
    if (std::isnan(value)) return "nan";  // a stream may say -nan
  }
  std::ostringstream out;
  out << value;
  return out.str();
}

[[noreturn]] void reject(const std::string& what) { throw std::invalid_argument(what); }

template <class V>
void require(bool condition, const char* name, const V& value, const char* allowed) {
  if (!condition) reject(std::string(name) + " is " + text(value) + "; it must be " + allowed);
}

void validate(const TrainParams& p) {
  require(p.n_factors >= 1 && p.n_factors <= kMaxFactors, "n_factors", p.n_factors, "from 1 to 1024");
  require(p.n_epochs >= 0, "n_epochs", p.n_epochs, "at least 0");
  require(std::isfinite(p.learning_rate) && p.learning_rate > 0, "learning_rate", p.learning_rate,
          "finite and above 0");
  require(std::isfinite(p.reg) && p.reg >= 0, "reg", p.reg, "finite and at least 0");
  require(std::isfinite(p.reg_bias) && p.reg_bias >= 0, "reg_bias", p.reg_bias, "finite and at least 0");
  require(std::isfinite(p.init_scale) && p.init_scale >= 0, "init_scale", p.init_scale, "finite and at least 0");
  require(p.n_threads >= 0, "n_threads", p.n_threads, "at least 1, or 0 for all available");
  require(p.patience >= 0, "patience", p.patience, "at least 0 (0: run all epochs)");
}

/// Sums over the ratings, slice by slice, so that their bits do not depend on the number of threads.
struct Sums {
  double weight = 0, value = 0, square = 0;
};

void validate_index(std::int32_t index, std::int32_t n, const char* what, const char* argument, std::int64_t at) {
  if (index < 0 || index >= n) {
    reject(std::string(argument) + "." + what + "[" + text(at) + "] is " + text(index) + "; it must be from 0 to " +
           text(n - 1));
  }
}

/// The first rating as the center: its distances cancel less than the values themselves would.
double center_of(const RatingsView& ratings) { return static_cast<double>(ratings.values.front()); }

/// A copy without the ratings of weight 0, so that they are as good as absent, down to the bits of the result: they
/// take no part in the order, the scale or the choice of rows to start, and a value of 1e38 in them harms nobody.
struct Weighing {
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;

  explicit Weighing(const RatingsView& ratings) {
    for (std::size_t r = 0; r < ratings.weights.size(); ++r) {
      if (ratings.weights[r] == 0) continue;
      users.push_back(ratings.users[r]);
      items.push_back(ratings.items[r]);
      values.push_back(ratings.values[r]);
      weights.push_back(ratings.weights[r]);
    }
  }
};

/// Checks every rating and returns sums of weights, of values, and of squared distances from `center`.
Sums check_and_sum(const RatingsView& ratings, const char* argument, double center, ThreadTeam& team) {
  const std::size_t n = ratings.values.size();
  if (ratings.users.size() != n || ratings.items.size() != n ||
      (!ratings.weights.empty() && ratings.weights.size() != n)) {
    reject(std::string(argument) + " has " + text(ratings.users.size()) + " users, " + text(ratings.items.size()) +
           " items, " + text(n) + " values and " + text(ratings.weights.size()) +
           " weights; the lengths must be equal (weights may be left out)");
  }
  std::vector<Sums> slices(n / ThreadTeam::kSlice + 1);
  team.run_slices(ratings.size(), [&](std::int64_t begin, std::int64_t end, int) {
    Sums& sums = slices[static_cast<std::size_t>(begin / ThreadTeam::kSlice)];
    for (std::int64_t at = begin; at < end; ++at) {
      const auto r = static_cast<std::size_t>(at);
      validate_index(ratings.users[r], ratings.n_users, "users", argument, at);
      validate_index(ratings.items[r], ratings.n_items, "items", argument, at);
      const double value = static_cast<double>(ratings.values[r]);
      const double weight = ratings.weights.empty() ? 1.0 : static_cast<double>(ratings.weights[r]);
      if (!std::isfinite(value)) {
        reject(std::string(argument) + ".values[" + text(at) + "] is " + text(value) +
               "; ratings must be finite, so drop that entry");
      }
      if (!(weight >= 0) || !std::isfinite(weight)) {
        reject(std::string(argument) + ".weights[" + text(at) + "] is " + text(weight) +
               "; weights must be finite and at least 0");
      }
      sums.weight += weight;
      sums.value += weight * value;
      sums.square += weight * (value - center) * (value - center);
    }
  });
  Sums total;
  for (const Sums& sums : slices) {
    total.weight += sums.weight;
    total.value += sums.value;
    total.square += sums.square;
  }
  return total;
}

double learning_rate_at(const TrainParams& p, std::int32_t epoch) {
  const double t = epoch;
  switch (p.schedule) {
    case Schedule::constant: return p.learning_rate;
    case Schedule::inverse_time: return p.learning_rate / (1 + t / 10);
    case Schedule::linear: return p.learning_rate * (1 - t / p.n_epochs);
    case Schedule::cosine: return p.learning_rate * (1 + std::cos(std::numbers::pi * t / p.n_epochs)) / 2;
  }
  reject("schedule has an unknown value");
}

std::vector<bool> rated_rows(std::span<const std::int32_t> rows, std::int32_t n_rows) {
  std::vector<bool> rated(static_cast<std::size_t>(n_rows), false);
  for (const std::int32_t row : rows) rated[static_cast<std::size_t>(row)] = true;
  return rated;
}

/// Uniform with the given standard deviation; each row has a random stream of its own. Rows without ratings stay zero:
/// nothing is known about them, so their predictions are to be the mean and the other side's bias.
template <class T>
void init_factors(std::vector<T>& factors, const std::vector<bool>& rated, const TrainParams& params,
                  std::uint64_t purpose, ThreadTeam& team) {
  const auto n_rows = static_cast<std::int64_t>(rated.size());
  const std::int64_t n_factors = params.n_factors;
  const double half_width = params.init_scale * std::sqrt(3.0);
  team.run_slices(
      n_rows,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t row = begin; row < end; ++row) {
          if (!rated[static_cast<std::size_t>(row)]) continue;
          SplitMix64 random(params.seed, purpose, static_cast<std::uint64_t>(row));
          for (std::int64_t f = 0; f < n_factors; ++f) {
            const double uniform = static_cast<double>(random.next() >> 11) * 0x1p-52 - 1;  // [-1, 1)
            factors[static_cast<std::size_t>(row * n_factors + f)] = static_cast<T>(half_width * uniform);
          }
        }
      },
      4096);
}

template <class T>
void take_initial(std::vector<T>& factors, std::span<const T> given, const char* name, std::int64_t n_rows,
                  std::int64_t n_factors) {
  if (static_cast<std::int64_t>(given.size()) != n_rows * n_factors) {
    reject(std::string(name) + " has " + text(given.size()) + " elements; it must have " + text(n_rows) + " x " +
           text(n_factors));
  }
  const auto bad = std::find_if(given.begin(), given.end(), [](T v) { return !std::isfinite(v); });
  if (bad != given.end()) {
    reject(std::string(name) + " holds " + text(*bad) + " at element " + text(bad - given.begin()) +
           "; initial factors must be finite");
  }
  factors.assign(given.begin(), given.end());
}

template <class T>
void multiply(std::vector<T>& values, double factor) {
  for (T& v : values) v = static_cast<T>(static_cast<double>(v) * factor);
}

template <class T>
bool all_finite(const std::vector<T>& values) {
  return std::all_of(values.begin(), values.end(), [](T v) { return std::isfinite(v); });
}

[[noreturn]] void diverged(std::int32_t epoch, const TrainParams& p, const std::string& how) {
  throw DivergedError(epoch, "training diverged in epoch " + text(epoch) + " (" + how + ") with learning_rate " +
                                 text(p.learning_rate) + ": lower learning_rate, for example to " +
                                 text(p.learning_rate / 4) + ", or raise reg");
}

}  // namespace

template <class T>
TrainResult<T> train(const RatingsView& all_ratings, const TrainParams& params, const TrainOptions<T>& options) {
  using Clock = std::chrono::steady_clock;
  validate(params);
  RatingsView ratings = all_ratings;
  std::optional<Weighing> weighing;  // what `ratings` views where some weights are 0
  require(ratings.n_users >= 1, "n_users", ratings.n_users, "at least 1");
  require(ratings.n_items >= 1, "n_items", ratings.n_items, "at least 1");
  if (ratings.size() == 0) reject("ratings is empty; give at least one rating");
  const RatingsView& validation = options.validation;
  const bool validating = !validation.users.empty() || !validation.items.empty() || !validation.values.empty();
  if (validating && (validation.n_users != ratings.n_users || validation.n_items != ratings.n_items)) {
    reject("validation is " + text(validation.n_users) + " x " + text(validation.n_items) +
           "; it must have the shape of the ratings, " + text(ratings.n_users) + " x " + text(ratings.n_items));
  }
  if (options.user_factors.empty() != options.item_factors.empty()) {
    reject("give both initial user_factors and item_factors, or neither");
  }

  std::unique_ptr<Backend<T>> backend = params.device == Device::cuda
                                            ? make_cuda_backend<T>(params.device_index, options.interrupted)
                                            : make_cpu_backend<T>(params.n_threads, options.interrupted);
  TrainResult<T> result;
  Model<T>& model = result.model;
  Standardization z;
  double deviation = 0, size = 0;  // of the ratings: about their mean, and about z.shift
  {
    ThreadTeam team(team_size(params.n_threads, std::max<std::int64_t>(1, ratings.size() / ThreadTeam::kSlice)),
                    options.interrupted);
    Sums sums = check_and_sum(ratings, "ratings", center_of(ratings), team);
    if (!(sums.weight > 0)) reject("ratings.weights are all 0; at least one weight must be above 0");
    if (std::find(ratings.weights.begin(), ratings.weights.end(), 0.0f) != ratings.weights.end()) {
      weighing.emplace(ratings);
      ratings.users = weighing->users;
      ratings.items = weighing->items;
      ratings.values = weighing->values;
      ratings.weights = weighing->weights;
      sums = check_and_sum(ratings, "ratings", center_of(ratings), team);
    }
    if (validating && !(check_and_sum(validation, "validation", 0, team).weight > 0)) {
      reject("validation.weights are all 0; at least one weight must be above 0");
    }
    model.rating_mean = sums.value / sums.weight;
    const double offset = model.rating_mean - center_of(ratings);
    const double spread = sums.square / sums.weight;
    const double variance = spread - offset * offset;
    // Below this the difference is rounding: the ratings are all equal.
    deviation = variance > 1e-12 * spread ? std::sqrt(variance) : 0.0;
    z.shift = params.biases ? model.rating_mean : 0.0;
    size = std::hypot(deviation, model.rating_mean - z.shift);
    if (params.normalize && size > 0) z.scale = std::max(deviation, size / kMostDeviations);
    z.weight_scale = static_cast<double>(ratings.size()) / sums.weight;

    model.n_users = ratings.n_users;
    model.n_items = ratings.n_items;
    model.n_factors = params.n_factors;
    model.global_mean = z.shift;
    const std::int64_t k = params.n_factors;
    model.user_biases.assign(static_cast<std::size_t>(model.n_users), T(0));
    model.item_biases.assign(static_cast<std::size_t>(model.n_items), T(0));
    if (options.user_factors.empty()) {
      model.user_factors.assign(static_cast<std::size_t>(model.n_users * k), T(0));
      model.item_factors.assign(static_cast<std::size_t>(model.n_items * k), T(0));
      init_factors(model.user_factors, rated_rows(ratings.users, model.n_users), params, kUserInit, team);
      init_factors(model.item_factors, rated_rows(ratings.items, model.n_items), params, kItemInit, team);
    } else {
      take_initial(model.user_factors, options.user_factors, "initial user_factors", model.n_users, k);
      take_initial(model.item_factors, options.item_factors, "initial item_factors", model.n_items, k);
      multiply(model.user_factors, 1 / std::sqrt(z.scale));
      multiply(model.item_factors, 1 / std::sqrt(z.scale));
    }
  }

  backend->upload(ratings, validation, z, model, params);
  result.n_threads = backend->n_threads();
  result.instruction_set = backend->instruction_set();

  // What the pass may at most report: the ratings' own size, or the largest prediction that random factors can start
  // with. Factors given by the caller may start anywhere, so their first epoch sets it.
  const double start = 3 * params.init_scale * params.init_scale * params.n_factors;
  double limit = kDivergedDeviations * std::max(size / z.scale, start);
  const bool given = !options.user_factors.empty();
  const bool choosing = validating && params.patience > 0;
  double best = std::numeric_limits<double>::infinity();
  for (std::int32_t epoch = 0; epoch < params.n_epochs; ++epoch) {
    const Clock::time_point start = Clock::now();
    EpochReport report;
    report.epoch = epoch + 1;
    report.learning_rate = learning_rate_at(params, epoch);
    const double train_z = std::sqrt(backend->run_epoch(epoch, report.learning_rate));
    if (given && epoch == 0 && std::isfinite(train_z)) limit = std::max(limit, kDivergedDeviations * train_z);
    report.train_rmse = z.scale * train_z;
    if (!(train_z <= limit)) diverged(report.epoch, params, "training RMSE " + text(report.train_rmse));
    if (validating) {
      report.valid_rmse = z.scale * std::sqrt(backend->evaluate());
      if (!std::isfinite(report.valid_rmse)) {
        diverged(report.epoch, params, "validation RMSE " + text(report.valid_rmse));
      }
    }
    report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    result.history.push_back(report);
    const bool better = !choosing || report.valid_rmse < best;
    if (better) {
      best = report.valid_rmse;
      result.best_epoch = report.epoch;
    }
    const bool exhausted = !better && report.epoch - result.best_epoch >= params.patience;
    const bool last = report.epoch == params.n_epochs || exhausted;
    if (choosing && better && !last) backend->keep();
    if ((options.on_epoch && options.on_epoch(report)) || last) break;
  }
  if (choosing && !result.history.empty() && result.best_epoch != result.history.back().epoch) backend->restore();

  backend->download(model);
  if (!all_finite(model.user_factors) || !all_finite(model.item_factors) || !all_finite(model.user_biases) ||
      !all_finite(model.item_biases)) {
    diverged(static_cast<std::int32_t>(result.history.size()), params, "factors are not finite");
  }
  multiply(model.user_factors, std::sqrt(z.scale));
  multiply(model.item_factors, std::sqrt(z.scale));
  multiply(model.user_biases, z.scale);
  multiply(model.item_biases, z.scale);
  return result;
}

template TrainResult<float> train<float>(const RatingsView&, const TrainParams&, const TrainOptions<float>&);
template TrainResult<double> train<double>(const RatingsView&, const TrainParams&, const TrainOptions<double>&);

}  // namespace warpfactor
