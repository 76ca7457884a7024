// SPDX-License-Identifier: Apache-2.0
// Device-blind: validate, standardize, initialize, run epochs, stop early, hand back the best model.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <iterator>
#include <limits>
#include <numbers>
#include <optional>

#include "backend.hpp"
#include "bias_variances.hpp"
#include "checkpoint.hpp"
#include "device/registry.hpp"
#include "early_stopping.hpp"
#include "elsewhere.hpp"
#include "optimizer.hpp"
#include "random.hpp"
#include "require.hpp"
#include "row_pulls.hpp"
#include "serving/stored_params.hpp"
#include "strengths.hpp"
#include "survey.hpp"
#include "threads.hpp"
#include "warpfactor/runtime.hpp"
#include "warpfactor/source.hpp"

namespace warpfactor {
namespace {

// Factors that the caller gives set by their first epoch how far off predictions may be; a later one this many times as
// far off has diverged.
constexpr double kDivergedFirsts = 10;

// Epochs, where none are given: the first for so many ratings and more, for fewer up to so many times as many.
constexpr double kUsualEpochs = 20, kManyRatings = 4e5, kMostTimes = 2;

/// Whether the learning rate falls to zero within the epochs.
bool falls(Schedule schedule) { return schedule == Schedule::linear || schedule == Schedule::cosine; }

/// Whether n_epochs is but a bound, so that the learning rate must not fall by it: where the validation ratings may end
/// training. Full-batch descent takes as many epochs as it is given.
bool is_bounded_only(const TrainParams& p, bool validating) {
  return validating && p.patience > 0 && falls(p.schedule) && !traits_of(p.optimizer).all_together;
}

/// Epochs in which the learning rate falls with early stopping. `usual`: what training chooses without.
std::int32_t stopping_epochs(const TrainParams& given, const TrainParams& params, double usual_rate,
                             std::int32_t usual) {
  const double slower = given.n_epochs && given.learning_rate ? std::max(1.0, usual_rate / *given.learning_rate) : 1;
  const double times = given.n_epochs ? traits_of(params.optimizer).stopping_times * slower : 1;
  const double most = given.n_epochs ? *given.n_epochs : std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(
      std::min(most, std::round(kStoppingEpochs * times * static_cast<double>(usual)) + params.warmup_epochs));
}

/// The parameters with what they leave open, but for reg_bias_row where the ratings' variances decide about it, and
/// what the strengths decide.
struct Resolved {
  TrainParams params;  ///< with the usual strengths
  TrainParams open;    ///< those given, where what may be chosen is open
  double usual_rate = 0;
  bool bounded = false;   ///< n_epochs is but a bound
  bool searched = false;  ///< the strengths are to be searched for

  /// The parameters of the training with these strengths.
  [[nodiscard]] TrainParams with(const Strengths& strengths, const TrainParams& given) const {
    TrainParams found = with_strengths(params, strengths, open);
    if (bounded) found.n_epochs = stopping_epochs(given, found, usual_rate, *found.n_epochs);
    return found;
  }
};
void require_short_warmup(const TrainParams& p, std::int32_t n_epochs) {
  if (p.warmup_epochs > 0 && p.warmup_epochs >= n_epochs) {
    reject("warmup_epochs", p.warmup_epochs, "below n_epochs, which is " + text(n_epochs));
  }
}

template <class T>
Resolved resolved(const TrainParams& given, const RatingSource& ratings, const Survey& rated,
                  const TrainOptions<T>& options) {
  TrainParams params = given;
  const bool bounded = is_bounded_only(given, options.validation.size() > 0);
  const std::int32_t usual = usual_epochs(rated.counted);
  params.n_epochs = bounded ? std::min(given.n_epochs.value_or(usual), usual) : given.n_epochs.value_or(usual);
  require_short_warmup(params, given.n_epochs.value_or(*params.n_epochs));
  const bool per_row = has_usual_pulls(params, options.penalty != nullptr);
  if (params.implicit_feedback == ImplicitFeedback::automatic) {
    params.implicit_feedback = per_row ? ImplicitFeedback::both : ImplicitFeedback::none;
  }
  if (!params.reg_bias) params.reg_bias = per_row ? 0 : kBiasesPerRating;
  if (!params.reg_bias_row && !per_row) params.reg_bias_row = 0;
  // Strengths per row that are still open will be above 0.
  const bool pulled = (per_row && (!params.reg_row || !params.reg_bias_row)) || has_row_pulls(params);
  params.learning_rate = std::nullopt;
  const double usual_rate = first_learning_rate(params, ratings, rated, pulled);
  params.learning_rate = given.learning_rate.value_or(usual_rate);
  // All ratings together take hundreds of epochs, of which a search's few tell nothing.
  const bool tells = *params.n_epochs > 0 && !traits_of(params.optimizer).all_together;
  const bool searched = per_row && tells && leave_strengths_open(given) && options.user_factors.empty();
  TrainParams open = given;
  if (!open.reg_row && !per_row) open.reg_row = 0;
  if (bounded) open.n_epochs = std::nullopt;
  return {with_strengths(params, kUsualStrengths, open), open, usual_rate, bounded, searched};
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
    case Schedule::linear: return first * (1 - t / *p.n_epochs);
    case Schedule::cosine: return first * (1 + std::cos(std::numbers::pi * t / *p.n_epochs)) / 2;
  }
  return first;  // not reached: require_in_range() has seen the schedule
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
  const double unit = *params.init_scale * std::sqrt(3.0) * 0x1p-31;  // half of the width, by 32 bits with a sign
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
  if (bad != given.end()) reject(element(name, bad - given.begin()), *bad, "finite");
  const auto low = std::find_if(given.begin(), given.end(), [lowest](T v) { return static_cast<double>(v) < lowest; });
  if (low != given.end()) {
    reject(element(name, low - given.begin()), *low, "at least 0 with nonnegative and with the poisson loss");
  }
}

/// Throws for initial biases that are not of both sides, finite and with factors.
template <class T>
void check_initial_biases(const TrainOptions<T>& options, const TrainParams& params, const RatingSource& ratings,
                          double lowest) {
  if (options.user_biases.empty() && options.item_biases.empty()) return;
  require(params.biases, "biases", "false", "true with initial biases");
  if (options.user_factors.empty()) reject("initial biases are given without initial factors; give both, or neither");
  check_initial(options.user_biases, "initial user_biases", ratings.n_users(), 1, lowest);
  check_initial(options.item_biases, "initial item_biases", ratings.n_items(), 1, lowest);
  require(std::isfinite(options.global_mean), "initial global_mean", options.global_mean, "finite");
}

template <class T>
Start<T> start_of(const TrainParams& params, const Standardization& z, const Survey& rated,
                  const TrainOptions<T>& options) {
  const T start_bias = static_cast<T>(z.start_bias);
  if (options.user_factors.empty()) {
    const auto random = [&, start_bias](const std::vector<std::uint32_t>& counts, std::uint64_t purpose) {
      return [&, start_bias, purpose](std::int64_t row, T* to) {
        random_row(row, counts, params, z, purpose, to);
        return start_bias;
      };
    };
    return {random(rated.user_counts, kUserInit), random(rated.item_counts, kItemInit)};
  }
  const std::int64_t k = params.n_factors;
  const auto given = [k, start_bias, scale = z.model_scale](std::span<const T> factors, std::span<const T> biases) {
    return [=, factor_scale = 1 / std::sqrt(scale)](std::int64_t row, T* to) {
      std::transform(factors.data() + row * k, factors.data() + (row + 1) * k, to,
                     [factor_scale](T v) { return static_cast<T>(static_cast<double>(v) * factor_scale); });
      if (biases.empty()) return start_bias;
      return static_cast<T>(static_cast<double>(biases[static_cast<std::size_t>(row)]) / scale);
    };
  };
  return {given(options.user_factors, options.user_biases), given(options.item_factors, options.item_biases)};
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

/// Throws where the custom loss is not finite. Ratings with an index of -1 are passed over. `start`: the prediction,
/// without the factors that the caller gives.
template <class T>
StartOf start_of_custom_loss(const RatingSource& source, const char* argument, double start, const TrainParams& params,
                             const TrainOptions<T>& options, ThreadTeam& team) {
  constexpr std::int64_t kAtOnce = 8;
  const std::int64_t k = params.n_factors;
  struct Sums {
    double weight = 0, slopes = 0, errors = 0;
  };
  std::vector<Sums> sums(static_cast<std::size_t>(source.size() / ThreadTeam::kSlice + 1));
  source.for_each_part([&](const RatingsView& ratings, std::int64_t first) {
    const auto prediction = [&](std::size_t r) {
      double x = start;
      const bool known = ratings.users[r] >= 0 && ratings.items[r] >= 0;
      for (std::int64_t f = 0; f < k && known && !options.user_factors.empty(); ++f) {
        x += static_cast<double>(options.user_factors[static_cast<std::size_t>(ratings.users[r] * k + f)]) *
             static_cast<double>(options.item_factors[static_cast<std::size_t>(ratings.items[r] * k + f)]);
      }
      return static_cast<T>(x);
    };
    team.run_slices(ratings.size(), [&](std::int64_t begin, std::int64_t end, int) {
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
          if (weight == 0 || ratings.users[r] < 0 || ratings.items[r] < 0) continue;
          if (!std::isfinite(losses[j]) || !std::isfinite(slopes[j])) {
            reject("the custom loss gives " + text(losses[j]) + " with the slope " + text(slopes[j]) + " for " +
                   argument + ".values[" + text(first + from + j) + "], " + text(values[j]) + ", and the prediction " +
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
      sums[static_cast<std::size_t>((first + begin) / ThreadTeam::kSlice)] = sum;
    });
  });
  Sums all;
  for (const Sums& sum : sums) {
    all.weight += sum.weight;
    all.slopes += sum.slopes;
    all.errors += sum.errors;
  }
  return {std::sqrt(all.slopes / all.weight), std::sqrt(all.errors / all.weight)};
}

/// Searches for strengths. What the loss cannot take is refused before, since a search takes long.
template <class T>
Strengths search(const TrainParams& params, const RatingSource& ratings, const Survey& rated, const TrainParams& given,
                 const TrainOptions<T>& options, int n_divisions, ThreadTeam& team) {
  const Standardization z = standardize(ratings, rated, options.validation, params, *params.learning_rate, false);
  if (params.loss == Loss::custom) {
    start_of_custom_loss(ratings, "ratings", z.start_score, params, options, team);
    start_of_custom_loss(options.validation, "validation", z.start_score, params, options, team);
  }
  return choose_strengths(ratings, rated, given, params, options, n_divisions, team);
}

/// Scales the slopes of a custom loss so that their root mean square is what it would be with the squared loss:
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
      learning_rate * std::max({p.reg->users, p.reg->items, p.reg_bias->users, p.reg_bias->items}) * (1 - p.l1_ratio);
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

/// What needs no look at the ratings. Returns whether there are validation ratings.
template <class T>
bool check(const RatingSource& ratings, const TrainParams& params, const TrainOptions<T>& options,
           bool is_sample = false) {
  check_params(params, options.penalty != nullptr);
  const bool validating = require_shapes(ratings, options.validation, is_sample);
  if (!options.learning_rates.empty() &&
      (!params.n_epochs || params.patience > 0 ||
       static_cast<std::int64_t>(options.learning_rates.size()) != *params.n_epochs)) {
    reject("learning_rates has " + text(options.learning_rates.size()) +
           " elements; it must have n_epochs of them, and patience must be 0");
  }
  require(options.checkpoints.every > 0, "checkpoints.every", options.checkpoints.every, "at least 1");
  require(!params.half || sizeof(T) == sizeof(float), "half", "true", "false with factors in double");
  require(params.loss != Loss::custom || options.loss != nullptr, "loss", "custom",
          "another one where options.loss, its function, is not given");
  require(options.penalty == nullptr || params.l1_ratio == 0, "l1_ratio", params.l1_ratio,
          "0 with a penalty of your own, which takes the place of both L1 and L2");
  if (options.user_factors.empty() != options.item_factors.empty()) {
    reject("initial user_factors has " + text(options.user_factors.size()) + " elements and item_factors " +
           text(options.item_factors.size()) + "; give both, or neither");
  }
  return validating;
}

/// Refuses a fit that certainly does not fit into the host's memory or the device's.
template <class T>
void require_fit_memory(const RatingSource& ratings, const Survey& rated, const TrainParams& params,
                        const TrainOptions<T>& options, Backend<T>& backend) {
  RatingCounts counts;
  counts.n_ratings = rated.counted;
  counts.n_users = ratings.n_users();
  counts.n_items = ratings.n_items();
  counts.weighted = ratings.weighted();
  if (ratings.scratch() != nullptr) counts.buffer_bytes = ratings.scratch()->buffer_bytes;
  counts.n_validation = options.validation.size();
  counts.validation_weighted = !options.validation.weights.empty();
  counts.initial = !options.user_factors.empty();
  counts.custom_penalty = options.penalty != nullptr;
  counts.user_counts = rated.user_counts;
  counts.item_counts = rated.item_counts;
  require_memory<T>(counts, params);
  if (params.device == Device::cuda) {
    backend.require_device_memory(fit_memory<T>(counts, params, MemoryBound::least), params);
  }
}

}  // namespace

void check_params(const TrainParams& p, bool custom_penalty) {
  require_in_range(p);
  const LossTraits& loss = traits_of(p.loss);
  const OptimizerTraits& optimizer = traits_of(p.optimizer);
  const std::string with_optimizer = std::string("0 with ") + name_of(p.optimizer);
  if (p.warmup_epochs > 0 && !optimizer.late_factors) {
    reject("warmup_epochs", p.warmup_epochs,
           with_optimizer + ", which corrects its averages for a row as a whole: use another optimizer, or no warm-up");
  }
  if (p.nonnegative && loss.labels()) {
    reject("nonnegative", "true",
           std::string("false with the ") + loss.name + " loss, whose lower label needs negative scores");
  }
  if (p.momentum > 0 && !optimizer.momentum) {
    reject("momentum", p.momentum, with_optimizer + "; only sgd and gd have one");
  }
  if (p.batch_size > 0 && optimizer.all_together) {
    reject("batch_size", p.batch_size, with_optimizer + ", which takes all ratings together: leave it out, or use sgd");
  }
  if (p.n_epochs) require_short_warmup(p, *p.n_epochs);
  const auto pulls = [](const std::optional<PerSide>& sides) {
    return sides && (sides->users > 0 || sides->items > 0);
  };
  const bool implicit =
      p.implicit_feedback != ImplicitFeedback::automatic && p.implicit_feedback != ImplicitFeedback::none;
  const char* const name = name_of(p.implicit_feedback);
  if (implicit && p.l1_ratio > 0) {
    reject("l1_ratio", p.l1_ratio,
           std::string("0 with implicit_feedback ") + name + ", whose prior means are no zeros");
  }
  if (implicit && is_nonnegative(p)) {
    reject("implicit_feedback", name,
           "none with nonnegative and with the poisson loss, since prior means have any sign");
  }
  if (custom_penalty && (implicit || pulls(p.reg_row) || pulls(p.reg_bias_row))) {
    reject(implicit           ? "implicit_feedback"
           : pulls(p.reg_row) ? "reg_row"
                              : "reg_bias_row",
           implicit ? name : "above 0",
           std::string(implicit ? "none" : "0") + " with a penalty of your own, which takes the place of all others");
  }
  if (p.half && p.device != Device::cuda) {
    reject("half", "true", "false on the CPU; only CUDA devices store factors in half precision");
  }
}

std::int32_t usual_epochs(std::int64_t n_ratings) {
  const double few = std::sqrt(kManyRatings / static_cast<double>(std::max<std::int64_t>(n_ratings, 1)));
  return static_cast<std::int32_t>(std::lround(kUsualEpochs * std::clamp(few, 1.0, kMostTimes)));
}

std::int32_t most_epochs(const TrainParams& params, std::int64_t n_ratings, bool validating) {
  const std::int32_t usual = usual_epochs(n_ratings);
  if (!is_bounded_only(params, validating)) return params.n_epochs.value_or(usual);
  // A learning rate that is given takes longer by what the ratings' own rate is, which is not known here.
  if (params.n_epochs && params.learning_rate) return *params.n_epochs;
  return stopping_epochs(params, params, 0, usual);
}

template <class T>
TrainParams with_found_strengths(const RatingsView& ratings, const TrainParams& given, const TrainOptions<T>& options,
                                 int n_divisions) {
  check(ratings, given, options);
  ThreadTeam team(team_size(given.n_threads, ratings.size() / ThreadTeam::kSlice), options.interrupted);
  const Survey rated = survey(ratings, "ratings", team);
  const Resolved open = resolved(given, ratings, rated, options);
  if (!open.searched) return given;
  return with_strengths(given, search(open.params, ratings, rated, given, options, n_divisions, team), given);
}

namespace {

/// `elsewhere`: who holds the ratings, of which `ratings` are a sample; nullptr: they are all here.
template <class T>
TrainResult<T> train_on(RatingSource& ratings, const TrainParams& given_params, const TrainOptions<T>& options,
                        Elsewhere<T>* elsewhere = nullptr) {
  using Clock = std::chrono::steady_clock;
  const bool validating = check(ratings, given_params, options, elsewhere != nullptr);
  const RatingsView& validation = options.validation;
  KnownRatings known;
  TrainOptions<T> used = options;  // with those validation ratings that have training ratings of both rows
  TrainParams params = given_params;
  std::unique_ptr<Backend<T>> backend = elsewhere != nullptr ? std::move(elsewhere->backend)
                                        : params.device == Device::cuda
                                            ? make_cuda_backend<T>(params, options.interrupted)
                                            : make_cpu_backend<T>(params.n_threads, options.interrupted);
  TrainResult<T> result;
  Model<T>& model = result.model;
  const bool given = !options.user_factors.empty();
  const bool goes_on = !options.user_biases.empty() || !options.item_biases.empty();
  Standardization z;
  Survey rated;
  double learning_rate = 0;
  Likeness likeness;
  std::optional<OpenedCheckpoint<T>> from;
  std::optional<KnownPairs> pairs;
  ratings.fetch([&](bool weighted) { return scratch_bytes(ratings.size(), weighted, params); });
  {
    ThreadTeam team(team_size(params.n_threads, ratings.size() / ThreadTeam::kSlice), options.interrupted);
    if (!options.checkpoints.path.empty() || !options.checkpoints.resume.empty()) {
      RatingChecksums checksums;
      ratings.for_each_part([&](const RatingsView& part, std::int64_t) { checksums.add(part, team); });
      likeness = likeness_of(checksums, ratings.n_users(), ratings.n_items(), options, team);
      if (!options.checkpoints.resume.empty()) {
        const std::string kernels = elsewhere != nullptr ? backend->instruction_set()
                                    : params.device == Device::cpu
                                        ? training_instruction_set(params.n_factors, sizeof(T) == sizeof(double))
                                        : "";
        from.emplace(options.checkpoints, given_params, likeness, kernels);
      }
    }
    if (elsewhere != nullptr) {
      rated = std::move(elsewhere->rated);
    } else if (std::optional<Survey> taken = backend->take(ratings, "ratings", params, team)) {
      rated = std::move(*taken);
    } else {
      rated = survey(ratings, "ratings", team);
    }
    // Ratings of other processes take no memory here.
    if (elsewhere == nullptr) require_fit_memory(ratings, rated, given_params, options, *backend);
    if (validating) used.validation = known.of(validation, "validation", rated);
    pairs.emplace(options.implicit, ratings, rated);
    if (from) {
      params = from->params();
      z = from->z();
    } else {
      const Resolved open = resolved(given_params, ratings, rated, options);
      params = open.with(
          open.searched ? search(open.params, ratings, rated, given_params, options, 1, team) : kUsualStrengths,
          given_params);
      z = standardize(ratings, rated, validation, params, *params.learning_rate, given);
    }
    learning_rate = *params.learning_rate;
    if (params.warmup_epochs > 0 && (given || z.start_factor > 0)) {
      reject("warmup_epochs", params.warmup_epochs,
             given ? "0 with initial factors, which all take part from the start: give none, or no warm-up"
                   : "0 without biases, where all nonnegative factors are needed from the start: use biases=True, or "
                     "no warm-up");
    }
    if (!params.reg_bias_row) {
      const BiasVariances found = bias_variances(ratings, z, rated.counted, team);
      const double curvature = traits_of(params.loss).curvature;
      params.reg_bias_row = PerSide(curvature * found.noise / found.users, curvature * found.noise / found.items);
      if (traits_of(params.loss).units == LossUnits::scores) z.centre(z.shift + z.scale * found.mu);
    }
    // A score, which squared_hinge predicts, has no mean of the labels to fall back on.
    const LossTraits& traits = traits_of(params.loss);
    model.rating_mean = traits.labels() && traits.link == Link::identity ? 0 : rated.mean;
    model.n_users = ratings.n_users();
    model.n_items = ratings.n_items();
    model.n_factors = params.n_factors;
    model.global_mean = z.global_mean;
    model.start_bias = z.start_bias * z.model_scale;
    model.link = z.link;
    if (given) {
      check_initial(options.user_factors, "initial user_factors", model.n_users, params.n_factors, z.lowest);
      check_initial(options.item_factors, "initial item_factors", model.n_items, params.n_factors, z.lowest);
    }
    check_initial_biases(options, params, ratings, z.lowest);
    if (!from && goes_on && traits.units == LossUnits::scores && !is_nonnegative(params)) {
      z.centre(options.global_mean);
      model.global_mean = z.global_mean;
    }
    if (!from && params.loss == Loss::custom) {
      fit_to_custom_loss(z, start_of_custom_loss(ratings, "ratings", z.start_score, params, options, team),
                         params.normalize);
      if (validating) start_of_custom_loss(validation, "validation", z.start_score, params, options, team);
    }
  }

  backend->upload(ratings, rated, z, start_of(params, z, rated, options), params, used, pairs->view());
  ratings.release();
  pairs.reset();
  for (int step = 0; !from && goes_on && step < kMeansSteps; ++step) backend->update_means(params.n_factors);
  result.n_threads = backend->n_threads();
  result.instruction_set = backend->instruction_set();

  double limit = z.furthest_error;
  const auto describe = [&](const MeanLoss& mean, double& rmse, double& loss) {
    rmse = z.scale * std::sqrt(mean.square);
    loss = params.loss == Loss::squared ? rmse * rmse : z.loss_scale * mean.loss;
  };
  const auto told = [&](const char* of, double rmse, double loss) {
    return std::string(of) + (traits_of(params.loss).told_by_loss ? " loss " + text(loss) : " RMSE " + text(rmse));
  };
  const bool choosing = validating && params.patience > 0;
  EarlyStopping stopping(params.patience, is_bounded_only(params, validating));
  std::size_t best_length = 0;  // of result.learning_rates
  // What training has reached. `last`: the backend's ratings go first, for the memory.
  const auto finished = [&](TrainResult<T> now, bool last) {
    Model<T>& to = now.model;
    if (last) backend->release();
    to.user_counts = last ? std::move(rated.user_counts) : rated.user_counts;
    to.item_counts = last ? std::move(rated.item_counts) : rated.item_counts;
    to.user_biases.assign(static_cast<std::size_t>(to.n_users), static_cast<T>(z.start_bias));
    to.item_biases.assign(static_cast<std::size_t>(to.n_items), static_cast<T>(z.start_bias));
    backend->download(to);
    ThreadTeam team(
        team_size(params.n_threads,
                  static_cast<std::int64_t>(to.user_factors.size() + to.item_factors.size()) / ThreadTeam::kSlice));
    const double factor_scale = std::sqrt(z.model_scale);
    const bool finite[] = {multiply(to.user_factors, factor_scale, team), multiply(to.item_factors, factor_scale, team),
                           multiply(to.user_biases, z.model_scale, team),
                           multiply(to.item_biases, z.model_scale, team)};
    if (!std::all_of(std::begin(finite), std::end(finite), [](bool each) { return each; })) {
      diverged(static_cast<std::int32_t>(now.history.size()), params, learning_rate, "factors are not finite");
    }
    to.biases = params.biases;
    to.loss = params.loss;
    to.user_ids = Ids::numbered(to.n_users);
    to.item_ids = Ids::numbered(to.n_items);
    to.history = now.history;
    to.training = {now.best_epoch,
                   now.n_threads,
                   now.instruction_set,
                   rated.counted,
                   static_cast<double>(rated.low),
                   static_cast<double>(rated.high),
                   z.model_scale};
    to.params = stored_params<T>(given_params);
    to.chosen = stored_choice(given_params, params);
    now.chosen = params;
    return now;
  };
  bool stopped = false;  // by the validation loss
  if (from) {
    const TrainMemory& memory = from->memory();
    limit = memory.limit;
    stopping.go_on_from(memory.stopping);
    stopped = memory.stopped;
    best_length = memory.best_length;
    result.best_epoch = memory.best_epoch;
    result.learning_rates = memory.learning_rates;
    result.history = memory.history;
    from->load(*backend);
    const auto done = static_cast<std::int32_t>(result.history.size());
    const bool longer = from->was_last() && done > 0 && done < *params.n_epochs;  // n_epochs is above what it was
    if (longer && (done - 1) % kMeansEvery == 1) backend->update_means(params.n_factors);
    if (choosing && result.best_epoch == done && done < *params.n_epochs) backend->keep();
    from.reset();
  }
  const auto write_down = [&] {
    const TrainMemory memory{
        stopped, limit, stopping.state(), result.best_epoch, best_length, result.learning_rates, result.history};
    const bool kept = choosing && result.best_epoch > 0 && result.best_epoch != result.history.back().epoch;
    try {
      write_checkpoint(options.checkpoints.path, memory, given_params, params, z, likeness, kept, *backend);
    } catch (const ModelFileError& error) {
      if (!options.checkpoints.warn) throw;
      options.checkpoints.warn(error.what());
    }
  };
  const std::function<TrainResult<T>()> snapshot = [&] { return finished(result, false); };
  for (auto epoch = static_cast<std::int32_t>(result.history.size()); epoch < *params.n_epochs && !stopped; ++epoch) {
    const Clock::time_point began = Clock::now();
    EpochReport report;
    report.epoch = epoch + 1;
    report.learning_rate = options.learning_rates.empty()
                               ? stopping.rate_share() * learning_rate_at(params, learning_rate, epoch)
                               : options.learning_rates[static_cast<std::size_t>(epoch)];
    result.learning_rates.push_back(report.learning_rate);
    const bool warming_up = epoch < params.warmup_epochs;
    const MeanLoss pass =
        backend->run_epoch(epoch, report.learning_rate, warming_up ? warmup_factors(params) : params.n_factors);
    const double error = z.mean_error(pass.loss, pass.square);
    if (given && epoch == 0 && std::isfinite(error)) limit = std::max(limit, kDivergedFirsts * error);
    describe(pass, report.train_rmse, report.train_loss);
    if (!(error <= limit))
      diverged(report.epoch, params, learning_rate, told("training", report.train_rmse, report.train_loss));
    if (epoch % kMeansEvery == 1 && epoch + 1 < *params.n_epochs) {
      backend->update_means(warming_up ? warmup_factors(params) : params.n_factors);
    }
    if (validating) {
      describe(backend->evaluate(), report.valid_rmse, report.valid_loss);
      if (!std::isfinite(report.valid_rmse) || !std::isfinite(report.valid_loss)) {
        diverged(report.epoch, params, learning_rate, told("validation", report.valid_rmse, report.valid_loss));
      }
    }
    report.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    result.history.push_back(report);
    const EarlyStopping::Verdict verdict =
        choosing && !warming_up ? stopping.judge(report.epoch, report.valid_loss) : EarlyStopping::Verdict{};
    if (verdict.better) {
      result.best_epoch = report.epoch;
      best_length = result.learning_rates.size();
    }
    stopped = verdict.stop;
    const bool last = report.epoch == *params.n_epochs || stopped;
    if (choosing && verdict.better && !warming_up && !last) backend->keep();
    if (options.on_snapshot) options.on_snapshot(report, snapshot);
    const bool ends = (options.on_epoch && options.on_epoch(report)) || last;
    if (verdict.go_back) {
      backend->restore();
      result.learning_rates.resize(best_length);
    }
    const bool due = ends || report.epoch % options.checkpoints.every == 0;
    if (due && !options.checkpoints.path.empty()) write_down();
    if (ends) break;
  }
  if (choosing && !result.history.empty() && result.best_epoch != result.history.back().epoch) backend->restore();

  result.learning_rates.resize(best_length);
  return finished(std::move(result), true);
}

}  // namespace

template <class T>
TrainResult<T> train(const RatingsView& ratings, const TrainParams& params, const TrainOptions<T>& options) {
  RatingSource source(ratings);
  return train_on(source, params, options);
}

void validate(const ScratchFolder& scratch, const TrainParams& params) {
  require_in_range(params);
  const char* const fix = " with ratings in a scratch file; or give them as a whole";
  require(!traits_of(params.optimizer).all_together, "optimizer", name_of(params.optimizer),
          (std::string("another one") + fix).c_str());
  require(params.batch_size == 0, "batch_size", params.batch_size, (std::string("0") + fix).c_str());
  const std::int64_t least = least_buffer(params);
  const int most_threads = team_size(params.n_threads, std::numeric_limits<std::int64_t>::max());
  require(scratch.buffer_bytes >= least, "buffer_bytes", scratch.buffer_bytes,
          ("at least " + text(least) + " with " + text(most_threads) + " threads").c_str());
}

template <class T>
TrainResult<T> train(const RatingChunks& chunks, const ScratchFolder& scratch, const TrainParams& params,
                     const TrainOptions<T>& options) {
  validate(scratch, params);
  RatingSource source(chunks, scratch, options.interrupted);
  return train_on(source, params, options);
}

std::int64_t scratch_bytes(std::int64_t n_ratings, bool weighted, const TrainParams& params) {
  // All ratings, as they came and in blocks; and beside them first these on their way to a block, then the pairs of a
  // side on their way to lists, and the lists of both sides.
  const std::int64_t given = weighted ? 16 : 12, blocked = weighted ? 12 : 8, pair = 8, lists = 8;
  const bool means = params.implicit_feedback != ImplicitFeedback::none;
  if (params.device == Device::cpu) return n_ratings * (given + blocked + std::max(given, means ? pair + lists : 0));
  // A device has the lists first. A rating on its way to the plan has its key, and in the plan at most a segment.
  const std::int64_t filed = blocked + 8, segment = 8;
  return n_ratings * (given + std::max(means ? pair + lists : 0, (means ? lists : 0) + filed + blocked + segment));
}

template <class T>
TrainResult<T> train_elsewhere(const RatingsView& sample, const TrainParams& params, const TrainOptions<T>& options,
                               Elsewhere<T> elsewhere) {
  RatingSource source(sample);
  return train_on(source, params, options, &elsewhere);
}

template TrainParams with_found_strengths<float>(const RatingsView&, const TrainParams&, const TrainOptions<float>&,
                                                 int);
template TrainParams with_found_strengths<double>(const RatingsView&, const TrainParams&, const TrainOptions<double>&,
                                                  int);
template TrainResult<float> train<float>(const RatingsView&, const TrainParams&, const TrainOptions<float>&);
template TrainResult<double> train<double>(const RatingsView&, const TrainParams&, const TrainOptions<double>&);
template TrainResult<float> train<float>(const RatingChunks&, const ScratchFolder&, const TrainParams&,
                                         const TrainOptions<float>&);
template TrainResult<double> train<double>(const RatingChunks&, const ScratchFolder&, const TrainParams&,
                                           const TrainOptions<double>&);
template TrainResult<float> train_elsewhere<float>(const RatingsView&, const TrainParams&, const TrainOptions<float>&,
                                                   Elsewhere<float>);
template TrainResult<double> train_elsewhere<double>(const RatingsView&, const TrainParams&,
                                                     const TrainOptions<double>&, Elsewhere<double>);

}  // namespace warpfactor
