// SPDX-License-Identifier: Apache-2.0
#include "strengths.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "random.hpp"

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
constexpr std::uint64_t kHeldOut = 10;  ///< one rating of so many
/// A candidate must be better by this share.
constexpr double kBetter = 5e-4;
constexpr double kLeastRegRow = 0.25;
/// Prior means that are pulled to zero so much more strongly hardly differ from zero; and factors that start so narrow
/// grow only along what the ratings show, which is right where that is strong and of few factors.
constexpr double kWeakMeans = 4, kNarrow = 0.1;

/// Ratings whose rows are numbered anew, those with ratings alone.
struct Sample {
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;
  std::int32_t n_users = 0, n_items = 0;

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

Sample sample_of(const RatingsView& ratings, const Survey& rated, std::int64_t searched, std::uint64_t seed) {
  const double share = std::min(1.0, static_cast<double>(searched) / static_cast<double>(rated.counted));
  Sample sample;
  for (std::size_t r = 0; r < ratings.values.size(); ++r) {
    const float* const weight = ratings.weights.empty() ? nullptr : &ratings.weights[r];
    if (weight != nullptr && *weight <= 0) continue;
    if (share < 1) {
      SplitMix64 random(seed, kStrengthUsers, static_cast<std::uint64_t>(ratings.users[r]));
      if (static_cast<double>(random.next() >> 11) * 0x1p-53 >= share) continue;
    }
    sample.add(ratings.users[r], ratings.items[r], ratings.values[r], weight);
  }
  sample.n_users = numbered(sample.users, ratings.n_users);
  sample.n_items = numbered(sample.items, ratings.n_items);
  return sample;
}

/// One division into ratings to train on and ratings to judge by.
struct Division {
  Sample train, test;
};
Division divide(const Sample& sample, std::uint64_t seed, std::uint64_t number) {
  Division division;
  SplitMix64 random(seed, kStrengthTest, number);
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
  Search(const Sample& sample, const TrainParams& params, const TrainOptions<T>& options)
      : params_(params), options_(options) {
    const int times = static_cast<std::int64_t>(sample.values.size()) < kFew ? kTimesFew : 1;
    for (int n = 0; n < times; ++n) divisions_.push_back(divide(sample, params.seed, static_cast<std::uint64_t>(n)));
    params_.warmup_epochs = 0;
    params_.patience = 0;
    params_.device = Device::cpu;
    params_.half = false;
    params_.parallel = Parallel::blocked;
    bias_strengths_.resize(divisions_.size());
  }

  Strengths climb() {
    begin(kUsualStrengths);
    if (!std::isfinite(least_)) return best_;  // too few ratings to hold some out
    if (row_better(0.5)) {
      while (best_.reg_row / 2 >= kLeastRegRow && row_better(0.5)) {
      }
    } else {
      row_better(2);
    }
    better({best_.reg, best_.reg_row, kWeakMeans * best_.reg_implicit, kNarrow * best_.init_scale});
    if (!for_rows_better()) better({best_.reg * 2, best_.reg_row / 2, best_.reg_implicit, best_.init_scale});
    const Strengths alone{best_.reg, best_.reg_row, best_.reg_implicit, 0};
    if (error(alone) * (1 - kBetter) < least_) best_ = alone;
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
    return better({best_.reg, best_.reg_row * factor, best_.reg_implicit, best_.init_scale});
  }
  bool for_rows_better() { return better({best_.reg / 2, 1.5 * best_.reg_row, best_.reg_implicit, best_.init_scale}); }
  bool better(const Strengths& strengths) {
    const double found = error(strengths);
    if (!(found < least_ * (1 - kBetter))) return false;
    best_ = strengths;
    least_ = found;
    return true;
  }

  /// The root of the mean loss on what is held out; infinite if training diverges.
  double error(const Strengths& strengths) {
    TrainParams params = params_;
    params.reg = strengths.reg;
    params.reg_row = strengths.reg_row;
    params.reg_implicit = strengths.reg_implicit;
    params.init_scale = strengths.init_scale;
    if (strengths.init_scale == 0) {
      params.n_factors = 1;
      params.implicit_feedback = ImplicitFeedback::none;
    }
    double sum = 0;
    for (std::size_t n = 0; n < divisions_.size(); ++n) {
      TrainOptions<T> options;
      options.validation = divisions_[n].test.view();
      options.loss = options_.loss;
      options.interrupted = options_.interrupted;
      params.reg_bias_row = given_bias_strength_ ? params_.reg_bias_row : bias_strengths_[n];
      try {
        const TrainResult<T> result = train<T>(divisions_[n].train.view(), params, options);
        bias_strengths_[n] = result.chosen.reg_bias_row;
        sum += result.history.empty() ? std::numeric_limits<double>::infinity() : result.history.back().valid_loss;
      } catch (const DivergedError&) {
        return std::numeric_limits<double>::infinity();
      } catch (const std::invalid_argument&) {
        return std::numeric_limits<double>::infinity();  // a part without ratings of known rows, or of one label
      }
    }
    return std::sqrt(sum / static_cast<double>(divisions_.size()));
  }

  TrainParams params_;
  const TrainOptions<T>& options_;
  const bool given_bias_strength_ = params_.reg_bias_row.has_value();
  std::vector<Division> divisions_;
  std::vector<std::optional<PerSide>> bias_strengths_;
  Strengths best_ = kUsualStrengths;
  double least_ = 0;
};

}  // namespace

bool leave_strengths_open(const TrainParams& params) {
  return !params.reg && !params.reg_row && !params.reg_implicit && !params.init_scale;
}

template <class T>
Strengths choose_strengths(const RatingsView& ratings, const Survey& rated, const TrainParams& params,
                           const TrainOptions<T>& options) {
  const auto sample = [&](std::int64_t searched) { return sample_of(ratings, rated, searched, params.seed); };
  const Strengths found = Search<T>(sample(kSearched), params, options).climb();
  if (rated.counted <= kLarge || found.init_scale == 0) return found;
  TrainParams small = params;
  small.n_factors = std::min(params.n_factors, kFactorsOfLarge);
  return Search<T>(sample(kSearchedOfLarge), small, options).settle(found);
}

template Strengths choose_strengths(const RatingsView&, const Survey&, const TrainParams&, const TrainOptions<float>&);
template Strengths choose_strengths(const RatingsView&, const Survey&, const TrainParams&, const TrainOptions<double>&);

}  // namespace warpfactor
