// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "incidence.hpp"
#include "memory_plan.hpp"
#include "standardize.hpp"

namespace warpfactor {

/// z = mu + b_u + b_i + noise, with independent normal users' biases, items' biases and noise of these variances:
/// crossed random effects. mu is what a new user gives a new item, while the mean of the ratings is of what is rated
/// often.
struct BiasVariances {
  double noise = 1, users = 1, items = 1;
  double mu = 0;
};

/// Estimates them by mean-field EM: each round takes the mean and variance of all biases given the variances, items
/// first, then the variances that make these most likely, until the ratios change by less than a thousandth. Each round
/// ends by moving the means of both sides' biases into mu, without which mu takes hundreds of rounds to settle. Weights
/// count as they do in training, and of more than kEmRatings ratings a random share of the users is taken. Ratings are
/// in `units`. Throws std::invalid_argument if the ratings are in a scratch file and the share holds no user.
BiasVariances bias_variances(const RatingSource& ratings, const RatingUnits& units, std::int64_t counted,
                             ThreadTeam& team);

/// Whether the estimate from `counted` ratings looks at those of this user.
bool is_estimated_from(std::int32_t user, std::int64_t counted);

/// Ratings that the estimate is made from, about, at most: 2 % error in a ratio of variances at 10,000 users, which
/// changes no RMSE in its fourth digit; all of 100 M would cost as much as ten epochs. Not measured.
inline constexpr std::int64_t kEmRatings = 1 << 20;

/// Tells what bias_variances() takes; nothing of it stays.
void plan_bias_variances(MemoryPlan& plan, const RatingCounts& counts);

}  // namespace warpfactor
