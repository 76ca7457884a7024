// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "require.hpp"
#include "warpfactor/model.hpp"

namespace warpfactor {
namespace {

/// The variance, given the ratings, of a number whose prior variance is `prior`, and of which they hold so much Fisher
/// information.
double posterior_variance(double prior, double information) {
  return prior > 0 ? prior / (1 + information * prior) : 0;
}

/// The t with t = mean_square + mean over the rows of posterior_variance(t, information of the row). The right side
/// less the left is concave in t, not negative at 0 and not positive where this starts, so Newton's steps fall to the
/// root.
double prior_variance(double mean_square, std::span<const double> information) {
  if (!(mean_square > 0)) return 0;
  const auto n = static_cast<double>(information.size());
  double t = mean_square;
  for (const double h : information) t += 1 / (n * h);
  for (int step = 0; step < 100; ++step) {
    double excess = mean_square, slope = 0;
    for (const double h : information) {
      const double lost = 1 / (1 + 1 / (h * t));  // 1 - posterior / t, without the cancellation where h t is small
      excess -= t * lost / n;
      slope -= lost * (2 - lost) / n;
    }
    const double next = t - excess / slope;
    if (!(next < t)) break;
    t = next;
  }
  return t;
}

double noise_variance(Link link, double train_rmse) {
  if (link == Link::identity) return train_rmse * train_rmse;
  // Where labels are fitted exactly, probabilities are as near 0 and 1 as float lets them be.
  const double squared = std::max(train_rmse * train_rmse, 1e-12);
  return (link == Link::probability ? 1 : 4) / squared;  // labels -1 and 1 lie twice as far apart
}

template <class T>
double squared_length(std::span<const T> row) {
  return std::transform_reduce(row.begin(), row.end(), 0.0, std::plus<>(),
                               [](T value) { return static_cast<double>(value) * static_cast<double>(value); });
}

/// The factors of one side as far as the ratings tell them, given those of the other side.
struct FactorEvidence {
  double other_length;  ///< the mean over the ratings of the squared length of the other side's rows
  double per_rating;    ///< Fisher information of a rating about a factor
  double prior;         ///< the variance of the factors among the rows that have ratings

  /// The variance of a factor of a row with so many ratings.
  [[nodiscard]] double variance(double n) const {
    // Of no ratings there is no information, also where each rating has infinitely much.
    return posterior_variance(prior, n > 0 ? n * per_rating : 0);
  }
};

template <class T>
FactorEvidence factor_evidence(std::span<const T> own, std::span<const std::uint32_t> own_counts,
                               std::span<const T> other, std::span<const std::uint32_t> other_counts, std::size_t k,
                               double rank, double noise) {
  double n_ratings = 0, sum = 0;
  for (std::size_t row = 0; row < other_counts.size(); ++row) {
    const double n = other_counts[row];
    n_ratings += n;
    if (n > 0) sum += n * squared_length(other.subspan(row * k, k));
  }
  FactorEvidence evidence{n_ratings > 0 ? sum / n_ratings : 0, 0, 0};
  evidence.per_rating = evidence.other_length / (rank * noise);
  std::vector<double> information;
  double square = 0;
  for (std::size_t row = 0; row < own_counts.size(); ++row) {
    if (own_counts[row] == 0) continue;
    information.push_back(own_counts[row] * evidence.per_rating);
    square += squared_length(own.subspan(row * k, k));
  }
  if (evidence.other_length > 0) {
    evidence.prior = prior_variance(square / (static_cast<double>(information.size()) * rank), information);
  }
  return evidence;
}

template <class T>
void validate(const ModelView<T>& model, double train_rmse) {
  const auto k = static_cast<std::int64_t>(model.n_factors);
  require_size(model.user_factors.size(), model.n_users * k, "user_factors");
  require_size(model.item_factors.size(), model.n_items * k, "item_factors");
  if (!model.item_biases.empty()) require_size(model.item_biases.size(), model.n_items, "item_biases");
  require_size(model.user_counts.size(), model.n_users, "user_counts");
  require_size(model.item_counts.size(), model.n_items, "item_counts");
  require(train_rmse >= 0 && std::isfinite(train_rmse), "train_rmse", train_rmse, "a finite number of at least 0");
}

}  // namespace

template <class T>
Uncertainty<T> uncertainty(const ModelView<T>& model, double train_rmse, std::int32_t n_members) {
  validate(model, train_rmse);
  require(n_members >= 1, "n_members", n_members, "at least 1");
  const auto k = static_cast<std::size_t>(model.n_factors);
  // Members are fits to the same ratings: that there are several makes none of them less or more certain.
  const double rank = static_cast<double>(k) / n_members, noise = noise_variance(model.link, train_rmse);
  const FactorEvidence of_items = factor_evidence(model.item_factors, model.item_counts, model.user_factors,
                                                  model.user_counts, k, rank, noise),
                       of_users = factor_evidence(model.user_factors, model.user_counts, model.item_factors,
                                                  model.item_counts, k, rank, noise);
  std::vector<double> information;
  double square = 0;
  for (std::size_t item = 0; item < model.item_counts.size(); ++item) {
    if (model.item_counts[item] == 0) continue;
    information.push_back(model.item_counts[item] / noise);
    if (model.biases && !model.item_biases.empty()) {
      const double bias = static_cast<double>(model.item_biases[item]) - model.start_bias;
      square += bias * bias;
    }
  }
  const double bias_prior = prior_variance(square / static_cast<double>(information.size()), information);
  Uncertainty<T> result{{}, {}, {}, noise};
  for (const std::uint32_t n : model.item_counts) {
    result.bias_variances.push_back(static_cast<T>(posterior_variance(bias_prior, n > 0 ? n / noise : 0)));
    result.factor_variances.push_back(static_cast<T>(of_items.variance(n)));
  }
  for (std::size_t user = 0; user <= model.user_counts.size(); ++user) {
    const bool there = user < model.user_counts.size() && model.user_counts[user] > 0;
    const double known = there ? squared_length(model.user_factors.subspan(user * k, k)) : 0;
    const double variance = of_users.variance(there ? model.user_counts[user] : 0);
    result.user_lengths.push_back(static_cast<T>(known + rank * variance));
  }
  return result;
}

template <class T>
Uncertainty<T> Model<T>::uncertainty() const {
  const auto kept = std::find_if(history.begin(), history.end(),
                                 [&](const EpochReport& report) { return report.epoch == training.n_epochs; });
  if (kept == history.end()) {
    reject("history has no epoch " + text(training.n_epochs) +
           ", which the model is of: keep the history that train() returns, or call uncertainty() with a train_rmse");
  }
  const auto weights = members.find("members.weights");
  const bool folded = weights != members.end() && weights->second.shape.size() == 1;
  const auto n_members = folded ? static_cast<std::int32_t>(weights->second.shape[0]) : 1;
  return warpfactor::uncertainty<T>(view(), kept->train_rmse, n_members);
}

#define WARPFACTOR_DEFINE_FOR(T)                                                     \
  template Uncertainty<T> uncertainty<T>(const ModelView<T>&, double, std::int32_t); \
  template Uncertainty<T> Model<T>::uncertainty() const;
WARPFACTOR_DEFINE_FOR(float)
WARPFACTOR_DEFINE_FOR(double)
#undef WARPFACTOR_DEFINE_FOR

}  // namespace warpfactor
