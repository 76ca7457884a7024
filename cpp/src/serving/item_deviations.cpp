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
    double excess = mean_square - t, slope = -1;
    for (const double h : information) {
      const double left = 1 / (1 + h * t);
      excess += t * left / n;
      slope += left * left / n;
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

}  // namespace

template <class T>
std::vector<T> item_deviations(const ModelView<T>& model, double train_rmse) {
  const auto n_users = static_cast<std::size_t>(model.n_users), n_items = static_cast<std::size_t>(model.n_items),
             k = static_cast<std::size_t>(model.n_factors);
  require_size(model.user_factors.size(), static_cast<std::int64_t>(n_users * k), "user_factors");
  require_size(model.item_factors.size(), static_cast<std::int64_t>(n_items * k), "item_factors");
  if (!model.item_biases.empty()) require_size(model.item_biases.size(), model.n_items, "item_biases");
  require_size(model.user_counts.size(), model.n_users, "user_counts");
  require_size(model.item_counts.size(), model.n_items, "item_counts");
  require(train_rmse >= 0 && std::isfinite(train_rmse), "train_rmse", train_rmse, "a finite number of at least 0");

  double n_ratings = 0, sum = 0;
  for (std::size_t user = 0; user < n_users; ++user) {
    const double n = model.user_counts[user];
    n_ratings += n;
    if (n > 0) sum += n * squared_length(model.user_factors.subspan(user * k, k));
  }
  const double user_length = n_ratings > 0 ? sum / n_ratings : 0;  // P of the header
  const double variance = noise_variance(model.link, train_rmse);
  const double per_rating = 1 / variance, per_rating_of_factor = user_length / (static_cast<double>(k) * variance);

  std::vector<double> bias_information, factor_information;
  double bias_square = 0, factor_square = 0;
  for (std::size_t item = 0; item < n_items; ++item) {
    const double n = model.item_counts[item];
    if (n == 0) continue;
    bias_information.push_back(n * per_rating);
    factor_information.push_back(n * per_rating_of_factor);
    if (model.biases && !model.item_biases.empty()) {
      const double bias = static_cast<double>(model.item_biases[item]) - model.start_bias;
      bias_square += bias * bias;
    }
    factor_square += squared_length(model.item_factors.subspan(item * k, k));
  }
  const auto n_known = static_cast<double>(bias_information.size());
  const double bias_prior = prior_variance(bias_square / n_known, bias_information);
  const double factor_prior =
      user_length > 0 ? prior_variance(factor_square / (n_known * static_cast<double>(k)), factor_information) : 0;

  std::vector<T> deviations(n_items);
  for (std::size_t item = 0; item < n_items; ++item) {
    const double n = model.item_counts[item];  // 0: no information, also where each rating has infinitely much
    const double bias = posterior_variance(bias_prior, n > 0 ? n * per_rating : 0);
    const double factors = user_length * posterior_variance(factor_prior, n > 0 ? n * per_rating_of_factor : 0);
    deviations[item] = static_cast<T>(std::sqrt(bias + factors));
  }
  return deviations;
}

template <class T>
std::vector<T> Model<T>::item_deviations() const {
  const auto kept = std::find_if(history.begin(), history.end(),
                                 [&](const EpochReport& report) { return report.epoch == training.n_epochs; });
  if (kept == history.end()) {
    reject(
        "history has no epoch " + text(training.n_epochs) +
        ", which the model is of: keep the history that train() returns, or call item_deviations() with a train_rmse");
  }
  return warpfactor::item_deviations<T>(view(), kept->train_rmse);
}

#define WARPFACTOR_DEFINE_FOR(T)                                           \
  template std::vector<T> item_deviations<T>(const ModelView<T>&, double); \
  template std::vector<T> Model<T>::item_deviations() const;
WARPFACTOR_DEFINE_FOR(float)
WARPFACTOR_DEFINE_FOR(double)
#undef WARPFACTOR_DEFINE_FOR

}  // namespace warpfactor
