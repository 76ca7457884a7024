// SPDX-License-Identifier: Apache-2.0
// What one pass over the ratings tells: that each is valid, their moments, and how many each row has.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "memory_plan.hpp"
#include "rating_source.hpp"
#include "threads.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

/// Ratings of weight 0 are checked but count for nothing.
struct Survey {
  std::int64_t counted = 0;                             ///< ratings of a weight above 0
  double weight = 0;                                    ///< sum of the weights
  double mean = 0;                                      ///< weighted
  float low = 0, high = 0;                              ///< of those with a weight above 0
  double deviation = 0;                                 ///< standard deviation, weighted; 0 if all ratings are equal
  std::vector<std::uint32_t> user_counts, item_counts;  ///< ratings of each row
};

/// Throws std::invalid_argument unless there are ratings and each side has a row, and unless validation ratings, if
/// there are any, have the same shape. Returns whether there are any. A sample may be empty.
bool require_shapes(const RatingSource& ratings, const RatingsView& validation, bool is_sample = false);

/// Throws std::invalid_argument for a bad rating, or if all weights are 0, calling the ratings `argument`. The result's
/// bits do not depend on the team's size.
Survey survey(const RatingSource& ratings, const char* argument, ThreadTeam& team);

/// Weight, mean and summed squared distance from it, of some of the ratings.
struct RatingMoments {
  std::int64_t counted = 0;
  double weight = 0, mean = 0, square = 0;
  float low = std::numeric_limits<float>::infinity(), high = -low;

  void add(const RatingMoments& other);
};

/// The survey of ratings in memory by somebody who passes over them anyway, and counts the rows himself.
class RatingCheck {
 public:
  static constexpr std::int64_t kRange = 2048;

  /// Throws std::invalid_argument for arrays of different lengths. The ratings must outlive this.
  RatingCheck(const RatingsView& ratings, const char* argument);
  /// Of the ratings begin .. end, where `begin` is a multiple of kRange and `end` too, or all. Any thread may call it.
  /// Throws std::invalid_argument for a bad rating.
  void look(std::int64_t begin, std::int64_t end);
  /// What survey() tells, to the bit, but for the counts of the rows, which are empty. Each rating must have been
  /// looked at. Throws std::invalid_argument if all weights are 0.
  [[nodiscard]] Survey survey() const;

 private:
  const RatingsView& ratings_;
  const char* argument_;
  std::vector<RatingMoments> moments_;  ///< by range
};

/// Adds what parts of the ratings counted; throws std::invalid_argument where a row has more than its count can hold.
void add_counts(std::vector<std::uint32_t>& to, const std::vector<std::uint32_t>& more, const char* side);

/// Those of some ratings whose user and item have training ratings, in the order given.
struct KnownRatings {
  std::vector<std::int32_t> users, items;
  std::vector<float> values, weights;

  /// Those of `given`, in whose indices -1 is an unknown row: a view of it if that is all of them, or else of this.
  /// Throws std::invalid_argument for a bad rating, or if there are none of a weight above 0, calling them `argument`.
  RatingsView of(const RatingsView& given, const char* argument, const Survey& rated);
};

/// Pairs without a rating whose user and item have ratings. Others say nothing: a row without ratings has no factors to
/// fit the means to, and nothing that would learn from them.
struct KnownPairs {
  std::vector<std::int32_t> users, items;

  /// Throws std::invalid_argument for pairs that are not of the ratings' rows, or if all are left out, calling them
  /// "implicit".
  KnownPairs(const RatingsView& pairs, const RatingSource& ratings, const Survey& rated);
  [[nodiscard]] RatingsView view() const;
};

/// Tells what survey(), KnownRatings and KnownPairs take, and what of it stays.
void plan_survey(MemoryPlan& plan, const RatingCounts& counts, int n_threads);

}  // namespace warpfactor
