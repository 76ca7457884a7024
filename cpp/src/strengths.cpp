// SPDX-License-Identifier: Apache-2.0
#include "strengths.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "optimizer.hpp"
#include "random.hpp"
#include "user_sample.hpp"

namespace warpfactor {
namespace {

/// Ratings that a search uses at most, about. 50,000 are too noisy.
constexpr std::int64_t kSearched = 100'000;
/// Of sets much larger than that, the last pair of candidates is compared once more, on so many ratings and with so few
/// factors: the more ratings, the more of the penalty belongs to rows.
constexpr std::int64_t kLarge = 200'000, kSearchedOfLarge = 500'000;
constexpr std::int32_t kFactorsOfLarge = 16;
/// Below so many ratings the noise of a held-out tenth is larger than what strengths differ by.
constexpr std::int64_t kFew = 20'000;
constexpr int kTimesFew = 3;
/// The memory for a random share of ratings, in numbers of ratings that are expected.
constexpr double kSampleRoom = 1.1;
constexpr std::uint64_t kHeldOut = 10;  ///< one rating of so many
/// Of a fit; who asks for thousands does not want to wait for that many fits before.
constexpr std::int32_t kMostEpochs = 40;
/// A candidate must be better by this share.
constexpr double kBetter = 5e-4;
constexpr double kLeastRegRow = 0.25;
/// Where the signal is strong and of few factors, wide factors fill all dimensions with noise; narrow ones grow only
/// along what the ratings show, and many epochs do harm. Prior means that are pulled to zero by 8 hardly differ from
/// zero.
constexpr Strengths kWeakSignal{0.08, 4, 8, 0.003}, kStrongSignal{0.04, 1, 8, 0.003, 20},
    kStrongestSignal{0.02, 0.375, 8, 0.003, 20, 0.04};
/// Plain SGD with penalties per rating alone.
constexpr Strengths kPlain{0.04, 0, 2, 0.01, 20, 0.04, false};
/// The last contest on large sets is for strengths that leave much to the rows.
constexpr double kLeastSettled = 4;

/// Ratings whose rows are numbered anew, those with ratings alone.
struct Sample {
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;
  std::int32_t n_users = 0, n_items = 0;

  /// Growing as it goes, it could take twice as much.
  void reserve(double n, bool weighted) {
    const auto size = static_cast<std::size_t>(n);
    users.reserve(size);
    items.reserve(size);
    values.reserve(size);
    if (weighted) weights.reserve(size);
  }
  void add(std::int32_t user, std::int32_t item, float value, const float* weight) {
    users.push_back(user);
    items.push_back(item);
    values.push_back(value);
    if (weight != nullptr) weights.push_back(*weight);
  }
  [[nodiscard]] RatingsView view() const { return {users, items, values, weights, n_users, n_items}; }
};

std::int32_t numbered(std::vector<std::int32_t>& rows, std::int32_t n_rows) {
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(n_rows), -1);
  std::int32_t next = 0;
  for (std::int32_t& row : rows) {
    std::int32_t& number = numbers[static_cast<std::size_t>(row)];
    if (number < 0) number = next++;
    row = number;
  }
  return next;
}

/// Whether the user is in a random share of the users.
bool in_share(std::int32_t user, double share, std::uint64_t seed) {
  SplitMix64 random(seed, kStrengthUsers, static_cast<std::uint64_t>(user));
  return static_cast<double>(random.next() >> 11) * 0x1p-53 < share;
}

/// A share of the users by `seed`: those of the smaller of two shares are in the larger. Rows keep their numbers.
Sample share_of(const RatingSource& ratings, const Survey& rated, std::int64_t searched, std::uint64_t seed,
                ThreadTeam& team) {
  const double share = std::min(1.0, static_cast<double>(searched) / static_cast<double>(rated.counted));
  Sample sample;
  sample.reserve((share < 1 ? kSampleRoom : 1) * share * static_cast<double>(rated.counted), ratings.weighted());
  sample.n_users = ratings.n_users();
  sample.n_items = ratings.n_items();
  add_ratings_of(
      ratings, [&](std::int32_t user) { return share >= 1 || in_share(user, share, seed); }, team, sample.users,
      sample.items, sample.values, sample.weights);
  return sample;
}

Sample sample_of(const RatingSource& ratings, const Survey& rated, std::int64_t searched, std::uint64_t seed,
                 ThreadTeam& team) {
  Sample sample = share_of(ratings, rated, searched, seed, team);
  sample.n_users = numbered(sample.users, ratings.n_users());
  sample.n_items = numbered(sample.items, ratings.n_items());
  return sample;
}

/// One division into ratings to train on and ratings to judge by.
struct Division {
  Sample train, test;
};
Division divide(const Sample& sample, std::uint64_t seed, std::uint64_t number) {
  Division division;
  SplitMix64 random(seed, kStrengthTest, number);
  const auto n = static_cast<double>(sample.values.size());
  division.train.reserve((1 - 1.0 / kHeldOut) * kSampleRoom * n, !sample.weights.empty());
  division.test.reserve(kSampleRoom * n / kHeldOut, !sample.weights.empty());
  for (std::size_t r = 0; r < sample.values.size(); ++r) {
    Sample& part = random.below(kHeldOut) == 0 ? division.test : division.train;
    part.add(sample.users[r], sample.items[r], sample.values[r], sample.weights.empty() ? nullptr : &sample.weights[r]);
  }
  for (Sample* part : {&division.train, &division.test}) {
    part->n_users = sample.n_users;
    part->n_items = sample.n_items;
  }
  return division;
}

template <class T>
class Search {
 public:
  Search(const Sample& sample, const TrainParams& given, const TrainParams& params, const TrainOptions<T>& options,
         int n_divisions)
      : given_(given), params_(params), options_(options) {
    const int least = static_cast<std::int64_t>(sample.values.size()) < kFew ? kTimesFew : 1;
    for (int n = 0; n < std::max(least, n_divisions); ++n)
      divisions_.push_back(divide(sample, params.seed, static_cast<std::uint64_t>(n)));
    params_.n_epochs = std::min(*params.n_epochs, kMostEpochs);
    params_.warmup_epochs = 0;
    params_.patience = 0;
    params_.device = Device::cpu;
    params_.half = false;
    params_.parallel = Parallel::blocked;
  }

  Strengths climb() {
    begin(kUsualStrengths);
    if (!std::isfinite(least_)) return best_;  // too few ratings to hold some out
    better(kWeakSignal);
    better(kStrongSignal);
    const bool signal = best_.init_scale < kUsualStrengths.init_scale, strong = best_.n_epochs > 0;
    if (row_better(0.5)) {
      while (best_.reg_row / 2 >= kLeastRegRow && row_better(0.5)) {
      }
    } else {
      row_better(2);
    }
    if (!for_rows_better()) {
      Strengths less = best_;
      less.reg *= 2;
      less.reg_row /= 2;
      better(less);
    }
    if (strong) better(kStrongestSignal);
    if (signal) better(kPlain);
    Strengths alone = best_;
    alone.init_scale = 0;
    if (error(alone) * (1 - kBetter) < least_) best_ = alone;
    return best_;
  }

  /// The better of two.
  Strengths choose(const Strengths& first, const Strengths& second) {
    begin(first);
    better(second);
    return best_;
  }

  /// Only whether more of the penalty belongs to rows.
  Strengths settle(const Strengths& found) {
    begin(found);
    if (std::isfinite(least_)) for_rows_better();
    return best_;
  }

 private:
  void begin(const Strengths& strengths) {
    best_ = strengths;
    least_ = error(strengths);
  }
  bool row_better(double factor) {
    Strengths next = best_;
    next.reg_row *= factor;
    return better(next);
  }
  bool for_rows_better() {
    Strengths next = best_;
    next.reg /= 2;
    next.reg_row *= 1.5;
    return better(next);
  }
  bool better(const Strengths& strengths) {
    const double found = error(strengths);
    if (!(found < least_ * (1 - kBetter))) return false;
    best_ = strengths;
    least_ = found;
    return true;
  }

  /// The root of the mean loss on what is held out; infinite if training diverges.
  double error(const Strengths& strengths) {
    TrainParams params = with_strengths(params_, strengths, given_);
    if (strengths.init_scale == 0) params.n_factors = 1;
    double sum = 0;
    for (const Division& division : divisions_) {
      TrainOptions<T> options;
      options.validation = division.test.view();
      options.loss = options_.loss;
      options.interrupted = options_.interrupted;
      try {
        const TrainResult<T> result = train<T>(division.train.view(), params, options);
        sum += result.history.empty() ? std::numeric_limits<double>::infinity() : result.history.back().valid_loss;
      } catch (const DivergedError&) {
        return std::numeric_limits<double>::infinity();
      } catch (const std::invalid_argument&) {
        return std::numeric_limits<double>::infinity();  // a part without ratings of known rows, or of one label
      }
    }
    return std::sqrt(sum / static_cast<double>(divisions_.size()));
  }

  const TrainParams& given_;
  TrainParams params_;
  const TrainOptions<T>& options_;
  std::vector<Division> divisions_;
  Strengths best_ = kUsualStrengths;
  double least_ = 0;
};

}  // namespace

bool is_searched(std::int32_t user, std::int64_t counted, std::uint64_t seed) {
  return in_share(user, static_cast<double>(kSearchedOfLarge) / static_cast<double>(counted), seed);
}

bool leave_strengths_open(const TrainParams& params) {
  return !params.reg && !params.reg_row && !params.reg_implicit && !params.init_scale;
}

TrainParams with_strengths(TrainParams params, const Strengths& strengths, const TrainParams& given) {
  params.reg = given.reg.value_or(strengths.reg);
  params.reg_row = given.reg_row.value_or(strengths.reg_row);
  params.reg_implicit = given.reg_implicit.value_or(strengths.reg_implicit);
  params.init_scale = given.init_scale.value_or(strengths.init_scale);
  if (!given.n_epochs && strengths.n_epochs > params.warmup_epochs) params.n_epochs = strengths.n_epochs;
  if (!given.learning_rate && strengths.learning_rate > 0) params.learning_rate = strengths.learning_rate;
  if (!strengths.per_row) {
    params.reg_bias = given.reg_bias.value_or(kBiasesPerRating);
    params.reg_bias_row = given.reg_bias_row.value_or(0);
  }
  if (!strengths.per_row || params.init_scale == 0) {
    if (given.implicit_feedback == ImplicitFeedback::automatic) params.implicit_feedback = ImplicitFeedback::none;
  }
  return params;
}

template <class T>
Strengths choose_strengths(const RatingSource& all, const Survey& rated, const TrainParams& given,
                           const TrainParams& params, const TrainOptions<T>& options, int n_divisions,
                           ThreadTeam& team) {
  // Ratings in a file are read once: the sample of large sets holds the other one.
  Sample large;
  if (all.scratch() != nullptr) large = share_of(all, rated, kSearchedOfLarge, params.seed, team);
  const RatingSource ratings = all.scratch() != nullptr ? RatingSource(large.view()) : RatingSource(all.in_memory());
  const auto sample = [&](std::int64_t searched) { return sample_of(ratings, rated, searched, params.seed, team); };
  if (params.optimizer == Optimizer::sgd && params.batch_size == 0 && params.momentum == 0) {
    const Strengths found = Search<T>(sample(kSearched), given, params, options, n_divisions).climb();
    if (rated.counted <= kLarge || found.init_scale == 0 || found.reg_row < kLeastSettled) return found;
    TrainParams small = params;
    small.n_factors = std::min(params.n_factors, kFactorsOfLarge);
    return Search<T>(sample(kSearchedOfLarge), given, small, options, n_divisions).settle(found);
  }
  // Plain steps are the fastest, and the strengths mean the same with all. How long to train and how fast does not, nor
  // does a narrow start suit all: the model's own steps have the last word.
  TrainParams plain_given = given, plain = params, own = params;
  for (TrainParams* each : {&plain_given, &plain}) {
    each->optimizer = Optimizer::sgd;
    each->batch_size = 0;
    each->momentum = 0;
    each->learning_rate.reset();
  }
  plain.learning_rate = first_learning_rate(plain, ratings, rated, true);
  Strengths found = choose_strengths(ratings, rated, plain_given, plain, options, n_divisions, team);
  found.n_epochs = 0;
  found.learning_rate = 0;
  own.learning_rate = given.learning_rate;  // that of batches depends on the number of ratings
  return Search<T>(sample(kSearched), given, own, options, n_divisions).choose(kUsualStrengths, found);
}

template Strengths choose_strengths(const RatingSource&, const Survey&, const TrainParams&, const TrainParams&,
                                    const TrainOptions<float>&, int, ThreadTeam&);
template Strengths choose_strengths(const RatingSource&, const Survey&, const TrainParams&, const TrainParams&,
                                    const TrainOptions<double>&, int, ThreadTeam&);

template <class T>
void plan_search(MemoryPlan& plan, const RatingCounts& counts, const TrainParams& given) {
  const auto search = [&](std::int64_t searched, std::int32_t n_factors) {
    const std::int64_t n = std::min(counts.n_ratings, searched), rating = counts.weighted ? 16 : 12;
    RatingCounts sample;
    sample.n_ratings = n;
    sample.n_users = static_cast<std::int32_t>(
        std::ceil(static_cast<double>(n) / static_cast<double>(counts.n_ratings) * counts.n_users));
    sample.n_items = static_cast<std::int32_t>(rows_among(counts, false, n));
    sample.weighted = sample.validation_weighted = counts.weighted;
    sample.n_validation = n / static_cast<std::int64_t>(kHeldOut);
    sample.initial = true;  // no search inside of the search
    TrainParams params = given;
    params.n_factors = n_factors;
    params.device = Device::cpu;
    params.half = false;
    params.patience = 0;
    const double samples = kSampleRoom * (1 + (n < kFew ? kTimesFew : 1)) * static_cast<double>(n * rating);
    plan.touch("search for strengths", fit_memory<T>(sample, params).peak() + static_cast<std::int64_t>(samples) +
                                           4 * std::int64_t{std::max(counts.n_users, counts.n_items)});
  };
  search(kSearched, given.n_factors);
  if (counts.n_ratings > kLarge) search(kSearchedOfLarge, std::min(given.n_factors, kFactorsOfLarge));
}
template void plan_search<float>(MemoryPlan&, const RatingCounts&, const TrainParams&);
template void plan_search<double>(MemoryPlan&, const RatingCounts&, const TrainParams&);

}  // namespace warpfactor
