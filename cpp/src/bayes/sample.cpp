// SPDX-License-Identifier: Apache-2.0
// The sampler: validate, standardize, sweep, average, fold the kept samples into a model.
#include "warpfactor/sample.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include "bayes/drawn_means.hpp"
#include "bayes/rows.hpp"
#include "cpu/tuning.hpp"
#include "incidence.hpp"
#include "require.hpp"
#include "serving/json.hpp"
#include "standardize.hpp"
#include "survey.hpp"
#include "warpfactor/runtime.hpp"

namespace warpfactor {
namespace {

// Sweeps without who-rated-what at the start, while the factors find their directions.
constexpr std::int32_t kPlainSweeps = 10;
// By how many samples the mean of all is told well enough, and the rank that they may take unasked. ML-1M fold 1, rank
// 32: RMSE 0.8200 of all 160, 0.8210 of 32.
constexpr std::int32_t kUsuallyKept = 64, kUsualRank = 2048;

/// The scale of ratings that are all the same. What the sampler draws of the priors is in these units, and it is to
/// leave predictions at the one value.
double unit_of_equal(double value) {
  return std::numeric_limits<float>::epsilon() * (value == 0 ? 1 : std::abs(value));
}

/// The parameters as a model file holds them: a JSON object of the Python estimator's, by its names.
template <class T>
std::string stored(const SampleParams& p) {
  const auto or_null = [](std::int32_t n) { return n == 0 ? std::string("null") : std::to_string(n); };
  return "{\"n_factors\": " + std::to_string(p.n_factors) + ", \"n_samples\": " + std::to_string(p.n_samples) +
         ", \"n_burn_in\": " + std::to_string(p.n_burn_in) + ", \"n_kept\": " + or_null(p.n_kept) +
         ", \"noise\": " + json::quoted(name_of(p.noise)) +
         ", \"implicit_feedback\": " + json::quoted(name_of(p.implicit_feedback)) +
         ", \"dtype\": " + json::quoted(sizeof(T) == sizeof(float) ? "float32" : "float64") +
         ", \"n_threads\": " + or_null(p.n_threads) + ", \"random_state\": " + std::to_string(p.seed) + "}";
}

template <class V>
StoredArray stored_array(std::span<const V> values, std::vector<std::int64_t> shape) {
  const char* const type = std::is_same_v<V, std::int32_t> ? "I32" : sizeof(V) == sizeof(float) ? "F32" : "F64";
  const auto* const bytes = reinterpret_cast<const unsigned char*>(values.data());
  return {type, std::move(shape), {bytes, bytes + values.size_bytes()}};
}

/// What the model's file keeps of the samples, by Python's names (python/warpfactor/model/members.py).
template <class T>
std::map<std::string, StoredArray> members_of(const SampleResult<T>& result, std::int32_t n_factors) {
  const std::int64_t kept = result.n_kept, n_users = result.model.n_users, n_items = result.model.n_items;
  const std::vector<double> weights(static_cast<std::size_t>(kept), 1.0 / result.n_kept);
  const std::vector<std::int32_t> ranks(static_cast<std::size_t>(kept), n_factors);
  const double noise[] = {result.noise_variance, 1};  // the spread of samples counts as it is
  std::map<std::string, StoredArray> members;
  members["members.weights"] = stored_array(std::span(weights), {kept});
  members["members.ranks"] = stored_array(std::span(ranks), {kept});
  members["members.user_offsets"] = stored_array(std::span(result.user_bias_offsets), {n_users, kept});
  members["members.item_offsets"] = stored_array(std::span(result.item_bias_offsets), {n_items, kept});
  members["members.noise"] = stored_array(std::span<const double>(noise), {2});
  if (!result.user_noise.empty()) {
    members["members.user_noise"] = stored_array(std::span(result.user_noise), {n_users});
    members["members.item_noise"] = stored_array(std::span(result.item_noise), {n_items});
  }
  return members;
}

/// The errors of the mean of the samples so far, over the training ratings or others.
template <class T>
class RunningErrors {
 public:
  explicit RunningErrors(std::int64_t n) : sums_(n), latest_(n) { std::fill_n(sums_.data(), n, T(0)); }

  /// Where a sample's errors, in z units, go.
  T* latest() { return latest_.data(); }
  /// The weighted mean square of the errors of the sample, or with `counted` of the mean of all samples so counted.
  double mean_square(const float* weights, bool counted, ThreadTeam& team) {
    n_samples_ += counted ? 1 : 0;
    const std::int64_t n = sums_.size();
    struct Sums {
      double squares = 0, weight = 0;
    };
    std::vector<Sums> slices(static_cast<std::size_t>(n / ThreadTeam::kSlice + 1));
    const double share = counted ? 1.0 / n_samples_ : 1;
    team.run_slices(n, [&](std::int64_t begin, std::int64_t end, int) {
      Sums sum;
      for (std::int64_t r = begin; r < end; ++r) {
        if (counted) sums_[r] += latest_[r];
        const double error = share * static_cast<double>(counted ? sums_[r] : latest_[r]),
                     weight = weights == nullptr ? 1.0 : static_cast<double>(weights[r]);
        sum.squares += weight * error * error;
        sum.weight += weight;
      }
      slices[static_cast<std::size_t>(begin / ThreadTeam::kSlice)] = sum;
    });
    Sums all;
    for (const Sums& sum : slices) {
      all.squares += sum.squares;
      all.weight += sum.weight;
    }
    return all.squares / all.weight;
  }

 private:
  Buffer<T> sums_, latest_;
  std::int32_t n_samples_ = 0;
};

/// Gathers the kept samples. The means m of all users' factors and n of all items', and those of the biases, are moved:
/// with p = p' + m and q = q' + n, p.q = p'.q' + p'.n + m.q' + m.n.
template <class T>
class KeptSamples {
 public:
  KeptSamples(std::int32_t n_users, std::int32_t n_items, std::int32_t n_factors, std::int32_t n_kept,
              bool noise_by_row)
      : n_factors_(n_factors), n_planned_(n_kept), users_(n_users, *this), items_(n_items, *this) {
    if (!noise_by_row) return;
    users_.noise.assign(static_cast<std::size_t>(n_users), 0);
    items_.noise.assign(static_cast<std::size_t>(n_items), 0);
  }
  [[nodiscard]] std::int32_t size() const { return n_kept_; }

  void add(const Rows<T>& users, const Rows<T>& items, double alpha, ThreadTeam& team) {
    const std::vector<double> m = users.means(team), n = items.means(team);
    double offset = m.back() + n.back();
    for (std::size_t f = 0; f + 1 < m.size(); ++f) offset += m[f] * n[f];
    offsets_.push_back(offset);
    add(users_, users, m, n, team);
    add(items_, items, n, m, team);
    noise_ += 1 / alpha;
    ++n_kept_;
  }

  /// Writes factors, biases and what belongs to them, in units of the ratings.
  void finish(SampleResult<T>& result, double scale, ThreadTeam& team) {
    Model<T>& model = result.model;
    double offset = 0;
    for (const double each : offsets_) offset += each;
    offset /= n_kept_;
    model.global_mean += scale * offset;
    model.n_factors = n_factors_ * n_kept_;
    result.n_kept = n_kept_;
    result.noise_variance = scale * scale * noise_ / n_kept_;
    finish(users_, scale, team);
    finish(items_, scale, team);
    for (std::int64_t at = 0; at < users_.n_rows * n_kept_; ++at) {
      const double above = offsets_[static_cast<std::size_t>(at % n_kept_)] - offset;
      users_.biases[static_cast<std::size_t>(at)] += static_cast<T>(scale * above);
    }
    model.user_factors = std::move(users_.factors);
    model.item_factors = std::move(items_.factors);
    model.user_biases = std::move(users_.mean_biases);
    model.item_biases = std::move(items_.mean_biases);
    result.user_bias_offsets = std::move(users_.biases);
    result.item_bias_offsets = std::move(items_.biases);
    result.user_noise = std::move(users_.noise);
    result.item_noise = std::move(items_.noise);
  }

 private:
  struct Side {
    Side(std::int32_t rows, const KeptSamples& kept)
        : n_rows(rows),
          factors(static_cast<std::size_t>(n_rows * kept.n_planned_ * kept.n_factors_), T(0)),
          biases(static_cast<std::size_t>(n_rows * kept.n_planned_), T(0)) {}

    std::int64_t n_rows;
    std::vector<std::int32_t> rated;
    std::vector<T> factors, biases, mean_biases, noise;
  };

  void add(Side& to, const Rows<T>& rows, const std::vector<double>& own, const std::vector<double>& other,
           ThreadTeam& team) {
    to.rated = rows.rated_rows();
    const std::int64_t k = n_factors_;
    team.run_slices(
        static_cast<std::int64_t>(to.rated.size()),
        [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t at = begin; at < end; ++at) {
            const std::int64_t row = to.rated[static_cast<std::size_t>(at)], block = row * n_planned_ + n_kept_;
            const T* const p = rows.factors(row);
            T* const above = to.factors.data() + block * k;
            double bias = static_cast<double>(rows.bias(row)) - own.back();
            for (std::int64_t f = 0; f < k; ++f) {
              const double moved = static_cast<double>(p[f]) - own[static_cast<std::size_t>(f)];
              above[f] = static_cast<T>(moved);
              bias += moved * other[static_cast<std::size_t>(f)];
            }
            to.biases[static_cast<std::size_t>(block)] = static_cast<T>(bias);
            if (!to.noise.empty()) {
              to.noise[static_cast<std::size_t>(row)] += static_cast<T>(1 / rows.noise_precision(row));
            }
          }
        },
        kRowSlice);
  }

  void finish(Side& side, double scale, ThreadTeam& team) {
    const std::int64_t kept = n_kept_, width = kept * n_factors_, planned_width = std::int64_t{n_planned_} * n_factors_;
    if (kept < n_planned_) {  // sampling was ended early: close the gaps, from the front
      for (std::int64_t row = 1; row < side.n_rows; ++row) {
        std::copy_n(side.factors.data() + row * planned_width, width, side.factors.data() + row * width);
        std::copy_n(side.biases.data() + row * n_planned_, kept, side.biases.data() + row * kept);
      }
      side.factors.resize(static_cast<std::size_t>(side.n_rows * width));
      side.biases.resize(static_cast<std::size_t>(side.n_rows * kept));
    }
    side.mean_biases.assign(static_cast<std::size_t>(side.n_rows), T(0));
    // Of a Gamma's inverse: rows without ratings have the noise of the prior.
    const T unrated = static_cast<T>(kPriorNoise / (kPriorNoise - 1)), share = static_cast<T>(1.0 / n_kept_);
    for (T& noise : side.noise) noise = noise == T(0) ? unrated : noise * share;
    const double factor_scale = std::sqrt(scale / n_kept_);
    team.run_slices(
        static_cast<std::int64_t>(side.rated.size()),
        [&](std::int64_t begin, std::int64_t end, int) {
          for (std::int64_t at = begin; at < end; ++at) {
            const std::int64_t row = side.rated[static_cast<std::size_t>(at)];
            T* const factors = side.factors.data() + row * width;
            for (std::int64_t f = 0; f < width; ++f) {
              factors[f] = static_cast<T>(factor_scale * static_cast<double>(factors[f]));
            }
            T* const biases = side.biases.data() + row * kept;
            double mean = 0;
            for (std::int64_t s = 0; s < kept; ++s) mean += static_cast<double>(biases[s]);
            mean /= n_kept_;
            for (std::int64_t s = 0; s < kept; ++s) {
              biases[s] = static_cast<T>(scale * (static_cast<double>(biases[s]) - mean));
            }
            side.mean_biases[static_cast<std::size_t>(row)] = static_cast<T>(scale * mean);
          }
        },
        kRowSlice);
  }

  std::int32_t n_factors_, n_planned_, n_kept_ = 0;
  Side users_, items_;
  std::vector<double> offsets_;
  double noise_ = 0;
};

/// Whether sample n (0-based) is the next of `kept` evenly spaced ones.
bool is_kept(std::int64_t n, const SampleParams& p, std::int64_t kept) {
  return (n + 1) * kept / p.n_samples > n * kept / p.n_samples;
}

template <class T>
class Sampler {
 public:
  /// `incidence` is empty without implicit feedback.
  Sampler(const RatingsView& ratings, const Survey& rated, const RatingsView& validation, Incidence incidence,
          const RatingUnits& z, const SampleParams& params, ThreadTeam& team)
      : params_(params),
        z_(z),
        team_(team),
        kernels_(kernel_table().kernels<T>()),
        scratches_(static_cast<std::size_t>(team.size())),
        batches_(make_batches<T>(BatchInput<float>{ratings.users, ratings.items, ratings.values, ratings.weights, z},
                                 ratings.size(), 0, team)),
        users_(batches_.users, ratings.n_users, params.n_factors, params.noise == Noise::rows, kUserDraws,
               Streams(params.seed, -1), team),
        items_(batches_.items, ratings.n_items, params.n_factors, params.noise == Noise::rows, kItemDraws,
               Streams(params.seed, -1), team),
        train_(rated.counted),
        valid_(validation.size()),
        validation_(validation),
        incidence_(std::move(incidence)),
        kept_(ratings.n_users, ratings.n_items, params.n_factors, kept_samples(params), params.noise == Noise::rows) {}

  EpochReport run_sweep(std::int32_t sweep) {
    const Streams streams(params_.seed, sweep);
    const auto by_users = params_.implicit_feedback;
    if (sweep == kPlainSweeps) {
      if (by_users != ImplicitFeedback::none && by_users != ImplicitFeedback::items) {
        user_means_ = std::make_unique<DrawnMeans<T>>(users_, incidence_.users, items_, incidence_.items,
                                                      kUserCoefficients, team_);
      }
      if (by_users != ImplicitFeedback::none && by_users != ImplicitFeedback::users) {
        item_means_ = std::make_unique<DrawnMeans<T>>(items_, incidence_.items, users_, incidence_.users,
                                                      kItemCoefficients, team_);
      }
    }
    users_.draw_rows(items_, alpha_, streams, nullptr, scratches_, team_);
    const double squares = items_.draw_rows(users_, alpha_, streams, train_.latest(), scratches_, team_);
    // Everything that follows is given the rows; the model as it is now is the sample.
    Draws draws = streams.of(kHyperparameters, 0);
    alpha_ = draws.gamma((1 + static_cast<double>(batches_.n_ratings)) / 2) / ((1 + squares) / 2);
    if (!std::isfinite(alpha_) || !(alpha_ > 0)) {
      throw DivergedError(sweep + 1, "sampling left the range of numbers in sweep " + text(sweep + 1) +
                                         ": drop ratings that are far from all others");
    }

    EpochReport report;
    report.epoch = sweep + 1;
    report.learning_rate = std::numeric_limits<double>::quiet_NaN();
    const std::int32_t n = sweep - params_.n_burn_in;
    const float* const weights = batches_.items.weights.size() > 0 ? batches_.items.weights.data() : nullptr;
    describe(train_.mean_square(weights, n >= 0, team_), report.train_rmse, report.train_loss);
    if (validation_.size() > 0) {
      predict_validation();
      const float* const given = validation_.weights.empty() ? nullptr : validation_.weights.data();
      describe(valid_.mean_square(given, n >= 0, team_), report.valid_rmse, report.valid_loss);
    }

    users_.draw_prior(draws, team_);
    items_.draw_prior(draws, team_);
    draw_coefficients(streams, draws);
    if (n >= 0 && is_kept(n, params_, kept_samples(params_))) keep();
    return report;
  }

  void keep() { kept_.add(users_, items_, alpha_, team_); }
  KeptSamples<T>& kept() { return kept_; }

 private:
  void describe(double mean_square, double& rmse, double& loss) const {
    rmse = z_.scale * std::sqrt(mean_square);
    loss = rmse * rmse;
  }

  void draw_coefficients(const Streams& streams, Draws& draws) {
    DrawnMeans<T>* const sides[] = {user_means_.get(), item_means_.get()};
    std::int64_t n_tasks[] = {0, 0};
    for (int side = 0; side < 2; ++side) {
      if (sides[side] == nullptr) continue;
      sides[side]->begin(team_);
      n_tasks[side] = sides[side]->n_tasks();
    }
    team_.run(n_tasks[0] + n_tasks[1], [&](std::int64_t task, int thread) {
      const int side = task < n_tasks[0] ? 0 : 1;
      sides[side]->run(side == 0 ? task : task - n_tasks[0], thread, streams, team_);
    });
    for (DrawnMeans<T>* const side : sides) {
      if (side != nullptr) side->end(draws, team_);
    }
  }

  /// The errors of the sample's predictions.
  void predict_validation() {
    team_.run_slices(
        validation_.size(),
        [&](std::int64_t begin, std::int64_t end, int) {
          T* const out = valid_.latest() + begin;
          kernels_.predict_pairs({users_.factors(0), items_.factors(0), users_.biases().data(), items_.biases().data(),
                                  T(0), users_.stride(), users_.n_factors(), validation_.users.data() + begin,
                                  validation_.items.data() + begin, end - begin, out});
          for (std::int64_t r = begin; r < end; ++r) {
            const double value = static_cast<double>(validation_.values[static_cast<std::size_t>(r)]);
            out[r - begin] = static_cast<T>(z_.standardized(value)) - out[r - begin];
          }
        },
        kRowSlice);
  }

  const SampleParams& params_;
  RatingUnits z_;
  ThreadTeam& team_;
  const Kernels<T>& kernels_;
  std::vector<RowScratch<T>> scratches_;
  Batches<T> batches_;
  Rows<T> users_, items_;
  std::unique_ptr<DrawnMeans<T>> user_means_, item_means_;
  RunningErrors<T> train_, valid_;
  RatingsView validation_;
  Incidence incidence_;
  KeptSamples<T> kept_;
  double alpha_ = 1;
};

}  // namespace

void check_params(const SampleParams& p) {
  require(p.n_factors >= 1 && p.n_factors <= kMostFactors, "n_factors", p.n_factors, "from 1 to 1024");
  require(p.n_burn_in >= 0, "n_burn_in", p.n_burn_in, "at least 0");
  require(p.n_samples >= 1, "n_samples", p.n_samples, "at least 1");
  require(p.n_samples <= INT32_MAX - p.n_burn_in, "n_samples", p.n_samples, "below 2^31 together with n_burn_in");
  require(p.n_kept >= 0, "n_kept", p.n_kept, "at least 0 (0: 64, or fewer of many factors)");
  if (p.n_kept > p.n_samples) reject("n_kept", p.n_kept, "at most n_samples, which is " + text(p.n_samples));
  if (std::int64_t{p.n_kept} * p.n_factors > kMostKeptFactors) {
    reject("n_kept", p.n_kept,
           "at most " + text(kMostKeptFactors / p.n_factors) + " with n_factors " + text(p.n_factors) +
               ", since a model of samples has at most " + text(kMostKeptFactors) + " factors in all");
  }
  require(p.n_threads >= 0, "n_threads", p.n_threads, "at least 0 (0: all available)");
  require(name_of(p.noise) != nullptr, "noise", static_cast<int>(p.noise), "one of the enum");
  require(name_of(p.implicit_feedback) != nullptr, "implicit_feedback", static_cast<int>(p.implicit_feedback),
          "one of the enum");
}

std::int32_t kept_samples(const SampleParams& params) {
  if (params.n_kept > 0) return params.n_kept;
  return std::min({kUsuallyKept, params.n_samples, kUsualRank / params.n_factors});
}

namespace {

/// Refuses a fit that certainly does not fit into memory.
template <class T>
void require_sample_memory(const RatingsView& ratings, const Survey& rated, const SampleParams& params,
                           const SampleOptions& options) {
  RatingCounts counts;
  counts.n_ratings = rated.counted;
  counts.n_users = ratings.n_users;
  counts.n_items = ratings.n_items;
  counts.weighted = !ratings.weights.empty();
  counts.n_validation = options.validation.size();
  counts.validation_weighted = !options.validation.weights.empty();
  counts.user_counts = rated.user_counts;
  counts.item_counts = rated.item_counts;
  require_available(sample_memory<T>(counts, params, MemoryBound::least),
                    [&](std::int64_t bytes) { return smaller_samples<T>(counts, params, bytes, MemoryBound::least); });
}

}  // namespace

template <class T>
SampleResult<T> sample(const RatingsView& ratings, const SampleParams& params, const SampleOptions& options) {
  using Clock = std::chrono::steady_clock;
  check_params(params);
  const bool validating = require_shapes(ratings, options.validation);
  ThreadTeam team(team_size(params.n_threads, ratings.size() * params.n_factors / kWorkPerThread), options.interrupted);
  Survey rated = survey(ratings, "ratings", team);
  KnownRatings known;
  RatingsView used;  // those validation ratings that have training ratings of both rows
  if (validating) used = known.of(options.validation, "validation", rated);
  const KnownPairs pairs(options.implicit, ratings, rated);
  require_sample_memory<T>(ratings, rated, params, options);
  RatingUnits z;
  z.shift = rated.mean;
  z.scale = rated.deviation > 0 ? rated.deviation : unit_of_equal(rated.mean);
  z.weight_scale = static_cast<double>(rated.counted) / rated.weight;

  SampleResult<T> result;
  {
    Incidence incidence;
    if (params.implicit_feedback != ImplicitFeedback::none) incidence = distinct_pairs(ratings, pairs.view(), team);
    Sampler<T> sampler(ratings, rated, used, std::move(incidence), z, params, team);
    const std::int32_t n_sweeps = params.n_burn_in + params.n_samples;
    for (std::int32_t sweep = 0; sweep < n_sweeps; ++sweep) {
      const Clock::time_point began = Clock::now();
      EpochReport report = sampler.run_sweep(sweep);
      report.seconds = std::chrono::duration<double>(Clock::now() - began).count();
      result.history.push_back(report);
      if (options.on_sweep && options.on_sweep(report)) break;
    }
    if (sampler.kept().size() == 0) sampler.keep();  // sampling was ended before the first one
    result.model.global_mean = rated.mean;
    sampler.kept().finish(result, z.scale, team);
  }
  Model<T>& model = result.model;
  const auto finite = [](const std::vector<T>& values) {
    return std::all_of(values.begin(), values.end(), [](T v) { return std::isfinite(v); });
  };
  if (!finite(model.user_factors) || !finite(model.item_factors) || !finite(model.user_biases) ||
      !finite(model.item_biases)) {
    throw DivergedError(static_cast<std::int32_t>(result.history.size()),
                        "sampling left the range of numbers: drop ratings that are far from all others");
  }
  model.n_users = ratings.n_users;
  model.n_items = ratings.n_items;
  model.rating_mean = rated.mean;
  model.user_counts = std::move(rated.user_counts);
  model.item_counts = std::move(rated.item_counts);
  model.user_ids = Ids::numbered(model.n_users);
  model.item_ids = Ids::numbered(model.n_items);
  model.history = result.history;
  result.n_threads = team.size();
  result.instruction_set = instruction_set();
  model.training = {static_cast<std::int32_t>(result.history.size()),
                    result.n_threads,
                    result.instruction_set,
                    rated.counted,
                    static_cast<double>(rated.low),
                    static_cast<double>(rated.high)};
  model.params = stored<T>(params);
  model.members = members_of(result, params.n_factors);
  return result;
}

template SampleResult<float> sample<float>(const RatingsView&, const SampleParams&, const SampleOptions&);
template SampleResult<double> sample<double>(const RatingsView&, const SampleParams&, const SampleOptions&);

template <class T>
FitMemory sample_memory(const RatingCounts& given, const SampleParams& params, MemoryBound bound) {
  check_params(params);
  RatingCounts counts = given;
  if (bound == MemoryBound::least) counts.n_distinct = 0;
  constexpr auto number = static_cast<std::int64_t>(sizeof(T));
  const std::int64_t n = counts.n_ratings, rows = counts.all_rows(), kept = kept_samples(params);
  const int n_threads = team_size(params.n_threads, n * params.n_factors / kWorkPerThread);
  const ImplicitFeedback implicit = params.implicit_feedback;
  MemoryPlan plan;
  plan.begin("preparing");
  plan_survey(plan, counts, n_threads);
  if (bound == MemoryBound::least) plan.free("validation ratings");
  if (implicit != ImplicitFeedback::none) plan_distinct_pairs(plan, counts);
  plan_batches<T>(plan, counts, std::max<std::int64_t>(n, 1), n_threads);
  plan_rows<T>(plan, counts.n_users, params.n_factors);
  plan_rows<T>(plan, counts.n_items, params.n_factors);
  plan.take("errors of the samples", 2 * (n + counts.n_validation) * number);
  const std::int64_t noise = params.noise == Noise::rows ? rows * number : 0;
  plan.take("kept samples", rows * kept * (std::int64_t{params.n_factors} + 1) * number + noise);
  plan.begin("epochs");
  plan_row_scratch<T>(plan, counts, params.n_factors, n_threads);
  // The sweeps with prior means begin after some others.
  if (implicit != ImplicitFeedback::none && params.n_burn_in + params.n_samples > kPlainSweeps) {
    if (implicit != ImplicitFeedback::items) {
      plan_drawn_means<T>(plan, counts.n_users, counts.n_items, params.n_factors);
    }
    if (implicit != ImplicitFeedback::users) {
      plan_drawn_means<T>(plan, counts.n_items, counts.n_users, params.n_factors);
    }
  }
  plan.take("kept samples", rows * static_cast<std::int64_t>(sizeof(std::int32_t)));
  plan.begin("finishing");
  plan.take("kept samples", rows * number);  // the mean biases
  for (const char* part : {kUserListsPart, kItemListsPart, "ratings in batches", "factors and biases", "prior means",
                           "errors of the samples", "columns of a row, in each thread"}) {
    plan.free(part);
  }
  // The numbers of the rows, and copies of what the file of a model keeps of the samples.
  plan.take("model", rows * (static_cast<std::int64_t>(sizeof(std::int64_t)) + kept * number) + noise);
  FitMemory memory;
  memory.phases = std::move(plan).phases();
  return memory;
}

template <class T>
std::vector<MemoryPart> smaller_samples(const RatingCounts& counts, const SampleParams& params, std::int64_t bytes,
                                        MemoryBound bound) {
  std::vector<MemoryPart> found;
  const auto offer = [&](const std::string& change, const auto& set) {
    SampleParams changed = params;
    set(changed);
    const std::int64_t peak = sample_memory<T>(counts, changed, bound).peak();
    if (peak <= bytes) found.push_back({change, peak});
    return peak <= bytes;
  };
  for (std::int32_t kept = kept_samples(params) / 2; kept >= 8; kept /= 2) {
    if (offer("n_kept=" + std::to_string(kept), [kept](SampleParams& p) { p.n_kept = kept; })) break;
  }
  for (std::int32_t k = params.n_factors / 2; k >= 8; k /= 2) {
    const bool fits = offer("n_factors=" + std::to_string(k), [k](SampleParams& p) { p.n_factors = k; });
    if (fits) break;
  }
  if (sizeof(T) == sizeof(double)) {
    const std::int64_t peak = sample_memory<float>(counts, params, bound).peak();
    if (peak <= bytes) found.push_back({"dtype='float32'", peak});
  }
  if (params.implicit_feedback != ImplicitFeedback::none) {
    offer("implicit_feedback='none'", [](SampleParams& p) { p.implicit_feedback = ImplicitFeedback::none; });
  }
  return found;
}

template FitMemory sample_memory<float>(const RatingCounts&, const SampleParams&, MemoryBound);
template FitMemory sample_memory<double>(const RatingCounts&, const SampleParams&, MemoryBound);
template std::vector<MemoryPart> smaller_samples<float>(const RatingCounts&, const SampleParams&, std::int64_t,
                                                        MemoryBound);
template std::vector<MemoryPart> smaller_samples<double>(const RatingCounts&, const SampleParams&, std::int64_t,
                                                         MemoryBound);

}  // namespace warpfactor
