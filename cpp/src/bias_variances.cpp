// SPDX-License-Identifier: Apache-2.0
#include "bias_variances.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "random.hpp"
#include "require.hpp"
#include "user_sample.hpp"

namespace warpfactor {
namespace {

constexpr int kMostRounds = 100;
constexpr double kTolerance = 1e-3;
constexpr std::int64_t kTaskRatings = 1 << 14;  // not measured
// A variance that the ratings do not show goes to zero ever more slowly. Below this share of the ratings' it is as good
// as zero, and the biases are as good as fixed.
constexpr double kLeastShare = 1e-4;
// The memory for a sample of the ratings, in numbers of ratings that are expected.
constexpr double kSampleRoom = 1.1;

/// A random share of the users, with all of their ratings of a weight above 0. A share of 1 or more is all of them.
struct Sample {
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;
};
Sample sample_of(const RatingSource& ratings, std::int64_t counted, ThreadTeam& team) {
  Sample sample;
  // A random number of ratings, most of the time within this. Growing as it goes could take twice as much.
  const double share = std::min(1.0, static_cast<double>(kEmRatings) / static_cast<double>(counted));
  const auto about = static_cast<std::size_t>(kSampleRoom * share * static_cast<double>(ratings.size()));
  sample.users.reserve(about);
  sample.items.reserve(about);
  sample.values.reserve(about);
  if (ratings.weighted()) sample.weights.reserve(about);
  add_ratings_of(
      ratings, [counted](std::int32_t user) { return is_estimated_from(user, counted); }, team, sample.users,
      sample.items, sample.values, sample.weights);
  return sample;
}

/// The biases of one side.
struct Effects {
  const IncidentRows& rows;
  std::vector<double> sums;    ///< of z, by row
  std::vector<double> counts;  ///< what the row's ratings weigh
  std::vector<double> means;   ///< of the biases
  std::vector<std::int64_t> ranges;
  double variance = 0;

  Effects(const IncidentRows& side, std::vector<double> row_sums, std::vector<double> row_counts)
      : rows(side),
        sums(std::move(row_sums)),
        counts(std::move(row_counts)),
        means(sums.size(), 0.0),
        ranges(ranges_of(side.begin, kTaskRatings)) {}

  struct Round {
    double rated = 0;             ///< rows with ratings
    double squares = 0;           ///< of the means
    double variances = 0;         ///< of the rows
    double rating_variances = 0;  ///< the same, each as often as it has ratings
    double products = 0;          ///< mean times what the ratings leave to the row, summed
    double weighted_squares = 0;  ///< squares, each as often as the row has ratings
    double weighted_means = 0;
  };

  /// Moves the mean of the biases to mu, and returns it.
  double centre(Round& round) {
    double sum = 0;
    for (const double mean : means) sum += mean;
    const double middle = sum / round.rated;
    for (std::size_t row = 0; row < means.size(); ++row) {
      if (rows.begin[row] != rows.begin[row + 1]) means[row] -= middle;
    }
    round.squares -= round.rated * middle * middle;
    return middle;
  }

  /// The means given the other side's and the variances, and what the new variances need.
  Round estimate(const std::vector<double>& others, double mu, double noise, double weight_scale, ThreadTeam& team) {
    const double ratio = noise / variance;
    std::vector<Round> rounds(ranges.size());
    team.run(static_cast<std::int64_t>(ranges.size()) - 1, [&](std::int64_t range, int) {
      Round& round = rounds[static_cast<std::size_t>(range)];
      for (std::int64_t row = ranges[static_cast<std::size_t>(range)];
           row < ranges[static_cast<std::size_t>(range) + 1]; ++row) {
        const auto at = static_cast<std::size_t>(row);
        const std::int64_t begin = rows.begin[at], end = rows.begin[at + 1];
        if (begin == end) continue;
        double given[4] = {};  // several sums, so that additions need not wait for each other
        for (std::int64_t n = begin; n < end; ++n) {
          const double other = others[static_cast<std::size_t>(rows.others[n])];
          given[(n - begin) % 4] +=
              rows.weights.size() > 0 ? weight_scale * static_cast<double>(rows.weights[n]) * other : other;
        }
        const double n = counts[at];
        const double left = sums[at] - n * mu - ((given[0] + given[1]) + (given[2] + given[3]));
        const double mean = left / (n + ratio), row_variance = noise / (n + ratio);
        means[at] = mean;
        round.rated += 1;
        round.squares += mean * mean;
        round.variances += row_variance;
        round.rating_variances += n * row_variance;
        round.products += mean * left;
        round.weighted_squares += n * mean * mean;
        round.weighted_means += n * mean;
      }
    });
    Round all;
    for (const Round& round : rounds) {
      all.rated += round.rated;
      all.squares += round.squares;
      all.variances += round.variances;
      all.rating_variances += round.rating_variances;
      all.products += round.products;
      all.weighted_squares += round.weighted_squares;
      all.weighted_means += round.weighted_means;
    }
    return all;
  }
};

}  // namespace

bool is_estimated_from(std::int32_t user, std::int64_t counted) {
  if (counted <= kEmRatings) return true;
  const auto limit =
      static_cast<std::uint64_t>(static_cast<double>(kEmRatings) / static_cast<double>(counted) * 0x1p64);
  return SplitMix64(static_cast<std::uint64_t>(user)).next() < limit;
}

BiasVariances bias_variances(const RatingSource& given, const RatingUnits& units, std::int64_t counted,
                             ThreadTeam& team) {
  RatingsView ratings = given.in_memory();
  ratings.n_users = given.n_users();
  ratings.n_items = given.n_items();
  Sample sample;
  if (counted > kEmRatings || given.scratch() != nullptr) {
    sample = sample_of(given, counted, team);
    // Ratings on a disk, and those of a cluster, of which there is but a sample, cannot all be looked at.
    if (sample.users.empty() && (given.scratch() != nullptr || given.size() < counted)) {
      reject(
          "reg_bias_row is open; it must be given for so few users with so many ratings, of whom memory does not hold "
          "a sample");
    }
    if (!sample.users.empty()) {
      ratings.users = sample.users;
      ratings.items = sample.items;
      ratings.values = sample.values;
      ratings.weights = sample.weights;
    }
  }
  const Incidence incidence = incidence_of(ratings, team);
  std::vector<double> user_sums(static_cast<std::size_t>(ratings.n_users), 0.0),
      item_sums(static_cast<std::size_t>(ratings.n_items), 0.0), user_counts(user_sums), item_counts(item_sums);
  double total = 0, squares = 0, n = 0;
  for (std::size_t r = 0; r < ratings.users.size(); ++r) {
    if (!ratings.weights.empty() && ratings.weights[r] <= 0) continue;
    const double z = units.standardized(static_cast<double>(ratings.values[r]));
    const double w = ratings.weights.empty() ? 1.0 : static_cast<double>(units.weight(ratings.weights[r]));
    const auto user = static_cast<std::size_t>(ratings.users[r]), item = static_cast<std::size_t>(ratings.items[r]);
    user_sums[user] += w * z;
    item_sums[item] += w * z;
    user_counts[user] += w;
    item_counts[item] += w;
    total += w * z;
    squares += w * z * z;
    n += w;
  }
  double mu = total / n;
  const double all = squares / n - mu * mu;
  BiasVariances found;
  if (!(all > 0)) return found;  // equal ratings tell nothing of the variances
  Effects users(incidence.users, std::move(user_sums), std::move(user_counts)),
      items(incidence.items, std::move(item_sums), std::move(item_counts));
  found = {all / 2, all / 4, all / 4, mu};
  for (int round = 0; round < kMostRounds; ++round) {
    users.variance = found.users;
    items.variance = found.items;
    Effects::Round of_items = items.estimate(users.means, mu, found.noise, units.weight_scale, team);
    Effects::Round of_users = users.estimate(items.means, mu, found.noise, units.weight_scale, team);
    // The squared errors of z - mu - b_i - b_u. of_items.products is about the users' means before the round, so the
    // items' part is taken from the sums.
    double item_products = 0;
    for (std::size_t row = 0; row < items.means.size(); ++row) {
      item_products += items.means[row] * (items.sums[row] - items.counts[row] * mu);
    }
    const double about_mu = squares - 2 * mu * total + n * mu * mu;
    const double about_items = about_mu - 2 * item_products + of_items.weighted_squares;
    const double errors = about_items - 2 * of_users.products + of_users.weighted_squares;
    const double error_mean = total / n - mu - of_items.weighted_means / n - of_users.weighted_means / n;
    mu += error_mean + items.centre(of_items) + users.centre(of_users);
    const BiasVariances before = found;
    found.noise =
        std::max(errors / n - error_mean * error_mean + (of_users.rating_variances + of_items.rating_variances) / n,
                 kLeastShare * all);
    found.users = std::max((of_users.squares + of_users.variances) / of_users.rated, kLeastShare * all);
    found.items = std::max((of_items.squares + of_items.variances) / of_items.rated, kLeastShare * all);
    const auto moved = [](double a, double b) { return std::abs(a / b - 1); };
    if (moved(found.noise, before.noise) < kTolerance && moved(found.users, before.users) < kTolerance &&
        moved(found.items, before.items) < kTolerance) {
      break;
    }
  }
  found.mu = mu;
  return found;
}

void plan_bias_variances(MemoryPlan& plan, const RatingCounts& counts) {
  const char* const part = "variances of the biases";
  const std::int64_t before = plan.total();
  RatingCounts sample = counts;
  sample.n_ratings = std::min<std::int64_t>(counts.n_ratings, kEmRatings);
  if (counts.n_ratings > kEmRatings || counts.buffer_bytes > 0) {
    plan.take(part, static_cast<std::int64_t>(kSampleRoom * static_cast<double>(sample.n_ratings)) *
                        (counts.weighted ? 16 : 12));
  }
  plan_incidence_of(plan, part, sample);
  plan.take(part, counts.all_rows() * 3 * static_cast<std::int64_t>(sizeof(double)));  // sums, counts, means
  plan.free(part, plan.total() - before);
}

}  // namespace warpfactor
