// SPDX-License-Identifier: Apache-2.0
#include "strengths.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "random.hpp"

namespace warpfactor {
namespace {

/// Ratings that a search uses at most, about. The strengths that 100,000 or 250,000 ratings of MovieLens 1M and of
/// Jester choose are as good for the whole set.
constexpr std::int64_t kSearched = 200'000;
/// Below so many ratings the noise of a held-out tenth is larger than what strengths differ by.
constexpr std::int64_t kFew = 20'000;
constexpr int kTimesFew = 3;
constexpr std::uint64_t kHeldOut = 10;  ///< one rating of so many
constexpr std::int32_t kFactors = 16;
/// A candidate must be better by this share.
constexpr double kBetter = 5e-4;
constexpr double kLeastRegRow = 0.25;
/// Prior means that are pulled to zero so much more strongly hardly differ from zero.
constexpr double kWeakMeans = 4;

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

Sample sample_of(const RatingsView& ratings, const Survey& rated, std::uint64_t seed) {
  const double share = std::min(1.0, static_cast<double>(kSearched) / static_cast<double>(rated.counted));
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
    params_.n_factors = std::min(params.n_factors, kFactors);
    params_.warmup_epochs = 0;
    params_.patience = 0;
    params_.device = Device::cpu;
    params_.half = false;
    params_.parallel = Parallel::blocked;
    bias_strengths_.resize(divisions_.size());
  }

  Strengths climb() {
    const bool means = params_.implicit_feedback != ImplicitFeedback::none;
    best_ = kUsualStrengths;
    least_ = error(best_);
    if (!std::isfinite(least_)) return best_;  // too few ratings to hold some out
    const auto with_row = [&](double factor) {
      return Strengths{best_.reg, best_.reg_row * factor, best_.reg_implicit};
    };
    if (better(with_row(0.5))) {
      while (best_.reg_row / 2 >= kLeastRegRow && better(with_row(0.5))) {
      }
    } else {
      better(with_row(2));
    }
    if (means) better({best_.reg, best_.reg_row, kWeakMeans * best_.reg_implicit});
    if (!better({best_.reg / 2, 1.5 * best_.reg_row, best_.reg_implicit})) {
      better({best_.reg * 2, best_.reg_row / 2, best_.reg_implicit});
    }
    Strengths alone = best_;
    alone.biases_alone = true;
    if (error(alone) * (1 - kBetter) < least_) best_ = alone;
    return best_;
  }

 private:
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
    if (strengths.biases_alone) {
      params.n_factors = 1;
      params.init_scale = 0;
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

bool leave_strengths_open(const TrainParams& params) { return !params.reg && !params.reg_row && !params.reg_implicit; }

template <class T>
Strengths choose_strengths(const RatingsView& ratings, const Survey& rated, const TrainParams& params,
                           const TrainOptions<T>& options) {
  return Search<T>(sample_of(ratings, rated, params.seed), params, options).climb();
}

template Strengths choose_strengths(const RatingsView&, const Survey&, const TrainParams&, const TrainOptions<float>&);
template Strengths choose_strengths(const RatingsView&, const Survey&, const TrainParams&, const TrainOptions<double>&);

}  // namespace warpfactor
