// SPDX-License-Identifier: Apache-2.0
#include "row_pulls.hpp"

#include "optimizer.hpp"

namespace warpfactor {
namespace {

/// What the ratings of each row weigh; weights have a mean of 1.
std::vector<double> row_weights(const RatingSource& ratings, const Survey& rated, const RatingUnits& units,
                                bool of_users) {
  const auto& counts = of_users ? rated.user_counts : rated.item_counts;
  if (!ratings.weighted()) return {counts.begin(), counts.end()};
  std::vector<double> weights(counts.size(), 0.0);
  ratings.for_each_part([&](const RatingsView& part, std::int64_t) {
    const auto& rows = of_users ? part.users : part.items;
    for (std::size_t r = 0; r < rows.size(); ++r) {
      weights[static_cast<std::size_t>(rows[r])] += static_cast<double>(units.weight(part.weights[r]));
    }
  });
  return weights;
}

}  // namespace

bool has_row_pulls(const TrainParams& params) {
  const auto any = [](const std::optional<PerSide>& sides) { return sides && (sides->users > 0 || sides->items > 0); };
  return any(params.reg_row) || any(params.reg_bias_row) || has_means(params, true) || has_means(params, false);
}

bool has_means(const TrainParams& params, bool of_users) {
  return params.implicit_feedback == ImplicitFeedback::both ||
         params.implicit_feedback == (of_users ? ImplicitFeedback::users : ImplicitFeedback::items);
}

template <class T>
std::vector<RowPull<T>> row_pulls(const RatingSource& ratings, const Survey& rated, const TrainParams& params,
                                  const RatingUnits& units, double start_bias, bool of_users) {
  return row_pulls<T>(row_weights(ratings, rated, units, of_users), params, start_bias, of_users);
}

template <class T>
std::vector<RowPull<T>> row_pulls(const std::vector<double>& weights, const TrainParams& params, double start_bias,
                                  bool of_users) {
  const auto own = [&](const PerSide& sides) { return of_users ? sides.users : sides.items; };
  const double l2 = 1 - params.l1_ratio, per_rating = l2 * own(*params.reg),
               bias_per_rating = l2 * own(*params.reg_bias), per_row = own(params.reg_row.value_or(0.0)),
               bias_per_row = own(params.reg_bias_row.value_or(0.0));
  std::vector<RowPull<T>> pulls(weights.size());
  for (std::size_t row = 0; row < weights.size(); ++row) {
    const double n = weights[row] > 0 ? weights[row] : 1, bias = bias_per_rating + bias_per_row / n;
    // Biases that start from more than zero are pulled there by the penalty per row.
    const double mean = bias > 0 ? start_bias * (bias_per_row / n) / bias : 0;
    pulls[row] = {static_cast<T>(per_rating + per_row / n), static_cast<T>(bias), static_cast<T>(mean), T(0)};
  }
  return pulls;
}

template std::vector<RowPull<float>> row_pulls(const RatingSource&, const Survey&, const TrainParams&,
                                               const RatingUnits&, double, bool);
template std::vector<RowPull<double>> row_pulls(const RatingSource&, const Survey&, const TrainParams&,
                                                const RatingUnits&, double, bool);

template std::vector<RowPull<float>> row_pulls(const std::vector<double>&, const TrainParams&, double, bool);
template std::vector<RowPull<double>> row_pulls(const std::vector<double>&, const TrainParams&, double, bool);

bool has_usual_pulls(const TrainParams& params, bool custom_penalty) {
  return params.biases && params.l1_ratio == 0 && !custom_penalty && !is_nonnegative(params);
}

}  // namespace warpfactor
